"""Samples and enrolments in SQL, and the gallery of voiceprints that searches compare."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Engine, Select, case, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from shared.adapters.sql.database import forget_log, reading, writing
from shared.adapters.sql.record_tables import (
    EnrolmentRow,
    IdentityRow,
    KeyRow,
    LeftRecordingRow,
    PartRow,
    PendingVoiceRow,
    SampleRow,
    SpaceRow,
    VerificationRow,
)
from shared.adapters.sql.records import (
    Keys,
    RecordKey,
    add_job,
    count_use,
    counts,
    failure_of,
    failure_values,
    heard_from_bytes,
    heard_to_bytes,
    insert_identity,
    inside,
    lock_space,
    locked,
    named,
    note,
    note_failure,
    now_us,
    page,
    rename,
    require_row,
    require_space,
    taken,
    time_or_none,
    to_time,
    to_us,
    touch,
    trace_from_bytes,
    trace_to_bytes,
    us_or_none,
)
from shared.domain.errors import HandleTaken, InvalidVoiceprint, JobFailure, SampleRefused, WrongState
from shared.domain.identities import (
    DEFAULT_ENROLMENT,
    Action,
    Actor,
    Enrolment,
    EnrolmentKind,
    EnrolmentState,
    Failure,
    GalleryRow,
    Heard,
    HeardSample,
    Name,
    NewEnrolment,
    NewSample,
    NewVoice,
    Part,
    Pooled,
    RecordKind,
    RecordPage,
    RecordQuery,
    Sample,
    SampleState,
    Trace,
    Use,
    new_id,
)
from shared.domain.pooling import pool
from shared.domain.voiceprints import Voiceprint

Pool = Callable[[Sequence[Part]], Pooled]

#: Rows whose ids stand in one query: databases bound its parameters.
_CHUNK = 5000


class SqlEnrolments:
    """`EnrolmentStore` in a migrated database, sealed under the server secret."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._reading = reading(engine)
        self._writing = writing(engine)
        self._keys = Keys(secret)

    def add_sample(self, by: Actor, space_id: str, new: NewSample) -> Sample:
        """Make a sample, awaiting its file or, with a job, pending; raises HandleTaken, NotFound."""
        now = now_us()
        row = _sample_row(space_id, new)
        row.state = SampleState.AWAITING_FILE
        if new.job_id is not None:
            row.state = SampleState.PENDING
            row.uploaded_us = now
        with taken(RecordKind.SAMPLE, row.handle), Session(self._writing) as session, session.begin():
            self._insert_sample(session, by, row, new)
            return self._shown_samples(session, [row])[0]

    def import_sample(self, by: Actor, space_id: str, identity_id: str, heard: Heard) -> Sample:
        """Make a ready sample of a voiceprint that its client brought."""
        new = NewSample(id=new_id(), identity_id=identity_id)
        row = _sample_row(space_id, new)
        row.state = SampleState.READY
        with Session(self._writing) as session, session.begin():
            key = self._insert_sample(session, by, row, new)
            row.sealed_voice = key.seal(heard_to_bytes(heard), "voice")
            session.flush()
            return self._shown_samples(session, [row])[0]

    def _insert_sample(self, session: Session, by: Actor, row: SampleRow, new: NewSample) -> RecordKey:
        require_space(session, row.space_id)
        if row.identity_id is not None:
            require_row(session, IdentityRow, row.identity_id, RecordKind.IDENTITY, row.space_id)
        session.add(row)
        key = self._keys.make(session, RecordKind.SAMPLE, row.id)
        row.sealed = key.seal_text({"alias": new.alias})
        note(session, by, Action.CREATE, RecordKind.SAMPLE, row.id)
        session.flush()
        return key

    def find_sample(self, space_id: str, reference: str) -> Sample | None:
        """Return the sample of a space with that id or handle."""
        return self._first_sample(named(SampleRow, space_id, reference))

    def sample(self, sample_id: str) -> Sample | None:
        """Return a sample by its id, for a worker."""
        return self._first_sample(select(SampleRow).where(SampleRow.id == sample_id))

    def trace(self, sample_id: str) -> Trace | None:
        """Return the trace of a sample; None when it has none, or is gone."""
        with Session(self._reading) as session:
            row = session.get(SampleRow, sample_id)
            if row is None or row.sealed_trace is None:
                return None
            return trace_from_bytes(self._keys.of(session, row.id).unseal(row.sealed_trace, "trace"))

    def _first_sample(self, rows: Select[SampleRow]) -> Sample | None:
        with Session(self._reading) as session:
            row = session.scalar(rows)
            return self._shown_samples(session, [row])[0] if row else None

    def list_samples(self, space_id: str, query: RecordQuery) -> RecordPage[Sample]:
        """Return a page of a space's samples, of an identity or enrolment where the query names one."""
        rows = inside(SampleRow, space_id, query)
        if query.enrolment_id is not None:
            mine = select(PartRow.sample_id).where(PartRow.enrolment_id == query.enrolment_id)
            rows = rows.where(SampleRow.id.in_(mine))
        with Session(self._reading) as session:
            return page(
                session,
                rows,
                SampleRow,
                query,
                lambda found: self._shown_samples(session, found),
                self._keys,
            )

    def rename_sample(self, by: Actor, sample: Sample) -> bool:
        """Store handle and alias of a sample; raises HandleTaken."""
        return rename(self._writing, self._keys, by, RecordKind.SAMPLE, SampleRow, sample)

    def await_hearing(self, sample_id: str, job_id: str) -> bool:
        """Give a sample that awaits its file a job, once; False when it has one, or is gone."""
        now = now_us()
        waiting = update(SampleRow).where(SampleRow.id == sample_id, SampleRow.state == SampleState.AWAITING_FILE)
        with Session(self._writing) as session, session.begin():
            done = session.execute(
                waiting.values(state=SampleState.PENDING, job_id=job_id, uploaded_us=now, since_us=now)
            )
            return bool(done.rowcount)  # type: ignore[attr-defined]

    def await_file_again(self, sample_id: str, job_id: str) -> None:
        """Let a sample await its file again, whose job was refused."""
        refused = (SampleRow.id == sample_id) & (SampleRow.job_id == job_id) & (SampleRow.state == SampleState.PENDING)
        again = update(SampleRow).where(refused)
        with Session(self._writing) as session, session.begin():
            session.execute(again.values(state=SampleState.AWAITING_FILE, job_id=None, uploaded_us=None))

    def assign(self, by: Actor, sample_id: str, identity_id: str) -> bool:
        """Say whose sample it is, once; False when that is said already, or one of them is gone."""
        with Session(self._writing) as session, session.begin():
            row = locked(session, SampleRow, sample_id)
            identity = session.get(IdentityRow, identity_id)
            if row is None or identity is None or row.identity_id is not None or row.space_id != identity.space_id:
                return False
            _give(session, row, identity_id)
            note(session, by, Action.CHANGE, RecordKind.SAMPLE, row.id)
        return True

    def keep_heard(
        self, sample_id: str, heard: Heard, trace: Trace, kept_until: datetime | None, use: Use | None
    ) -> bool:
        """Make a pending sample ready; False when it is gone. The second call changes nothing."""
        with Session(self._writing) as session, session.begin():
            row = locked(session, SampleRow, sample_id)
            if row is None or row.state not in (SampleState.PENDING, SampleState.READY):
                return False
            if row.state == SampleState.PENDING:
                key = self._keys.of(session, row.id)
                row.state = SampleState.READY
                row.since_us = now_us()
                self._fill(row, key, heard, trace)
                row.kept_until_us = us_or_none(kept_until)
                if use is not None:
                    count_use(session, use)
        return True

    def _fill(self, row: SampleRow, key: RecordKey, heard: Heard, trace: Trace) -> None:
        """Seal what was heard in a sample."""
        row.sealed_voice = key.seal(heard_to_bytes(heard), "voice")
        row.sealed_trace = key.seal(trace_to_bytes(trace), "trace")
        row.sound = self._keys.sound(row.space_id, trace.digest)

    def fail_sample(self, sample_id: str, failure: Failure) -> None:
        """Make a sample failed that is part of no enrolment; what was heard in it is forgotten."""
        unused = select(PartRow.sample_id).where(PartRow.sample_id == sample_id)
        done = update(SampleRow).where(
            SampleRow.id == sample_id,
            SampleRow.state.in_((SampleState.PENDING, SampleState.READY)),
            ~unused.exists(),
        )
        now = now_us()
        values = {"state": SampleState.FAILED, "since_us": now, **failure_values(failure)}
        # Housekeeping removes the recording; a worker that was killed may have kept one and not told.
        keeps = select(SpaceRow.keep_recordings_s).where(SpaceRow.id == SampleRow.space_id).scalar_subquery()
        kept = case((SampleRow.kept_until_us.is_not(None) | (keeps > 0), now))
        with Session(self._writing) as session, session.begin():
            session.execute(done.values(sealed_voice=None, sealed_trace=None, sound=None, kept_until_us=kept, **values))

    def recording_key(self, sample_id: str) -> bytes | None:
        """Return the key under which a sample's recording is sealed; None when the sample is gone."""
        with Session(self._reading) as session:
            found = self._keys.find(session, [sample_id]).get(sample_id)
            return found.key if found else None

    def forget_recording(self, sample_id: str) -> None:
        """Note that a sample's recording is not kept any more."""
        with Session(self._writing) as session, session.begin():
            session.execute(update(SampleRow).where(SampleRow.id == sample_id).values(kept_until_us=None))
            session.execute(delete(LeftRecordingRow).where(LeftRecordingRow.sample_id == sample_id))

    def kept_recordings(self, at: datetime, most: int) -> list[tuple[str, str]]:
        """Return (client id, sample id) of recordings that are kept longer than they may be at a time.

        Some are of samples that newer ones have replaced in an enrolment.
        """
        rows = select(SpaceRow.client_id, SampleRow.id).join(SpaceRow, SpaceRow.id == SampleRow.space_id)
        left = select(LeftRecordingRow.client_id, LeftRecordingRow.sample_id)
        with Session(self._reading) as session:
            found = [*session.execute(rows.where(SampleRow.kept_until_us <= to_us(at)).limit(most))]
            found += session.execute(left.limit(most))
            return [(client_id, sample_id) for client_id, sample_id in found]

    def add_enrolment(self, by: Actor, space_id: str, new: NewEnrolment, sample_ids: Sequence[str] = ()) -> Enrolment:
        """Make an open enrolment of samples that are ready; raises HandleTaken, NotFound, WrongState."""
        row = _enrolment_row(space_id, new)
        with taken(RecordKind.ENROLMENT, row.handle), Session(self._writing) as session, session.begin():
            require_space(session, space_id)
            require_row(session, IdentityRow, new.identity_id, RecordKind.IDENTITY, space_id)
            self._insert_enrolment(session, by, row, new)
            for sample_id in dict.fromkeys(sample_ids):
                if not _take_part(session, row, sample_id):
                    raise WrongState("A sample is gone, was not heard yet, or belongs to another identity.")
            session.flush()
            return self._shown(session, [row])[0]

    def _insert_enrolment(self, session: Session, by: Actor, row: EnrolmentRow, new: NewEnrolment) -> None:
        session.add(row)
        key = self._keys.make(session, RecordKind.ENROLMENT, row.id)
        row.sealed = key.seal_text({"alias": new.alias, "warning": None})
        note(session, by, Action.CREATE, RecordKind.ENROLMENT, row.id)

    def ensure_growing(self, by: Actor, space_id: str, new: NewEnrolment) -> Enrolment:
        """Return the identity's growing enrolment of that handle, made if it is new; raises WrongState for another."""
        found = self._ensured(by, space_id, new)
        if found.kind is not EnrolmentKind.GROWING:
            raise WrongState(
                f"Enrolment {found.handle} is computed once and does not grow; delete it, or make another."
            )
        return found

    def _ensured(self, by: Actor, space_id: str, new: NewEnrolment) -> Enrolment:
        found = self.find_enrolment(new.identity_id, new.handle)
        if found is not None:
            return found
        try:
            return self.add_enrolment(by, space_id, new)
        except HandleTaken:
            # Another call was faster.
            return self._ensured(by, space_id, new)

    def find_enrolment(self, identity_id: str, reference: str) -> Enrolment | None:
        """Return the enrolment of an identity with that id or handle."""
        rows = select(EnrolmentRow).where(EnrolmentRow.identity_id == identity_id)
        mine = rows.where((EnrolmentRow.id == reference) | (EnrolmentRow.handle == reference))
        return self._first(mine.order_by(EnrolmentRow.id != reference))

    def enrolment(self, enrolment_id: str) -> Enrolment | None:
        """Return an enrolment by its id, for a worker."""
        return self._first(select(EnrolmentRow).where(EnrolmentRow.id == enrolment_id))

    def _first(self, rows: Select[EnrolmentRow]) -> Enrolment | None:
        with Session(self._reading) as session:
            row = session.scalar(rows)
            return self._shown(session, [row])[0] if row else None

    def list_enrolments(self, space_id: str, query: RecordQuery) -> RecordPage[Enrolment]:
        """Return a page of a space's enrolments, of an identity where the query names one."""
        rows = inside(EnrolmentRow, space_id, query)
        with Session(self._reading) as session:
            return page(session, rows, EnrolmentRow, query, lambda found: self._shown(session, found), self._keys)

    def rename_enrolment(self, by: Actor, enrolment: Enrolment) -> bool:
        """Store handle and alias of an enrolment; raises HandleTaken."""
        return rename(self._writing, self._keys, by, RecordKind.ENROLMENT, EnrolmentRow, enrolment)

    def add_part(self, by: Actor, enrolment_id: str, sample_id: str) -> bool:
        """Add a ready sample of the identity to an open enrolment; twice is once. False when it is not open."""
        with Session(self._writing) as session, session.begin():
            row = locked(session, EnrolmentRow, enrolment_id)
            if row is None or row.state != EnrolmentState.OPEN or not _take_part(session, row, sample_id):
                return False
            note(session, by, Action.ADD, RecordKind.ENROLMENT, row.id)
        return True

    def remove_part(self, by: Actor, enrolment_id: str, sample_id: str) -> bool:
        """Remove a sample from an open enrolment; False when it is not open."""
        mine = (PartRow.enrolment_id == enrolment_id) & (PartRow.sample_id == sample_id)
        with Session(self._writing) as session, session.begin():
            row = locked(session, EnrolmentRow, enrolment_id)
            if row is None or row.state != EnrolmentState.OPEN:
                return False
            session.execute(delete(PartRow).where(mine))
            note(session, by, Action.REMOVE, RecordKind.ENROLMENT, row.id)
        return True

    def parts(self, enrolment_id: str) -> list[Part]:
        """Return the samples of an enrolment in the order in which they were added."""
        with Session(self._reading) as session:
            return _parts(session, self._keys, enrolment_id)

    def begin_computing(self, by: Actor, enrolment_id: str, job_id: str, *, anew: bool = False) -> bool:
        """Settle the samples of an open enrolment that has enough, for a job to compute; of two calls one wins.

        With `anew` a computed enrolment is computed again.
        """
        with Session(self._writing) as session, session.begin():
            row = locked(session, EnrolmentRow, enrolment_id)
            if row is None or row.state != (EnrolmentState.COMPUTED if anew else EnrolmentState.OPEN):
                return False
            if _num_parts(session, row.id) < max(1, row.min_samples):
                return False
            row.state = EnrolmentState.COMPUTING
            row.since_us = now_us()
            row.job_id = job_id
            note_failure(row, None)
            note(session, by, Action.COMPUTE, RecordKind.ENROLMENT, row.id)
        return True

    def compute(
        self,
        enrolment_id: str,
        job_id: str,
        pool: Pool,
        use: Use | None,
        *,
        anew: Mapping[str, Heard] | None = None,
    ) -> Enrolment | None:
        """Store the voiceprint that `pool` makes of the parts; None when the enrolment, or the job's right, is gone.

        The second call of a job changes nothing. `anew` replaces what was heard in samples before. What `pool` raises
        leaves the enrolment as it was.

        Raises
        ------
        SampleRefused
            Samples were removed meanwhile, and too few are left.
        """
        with Session(self._writing) as session, session.begin():
            row = locked(session, EnrolmentRow, enrolment_id)
            if row is None or row.job_id != job_id or row.state == EnrolmentState.OPEN:
                return None
            if row.state == EnrolmentState.COMPUTING:
                _require_enough(session, row)
                for sample_id, heard in (anew or {}).items():
                    _hear_again(session, self._keys, sample_id, heard)
                row.state = EnrolmentState.COMPUTED
                _store(session, self._keys, row, pool)
                if use is not None:
                    count_use(session, use)
            session.flush()
            return self._shown(session, [row])[0]

    def grow(self, enrolment_id: str, sample_id: str, pool: Pool, use: Use | None) -> Enrolment | None:
        """Add a ready sample to a growing enrolment and pool it anew, once; None when one of them is gone.

        An enrolment that has too few samples yet stays open. What `pool` raises leaves the enrolment as it was.
        """
        with Session(self._writing) as session, session.begin():
            row = locked(session, EnrolmentRow, enrolment_id)
            if row is None or row.kind != EnrolmentKind.GROWING:
                return None
            new = session.get(PartRow, (enrolment_id, sample_id)) is None
            if new and not _take_part(session, row, sample_id):
                return None
            was_open = row.state == EnrolmentState.OPEN
            if _settled(session, row) and (new or was_open):
                _store(session, self._keys, row, pool)
                if use is not None:
                    count_use(session, use)
            session.flush()
            return self._shown(session, [row])[0]

    def begin_voice(self, by: Actor, space_id: str, job_id: str) -> None:
        """Note that a job is to enrol a voice, by whom, until it does or is called off; raises NotFound."""
        row = PendingVoiceRow(
            job_id=job_id,
            space_id=space_id,
            client_id=by.client_id,
            key_id=by.key_id,
            request_id=by.request_id,
            created_us=now_us(),
        )
        with Session(self._writing) as session, session.begin():
            require_space(session, space_id)
            session.add(row)

    def call_off_voice(self, job_id: str) -> bool:
        """Keep a job from enrolling a voice; False when it has enrolled it, or was called off."""
        with Session(self._writing) as session, session.begin():
            done = session.execute(delete(PendingVoiceRow).where(PendingVoiceRow.job_id == job_id))
            return bool(done.rowcount)  # type: ignore[attr-defined]

    def enrol_voice(self, job_id: str, new: NewVoice, pool: Pool, uses: Sequence[Use]) -> Enrolment | None:
        """Add samples to an identity's growing enrolment `main` and pool it, all in one transaction.

        The identity is made where `new` has a handle, and the enrolment where there is none. Samples beyond the newest
        `new.most_samples` leave the enrolment, and are removed unless another enrolment has them. A job that enrolled
        the voice before gets the enrolment as it stands. None when the job was called off, or what it is about is gone.
        What `pool` raises leaves everything as it was.

        Raises
        ------
        HandleTaken
        SampleRefused
            `main` is computed once and does not grow.
        """
        with Session(self._writing) as session, session.begin():
            by = _end_waiting(session, job_id, new.space_id)
            row = self._main(session, by, new) if by else _enrolled(session, new)
            if row is None:
                return None
            removed = self._add_samples(session, by, row, job_id, new) if by else 0
            if by and _settled(session, row):
                _store(session, self._keys, row, pool)
                for use in uses:
                    count_use(session, use)
            session.flush()
            shown = self._shown(session, [row])[0]
        if removed:
            forget_log(self._writing)
        return shown

    def _main(self, session: Session, by: Actor, new: NewVoice) -> EnrolmentRow | None:
        """Return the enrolment `main` of an identity, both made where they are new; None when the identity is gone."""
        if new.handle is not None:
            self._make_identity(session, by, new)
        elif not _has_identity(session, new):
            return None
        mine = (EnrolmentRow.identity_id == new.identity_id) & (EnrolmentRow.handle == DEFAULT_ENROLMENT)
        row = session.scalar(select(EnrolmentRow).where(mine))
        if row is None:
            made = NewEnrolment(identity_id=new.identity_id)
            row = _enrolment_row(new.space_id, made)
            self._insert_enrolment(session, by, row, made)
        if row.kind != EnrolmentKind.GROWING:
            raise SampleRefused(f"Enrolment {row.handle} is computed once and does not grow; delete it first.")
        return row

    def _make_identity(self, session: Session, by: Actor, new: NewVoice) -> None:
        assert new.handle is not None
        taken_already = select(IdentityRow.id).where(
            IdentityRow.space_id == new.space_id, IdentityRow.handle == new.handle
        )
        if session.scalar(taken_already) is not None:
            raise HandleTaken.of(RecordKind.IDENTITY, new.handle)
        row = IdentityRow(id=new.identity_id, space_id=new.space_id, handle=new.handle, sealed=b"", created_us=now_us())
        insert_identity(session, self._keys, by, row)

    def _add_samples(self, session: Session, by: Actor, row: EnrolmentRow, job_id: str, new: NewVoice) -> int:
        """Make samples parts of an enrolment in place of the oldest; returns how many were removed."""
        add_job(session, job_id, by.client_id, new.identity_id)
        for one in new.samples:
            self._add_heard(session, by, job_id, new, one)
            _take_part(session, row, one.id)
        oldest_last = select(PartRow.sample_id).where(PartRow.enrolment_id == row.id)
        ordered = oldest_last.order_by(PartRow.added_us.desc(), PartRow.sample_id)
        replaced = session.scalars(ordered.offset(new.most_samples)).all()
        session.execute(delete(PartRow).where(PartRow.enrolment_id == row.id, PartRow.sample_id.in_(replaced)))
        return _remove_unused(session, by, replaced)

    def _add_heard(self, session: Session, by: Actor, job_id: str, new: NewVoice, one: HeardSample) -> None:
        made = NewSample(id=one.id, identity_id=new.identity_id, job_id=job_id)
        row = _sample_row(new.space_id, made)
        row.state = SampleState.READY
        row.uploaded_us = row.since_us
        row.kept_until_us = us_or_none(new.kept_until)
        self._fill(row, self._insert_sample(session, by, row, made), one.heard, one.trace)

    def fail_enrolment(self, enrolment_id: str, job_id: str, failure: Failure | None) -> None:
        """Give an enrolment that a job computes back: open, or computed as it was; the reason is stored.

        A job that was refused has none.
        """
        with Session(self._writing) as session, session.begin():
            row = locked(session, EnrolmentRow, enrolment_id)
            if row is None or row.job_id != job_id or row.state != EnrolmentState.COMPUTING:
                return
            row.state = EnrolmentState.COMPUTED if row.sealed_voiceprint else EnrolmentState.OPEN
            note_failure(row, failure)

    def gallery_version(self, space_id: str) -> int:
        """Return a number that changes with every voiceprint of a space."""
        with Session(self._reading) as session:
            return session.scalar(select(SpaceRow.gallery).where(SpaceRow.id == space_id)) or 0

    def gallery_index(self, space_id: str, model_id: str) -> dict[str, int]:
        """Return the version of each computed enrolment of a space and model, by id."""
        rows = select(EnrolmentRow.id, EnrolmentRow.version)
        mine = (EnrolmentRow.space_id == space_id) & (EnrolmentRow.model_id == model_id)
        with Session(self._reading) as session:
            return dict(session.execute(rows.where(mine)).all())

    def gallery_skipped(self, space_id: str, model_id: str) -> int:
        """Count the identities of a space that are enrolled under other models only."""
        rows = select(EnrolmentRow.identity_id).where(EnrolmentRow.space_id == space_id)
        mine = rows.where(EnrolmentRow.model_id == model_id)
        others = rows.where(EnrolmentRow.model_id.is_not(None), EnrolmentRow.identity_id.not_in(mine)).distinct()
        with Session(self._reading) as session:
            return session.scalar(select(func.count()).select_from(others.subquery())) or 0

    def gallery_rows(self, enrolment_ids: Sequence[str]) -> list[GalleryRow]:
        """Return the voiceprints of computed enrolments; those that are gone are left out."""
        found: list[GalleryRow] = []
        with Session(self._reading) as session:
            for start in range(0, len(enrolment_ids), _CHUNK):
                found += self._gallery_rows(session, enrolment_ids[start : start + _CHUNK])
        return found

    def _gallery_rows(self, session: Session, ids: Sequence[str]) -> list[GalleryRow]:
        key = aliased(KeyRow)
        rows = (
            select(EnrolmentRow.id, EnrolmentRow.version, EnrolmentRow.sealed_voiceprint, key.sealed)
            .add_columns(IdentityRow.id, IdentityRow.handle)
            .join(key, key.id == EnrolmentRow.id)
            .join(IdentityRow, IdentityRow.id == EnrolmentRow.identity_id)
            .where(EnrolmentRow.id.in_(ids), EnrolmentRow.sealed_voiceprint.is_not(None))
        )
        return [
            GalleryRow(
                enrolment_id=enrolment_id,
                version=version,
                identity=Name(id=identity_id, handle=handle),
                voiceprint=_voiceprint(self._keys.unsealed(enrolment_id, wrapped), sealed),
            )
            for enrolment_id, version, sealed, wrapped, identity_id, handle in session.execute(rows)
        ]

    def _shown_samples(self, session: Session, rows: Sequence[SampleRow]) -> list[Sample]:
        ids = [row.id for row in rows]
        keys = self._keys.find(session, ids)
        names = self._identities(session, [row.identity_id for row in rows])
        enrolments = counts(session, PartRow.sample_id, ids)
        verifications = counts(session, VerificationRow.sample_id, ids)
        return [
            Sample(
                id=row.id,
                space_id=row.space_id,
                handle=row.handle,
                alias=keys[row.id].text(row.sealed)["alias"],
                state=SampleState(row.state),
                identity=names.get(row.identity_id or ""),
                job_id=row.job_id,
                heard=_heard(keys[row.id], row),
                failure=failure_of(row),
                kept_until=time_or_none(row.kept_until_us),
                created_at=to_time(row.created_us),
                uploaded_at=time_or_none(row.uploaded_us),
                num_enrolments=enrolments.get(row.id, 0),
                num_verifications=verifications.get(row.id, 0),
            )
            for row in rows
        ]

    def _identities(self, session: Session, ids: Sequence[str | None]) -> dict[str, Name]:
        wanted = {one for one in ids if one is not None}
        return self._keys.names(session, session.scalars(select(IdentityRow).where(IdentityRow.id.in_(wanted))))

    def _shown(self, session: Session, rows: Sequence[EnrolmentRow]) -> list[Enrolment]:
        ids = [row.id for row in rows]
        keys = self._keys.find(session, ids)
        names = self._identities(session, [row.identity_id for row in rows])
        samples = counts(session, PartRow.enrolment_id, ids)
        verifications = counts(session, VerificationRow.enrolment_id, ids)
        totals = self._totals(session, [row.id for row in rows if row.sealed_voiceprint is None])
        shown = []
        for row in rows:
            texts = keys[row.id].text(row.sealed)
            audio_s, speech_s = totals.get(row.id, (row.audio_s, row.speech_s))
            shown.append(
                Enrolment(
                    id=row.id,
                    space_id=row.space_id,
                    identity=names[row.identity_id],
                    handle=row.handle,
                    alias=texts["alias"],
                    kind=EnrolmentKind(row.kind),
                    adaptive=row.adaptive,
                    state=EnrolmentState(row.state),
                    model=row.model,
                    model_id=row.model_id,
                    min_samples=row.min_samples,
                    version=row.version,
                    job_id=row.job_id,
                    voiceprint=_voiceprint(keys[row.id], row.sealed_voiceprint) if row.sealed_voiceprint else None,
                    warning=texts["warning"],
                    failure=failure_of(row),
                    audio_s=audio_s,
                    speech_s=speech_s,
                    num_samples=samples.get(row.id, 0),
                    num_verifications=verifications.get(row.id, 0),
                    created_at=to_time(row.created_us),
                    computed_at=time_or_none(row.computed_us),
                )
            )
        return shown

    def _totals(self, session: Session, ids: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return length and speech of the samples of open enrolments, in seconds."""
        found = {}
        for enrolment_id in ids:
            parts = _parts(session, self._keys, enrolment_id)
            found[enrolment_id] = (sum(p.heard.audio_s for p in parts), sum(p.heard.net_speech_s for p in parts))
        return found


def _sample_row(space_id: str, new: NewSample) -> SampleRow:
    now = now_us()
    return SampleRow(
        id=new.id,
        space_id=space_id,
        identity_id=new.identity_id,
        handle=new.handle or new.id,
        job_id=new.job_id,
        since_us=now,
        sealed=b"",
        created_us=now,
    )


def _enrolment_row(space_id: str, new: NewEnrolment) -> EnrolmentRow:
    now = now_us()
    return EnrolmentRow(
        id=new_id(),
        space_id=space_id,
        identity_id=new.identity_id,
        handle=new.handle,
        kind=new.kind,
        adaptive=new.adaptive and new.kind is EnrolmentKind.GROWING,
        state=EnrolmentState.OPEN,
        since_us=now,
        model=new.model,
        min_samples=new.min_samples,
        version=0,
        sealed=b"",
        audio_s=0.0,
        speech_s=0.0,
        created_us=now,
    )


def _heard(key: RecordKey, row: SampleRow) -> Heard | None:
    return heard_from_bytes(key.unseal(row.sealed_voice, "voice")) if row.sealed_voice else None


def _voiceprint(key: RecordKey, sealed: bytes) -> Voiceprint:
    return Voiceprint.decode(key.unseal(sealed, "voiceprint").decode())


def _take_part(session: Session, row: EnrolmentRow, sample_id: str) -> bool:
    """Make a ready sample a part of an enrolment; a sample of nobody becomes the identity's. False when it cannot."""
    sample = session.get(SampleRow, sample_id)
    if sample is None or sample.state != SampleState.READY or sample.space_id != row.space_id:
        return False
    if sample.identity_id not in (None, row.identity_id):
        return False
    if sample.identity_id is None:
        _give(session, sample, row.identity_id)
    if session.get(PartRow, (row.id, sample_id)) is None:
        session.add(PartRow(enrolment_id=row.id, sample_id=sample_id, added_us=now_us()))
    session.flush()
    return True


def _give(session: Session, sample: SampleRow, identity_id: str) -> None:
    """Say whose sample it is: its job then goes with that identity."""
    sample.identity_id = identity_id
    if sample.job_id is not None:
        add_job(session, sample.job_id, session.get_one(SpaceRow, sample.space_id).client_id, identity_id)


def _end_waiting(session: Session, job_id: str, space_id: str) -> Actor | None:
    """Take a job's right to enrol a voice, the space locked; None when it has none."""
    if lock_space(session, space_id) is None:
        return None
    row = session.get(PendingVoiceRow, job_id, with_for_update=True)
    if row is None or row.space_id != space_id:
        return None
    session.delete(row)
    return Actor(client_id=row.client_id, key_id=row.key_id, request_id=row.request_id)


def _has_identity(session: Session, new: NewVoice) -> bool:
    row = session.get(IdentityRow, new.identity_id)
    return row is not None and row.space_id == new.space_id


def _enrolled(session: Session, new: NewVoice) -> EnrolmentRow | None:
    """Return the enrolment that an earlier attempt of a job made or enlarged; None when there is none."""
    ids = [one.id for one in new.samples]
    rows = select(EnrolmentRow).join(PartRow, PartRow.enrolment_id == EnrolmentRow.id)
    mine = (EnrolmentRow.identity_id == new.identity_id) & (EnrolmentRow.handle == DEFAULT_ENROLMENT)
    return session.scalar(rows.where(mine, PartRow.sample_id.in_(ids)).limit(1))


def _settled(session: Session, row: EnrolmentRow) -> bool:
    """Tell whether a growing enrolment is computed, or is now that it has samples enough."""
    if row.state == EnrolmentState.OPEN and _num_parts(session, row.id) >= row.min_samples:
        row.state = EnrolmentState.COMPUTED
    return row.state != EnrolmentState.OPEN


def _remove_unused(session: Session, by: Actor, sample_ids: Sequence[str]) -> int:
    """Remove samples that are part of no enrolment any more; returns how many."""
    used = select(PartRow.sample_id).where(PartRow.sample_id == SampleRow.id)
    rows = session.scalars(select(SampleRow).where(SampleRow.id.in_(sample_ids), ~used.exists())).all()
    for row in rows:
        if row.kept_until_us is not None:
            session.add(LeftRecordingRow(sample_id=row.id, client_id=by.client_id))
        note(session, by, Action.DELETE, RecordKind.SAMPLE, row.id)
        session.delete(row)
    session.flush()
    return len(rows)


def _require_enough(session: Session, row: EnrolmentRow) -> None:
    if _num_parts(session, row.id) < max(1, row.min_samples):
        raise SampleRefused("Samples of the enrolment were deleted while it was computed; add others, and compute it.")


def _num_parts(session: Session, enrolment_id: str) -> int:
    return session.scalar(select(func.count()).where(PartRow.enrolment_id == enrolment_id)) or 0


def _parts(session: Session, keys: Keys, enrolment_id: str) -> list[Part]:
    rows = select(SampleRow).join(PartRow, PartRow.sample_id == SampleRow.id)
    mine = rows.where(PartRow.enrolment_id == enrolment_id).order_by(PartRow.added_us, SampleRow.id)
    found = session.scalars(mine).all()
    unsealing = keys.find(session, [row.id for row in found])
    parts = [(row, _heard(unsealing[row.id], row)) for row in found]
    return [Part(sample=Name(id=row.id, handle=row.handle), heard=heard) for row, heard in parts if heard]


def _hear_again(session: Session, keys: Keys, sample_id: str, heard: Heard) -> None:
    row = session.get(SampleRow, sample_id)
    if row is not None:
        row.sealed_voice = keys.of(session, sample_id).seal(heard_to_bytes(heard), "voice")
        session.flush()


def _store(session: Session, keys: Keys, row: EnrolmentRow, pool: Pool) -> None:
    """Pool the parts of an enrolment, and store their voiceprint as its next version."""
    parts = _parts(session, keys, row.id)
    pooled = pool(parts)
    key = keys.of(session, row.id)
    row.sealed_voiceprint = key.seal(pooled.voiceprint.encode().encode(), "voiceprint")
    row.sealed = key.seal_text(key.text(row.sealed) | {"warning": pooled.warning})
    row.model_id = pooled.voiceprint.model_id
    row.version += 1
    row.audio_s = sum(part.heard.audio_s for part in parts)
    row.speech_s = sum(part.heard.net_speech_s for part in parts)
    note_failure(row, None)
    row.computed_us = row.since_us = now_us()
    touch(session, row.space_id)


def pool_again(session: Session, keys: Keys, enrolment_id: str) -> None:
    """Pool a growing enrolment without a sample that was removed; where too few are left, it is open again.

    So it is where the others cannot be pooled, since their voiceprints are of different models.
    """
    row = session.get(EnrolmentRow, enrolment_id)
    if row is None or row.sealed_voiceprint is None:
        return
    if _num_parts(session, enrolment_id) < max(1, row.min_samples):
        _open_again(session, row, None)
        return
    try:
        _store(session, keys, row, lambda parts: Pooled(voiceprint=pool([part.heard.voiceprint for part in parts])))
    except InvalidVoiceprint as error:
        _open_again(session, row, error)


def _open_again(session: Session, row: EnrolmentRow, error: JobFailure | None) -> None:
    row.state = EnrolmentState.OPEN
    row.sealed_voiceprint = row.model_id = row.computed_us = None
    note_failure(row, Failure.of(error) if error else None)
    row.audio_s = row.speech_s = 0.0
    touch(session, row.space_id)
