"""Verifications in SQL, the traces of recordings that were heard before, and usage."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Engine, Select, delete, func, inspect, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.adapters.sql.database import forget_log, reading, writing
from shared.adapters.sql.record_tables import (
    AuditRow,
    EnrolmentRow,
    IdentityRow,
    NotedJobRow,
    PendingVoiceRow,
    SampleRow,
    SpaceRow,
    UsageRow,
    VerificationRow,
    VerifiedSoundRow,
)
from shared.adapters.sql.records import (
    Keys,
    RecordKey,
    count_use,
    failure_of,
    inside,
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
    traces_from_bytes,
    traces_to_bytes,
    verified_from_bytes,
    verified_to_bytes,
)
from shared.domain.errors import NotEnrolled
from shared.domain.identities import (
    Action,
    Actor,
    EnrolmentState,
    Failure,
    KnownTrace,
    Name,
    NewVerification,
    RecordKind,
    RecordPage,
    RecordQuery,
    SampleState,
    Trace,
    Unsettled,
    UsageRecord,
    Use,
    Verification,
    VerificationMode,
    VerificationState,
    Verified,
)
from shared.domain.verification import OperatingPoint

#: Rows of a table that one call forgets at most, since SQLite lets nobody write meanwhile.
_MOST_FORGOTTEN = 5000
#: Samples, and verifications, of the same sound that one call tells of; a watchdog may send one day and night.
_MOST_SAME = 100


class SqlVerifications:
    """`VerificationStore` in a migrated database, sealed under the server secret."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._reading = reading(engine)
        self._writing = writing(engine)
        self._keys = Keys(secret)

    def add_verification(self, by: Actor, space_id: str, new: NewVerification) -> Verification:
        """Make a verification; raises HandleTaken, NotFound, NotEnrolled."""
        handle = new.handle or new.id
        with taken(RecordKind.VERIFICATION, handle), Session(self._writing) as session, session.begin():
            require_space(session, space_id)
            enrolment = require_row(session, EnrolmentRow, new.enrolment_id, RecordKind.ENROLMENT, space_id)
            if enrolment.sealed_voiceprint is None:
                raise NotEnrolled(f"Enrolment {enrolment.handle} is not computed yet; compute it first.")
            if new.sample_id is not None:
                require_row(session, SampleRow, new.sample_id, RecordKind.SAMPLE, space_id)
            row = _row(space_id, enrolment, handle, new)
            session.add(row)
            key = self._keys.make(session, RecordKind.VERIFICATION, row.id)
            row.sealed = key.seal_text({"alias": new.alias})
            note(session, by, Action.VERIFY, RecordKind.VERIFICATION, row.id)
            session.flush()
            return self._shown(session, [row])[0]

    def find_verification(self, space_id: str, reference: str) -> Verification | None:
        """Return the verification of a space with that id or handle."""
        return self._first(named(VerificationRow, space_id, reference))

    def verification(self, verification_id: str) -> Verification | None:
        """Return a verification by its id, for a worker."""
        return self._first(select(VerificationRow).where(VerificationRow.id == verification_id))

    def _first(self, rows: Select[VerificationRow]) -> Verification | None:
        with Session(self._reading) as session:
            row = session.scalar(rows)
            return self._shown(session, [row])[0] if row else None

    def list_verifications(self, space_id: str, query: RecordQuery) -> RecordPage[Verification]:
        """Return a page of a space's verifications."""
        rows = inside(VerificationRow, space_id, query)
        if query.enrolment_id is not None:
            rows = rows.where(VerificationRow.enrolment_id == query.enrolment_id)
        with Session(self._reading) as session:
            return page(session, rows, VerificationRow, query, lambda found: self._shown(session, found), self._keys)

    def rename_verification(self, by: Actor, verification: Verification) -> bool:
        """Store handle and alias of a verification; raises HandleTaken."""
        return rename(self._writing, self._keys, by, RecordKind.VERIFICATION, VerificationRow, verification)

    def settle_verification(self, verification_id: str, verified: Verified, traces: Sequence[Trace], use: Use) -> bool:
        """Store a result, once, and count its decision with the identity; False when one of them is gone.

        Parameters
        ----------
        traces : of its recordings; none where they are known by the identity's sample.
        """
        with Session(self._writing) as session, session.begin():
            row = locked(session, VerificationRow, verification_id)
            if row is None or row.state == VerificationState.FAILED:
                return False
            if row.state == VerificationState.PERFORMING:
                key = self._keys.of(session, row.id)
                row.state = VerificationState.PERFORMED
                row.performed_us = now_us()
                row.sealed_result = key.seal(verified_to_bytes(verified), "result")
                row.sealed_trace = key.seal(traces_to_bytes(traces), "trace") if traces else None
                for sound in {self._keys.sound(row.space_id, trace.digest) for trace in traces}:
                    session.add(VerifiedSoundRow(verification_id=row.id, sound=sound))
                _count_decision(session, row, verified)
                count_use(session, use)
        return True

    def fail_verification(self, verification_id: str, failure: Failure) -> None:
        """End a verification without a result."""
        self.call_off_verification(verification_id, failure)

    def call_off_verification(self, verification_id: str, failure: Failure) -> bool:
        """End a verification without a result; False when it has one, has failed before, or is gone."""
        with Session(self._writing) as session, session.begin():
            row = locked(session, VerificationRow, verification_id)
            if row is None or row.state != VerificationState.PERFORMING:
                return False
            row.state = VerificationState.FAILED
            row.performed_us = now_us()
            note_failure(row, failure)
        return True

    def traces(self, identity_id: str, most: int) -> list[KnownTrace]:
        """Return the newest traces of an identity's samples and verifications."""
        return self._known(lambda table: table.identity_id == identity_id, most)[:most]

    def traces_in(self, space_id: str, most: int) -> list[KnownTrace]:
        """Return the newest traces of a space's samples and verifications."""
        return self._known(lambda table: table.space_id == space_id, most)[:most]

    def same_sound(self, space_id: str, digest: bytes) -> list[KnownTrace]:
        """Return the newest traces of a space's samples and verifications of just the same sound.

        However large the space is, it is looked up. Recordings heard by release 0.1 are in `traces_in` alone.
        """
        sound = self._keys.sound(space_id, digest)
        verified = select(VerifiedSoundRow.verification_id).where(VerifiedSoundRow.sound == sound)

        def has_it(table: Any) -> ColumnElement[bool]:
            return table.id.in_(verified) if table is VerificationRow else table.sound == sound

        return [one for one in self._known(has_it, _MOST_SAME) if one.trace.digest == digest]

    def _known(self, condition: Callable[[Any], ColumnElement[bool]], most: int) -> list[KnownTrace]:
        """Return the traces of the newest samples, and of the newest verifications, on a condition on their tables."""
        with Session(self._reading) as session:
            known = [
                one
                for kind, table in ((RecordKind.SAMPLE, SampleRow), (RecordKind.VERIFICATION, VerificationRow))
                for one in self._known_of(session, kind, _traced(table, condition(table), most))
            ]
        return sorted(known, key=lambda one: one.heard_at, reverse=True)

    def _known_of(self, session: Session, kind: RecordKind, rows: Select[Any]) -> list[KnownTrace]:
        found = session.execute(rows).all()
        keys = self._keys.find(session, [row.id for row in found])
        return [
            KnownTrace(of=kind, id=row.id, heard_at=to_time(row.created_us), trace=trace)
            for row in found
            for trace in traces_from_bytes(keys[row.id].unseal(row.sealed_trace, "trace"))
        ]

    def count(self, use: Use, use_id: str) -> None:
        """Count a use that no record stands for; the same id is counted once."""
        with suppress(IntegrityError), Session(self._writing) as session, session.begin():
            count_use(session, use, use_id)

    def list_usage(self, client_id: str, query: RecordQuery) -> RecordPage[UsageRecord]:
        """Return a page of a client's usage."""
        rows = select(UsageRow).where(UsageRow.client_id == client_id)
        if query.kind is not None:
            rows = rows.where(UsageRow.kind == query.kind)
        with Session(self._reading) as session:
            return page(session, rows, UsageRow, query, lambda found: [_usage(row) for row in found], age="at_us")

    def find_usage(self, client_id: str, usage_id: str) -> UsageRecord | None:
        """Return one usage record of a client."""
        with Session(self._reading) as session:
            row = session.get(UsageRow, usage_id)
            return _usage(row) if row is not None and row.client_id == client_id else None

    def unsettled(self, before: datetime, most: int) -> list[Unsettled]:
        """Return samples, enrolments and verifications that have waited for their job since before a time.

        They come in no order: behind many that rightly wait, others have their turn too.
        """
        waiting = [
            (RecordKind.SAMPLE, SampleRow, SampleState.PENDING, SampleRow.since_us),
            (RecordKind.ENROLMENT, EnrolmentRow, EnrolmentState.COMPUTING, EnrolmentRow.since_us),
            (RecordKind.VERIFICATION, VerificationRow, VerificationState.PERFORMING, VerificationRow.created_us),
        ]
        found: list[Unsettled] = []
        with Session(self._reading) as session:
            for kind, table, state, since in waiting:
                rows = _waiting(table, state, since, to_us(before), most)
                found += [_unsettled(kind, *values) for values in session.execute(rows)]
        return found

    def forget(self, *, verifications: datetime, usage: datetime, audit: datetime, jobs: datetime) -> int:
        """Remove what is older than those times, some of it; returns how many rows."""
        old = [
            (VerificationRow, VerificationRow.created_us, verifications),
            (UsageRow, UsageRow.at_us, usage),
            (AuditRow, AuditRow.at_us, audit),
            (NotedJobRow, NotedJobRow.noted_us, jobs),
            (PendingVoiceRow, PendingVoiceRow.created_us, jobs),
        ]
        gone = 0
        for table, column, at in old:
            with Session(self._writing) as session, session.begin():
                gone += _delete_old(session, table, column < to_us(at))
        forget_log(self._writing)
        return gone

    def _shown(self, session: Session, rows: Sequence[VerificationRow]) -> list[Verification]:
        identity_ids = {row.identity_id for row in rows}
        identities = session.scalars(select(IdentityRow).where(IdentityRow.id.in_(identity_ids)))
        names = self._keys.names(session, identities)
        enrolments = self._names(session, EnrolmentRow, [row.enrolment_id for row in rows])
        samples = self._names(session, SampleRow, [row.sample_id for row in rows])
        keys = self._keys.find(session, [row.id for row in rows])
        return [
            Verification(
                id=row.id,
                space_id=row.space_id,
                handle=row.handle,
                alias=keys[row.id].text(row.sealed)["alias"],
                state=VerificationState(row.state),
                mode=VerificationMode(row.mode),
                identity=names.get(row.identity_id),
                enrolment=enrolments.get(row.enrolment_id or ""),
                sample=samples.get(row.sample_id or ""),
                operating_point=OperatingPoint(row.operating_point),
                least_llr=row.least_llr,
                model=row.model,
                model_id=row.model_id,
                job_id=row.job_id,
                result=_result(keys[row.id], row),
                failure=failure_of(row),
                created_at=to_time(row.created_us),
                performed_at=time_or_none(row.performed_us),
            )
            for row in rows
        ]

    def _names(self, session: Session, table: Any, ids: Sequence[str | None]) -> dict[str, Name]:
        wanted = {one for one in ids if one is not None}
        found = session.scalars(select(table).where(table.id.in_(wanted))).all()
        keys = self._keys.find(session, wanted)
        return {row.id: keys[row.id].name(row) for row in found}


def _row(space_id: str, enrolment: EnrolmentRow, handle: str, new: NewVerification) -> VerificationRow:
    return VerificationRow(
        id=new.id,
        space_id=space_id,
        identity_id=enrolment.identity_id,
        enrolment_id=enrolment.id,
        sample_id=new.sample_id,
        handle=handle,
        state=VerificationState.PERFORMING,
        mode=new.mode,
        operating_point=new.operating_point,
        least_llr=new.least_llr,
        model=enrolment.model,
        model_id=enrolment.model_id,
        job_id=new.id,
        sealed=b"",
        created_us=now_us(),
    )


def _result(key: RecordKey, row: VerificationRow) -> Verified | None:
    return verified_from_bytes(key.unseal(row.sealed_result, "result")) if row.sealed_result else None


def _count_decision(session: Session, row: VerificationRow, verified: Verified) -> None:
    """Count a verification with its identity, whose space is locked."""
    if verified.decision is None:
        return
    identity = session.get_one(IdentityRow, row.identity_id)
    identity.num_accepted += verified.decision == "accept"
    identity.num_rejected += verified.decision == "reject"
    identity.verified_us = row.performed_us


def _traced(table: Any, condition: ColumnElement[bool], most: int) -> Select[Any]:
    rows = select(table.id, table.created_us, table.sealed_trace).where(condition, table.sealed_trace.is_not(None))
    return rows.order_by(table.created_us.desc()).limit(most)


def _waiting(table: Any, state: str, since: Any, before_us: int, most: int) -> Select[Any]:
    rows = select(table.id, SpaceRow.client_id, table.job_id, since).join(SpaceRow, SpaceRow.id == table.space_id)
    return rows.where(table.state == state, since < before_us).order_by(func.random()).limit(most)


def _unsettled(kind: RecordKind, record_id: str, client_id: str, job_id: str, since_us: int) -> Unsettled:
    return Unsettled(kind=kind, id=record_id, client_id=client_id, job_id=job_id, since=to_time(since_us))


def _delete_old(session: Session, table: Any, condition: Any) -> int:
    """Delete some rows; what others hold waits for the next call, rather than this one for them."""
    key = inspect(table).primary_key
    some = select(*key).where(condition).limit(_MOST_FORGOTTEN).with_for_update(skip_locked=True)
    done = session.execute(delete(table).where(tuple_(*key).in_(some)))
    return done.rowcount if isinstance(done, CursorResult) else 0


def _usage(row: UsageRow) -> UsageRecord:
    return UsageRecord(
        id=row.id,
        kind=RecordKind(row.kind),
        model_id=row.model_id,
        space_id=row.space_id or None,
        subject_id=row.subject_id,
        seconds=row.seconds,
        client_id=row.client_id,
        key_id=row.key_id,
        at=to_time(row.at_us),
    )
