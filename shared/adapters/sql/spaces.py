"""Spaces and identities in SQL, the audit log, and the removal of records."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Select, delete, func, select
from sqlalchemy.orm import Session

from shared.adapters.sql.database import forget_log, reading, writing
from shared.adapters.sql.enrolments import pool_again
from shared.adapters.sql.record_tables import (
    AuditRow,
    EnrolmentRow,
    IdentityRow,
    NotedJobRow,
    PartRow,
    PendingVoiceRow,
    SampleRow,
    SpaceRow,
    UsageRow,
    VerificationRow,
)
from shared.adapters.sql.records import (
    Keys,
    add_job,
    counts,
    insert_identity,
    lock_space,
    locked,
    named,
    note,
    now_us,
    page,
    require_space,
    seal_identity,
    taken,
    time_or_none,
    to_time,
    to_us,
    touch,
    us_or_none,
)
from shared.adapters.sql.tables import ClientRow
from shared.domain.errors import HandleTaken, NotFound
from shared.domain.identities import (
    Action,
    Actor,
    AuditEntry,
    Consent,
    EnrolmentKind,
    Identity,
    NewIdentity,
    RecordKind,
    RecordPage,
    RecordQuery,
    Removal,
    SampleState,
    Space,
    new_id,
)

#: Records of a space that one transaction removes, some 0.2 s of SQLite on a machine that does nothing else.
_MOST_AT_ONCE = 500
#: Pause between two of them, in seconds: those who wait for SQLite look every 0.1 s.
_PAUSE_S = 0.12

_TABLES: dict[RecordKind, Any] = {
    RecordKind.SPACE: SpaceRow,
    RecordKind.IDENTITY: IdentityRow,
    RecordKind.SAMPLE: SampleRow,
    RecordKind.ENROLMENT: EnrolmentRow,
    RecordKind.VERIFICATION: VerificationRow,
}


class SqlSpaces:
    """`SpaceStore` in a migrated database, sealed under the server secret."""

    def __init__(self, engine: Engine, secret: bytes) -> None:
        self._reading = reading(engine)
        self._writing = writing(engine)
        self._keys = Keys(secret)

    def find_space(self, client_id: str, handle: str) -> Space | None:
        """Return a client's space."""
        with Session(self._reading) as session:
            row = session.scalar(_spaces(client_id).where(SpaceRow.handle == handle))
            return _shown_spaces(session, [row])[0] if row else None

    def find_space_of(self, client_id: str, identity_id: str) -> Space | None:
        """Return the client's space that has an identity of that id."""
        inside = select(IdentityRow.space_id).where(IdentityRow.id == identity_id)
        with Session(self._reading) as session:
            row = session.scalar(_spaces(client_id).where(SpaceRow.id.in_(inside)))
            return _shown_spaces(session, [row])[0] if row else None

    def space(self, space_id: str) -> Space | None:
        """Return a space by its id, for a worker."""
        with Session(self._reading) as session:
            row = session.get(SpaceRow, space_id)
            return _shown_spaces(session, [row])[0] if row else None

    def ensure_space(self, by: Actor, handle: str) -> Space:
        """Return the actor's space of that handle, made if it is new."""
        try:
            return self.add_space(by, handle)
        except HandleTaken:
            found = self.find_space(by.client_id, handle)
            if found is None:
                raise
            return found

    def add_space(self, by: Actor, handle: str, alias: str | None = None) -> Space:
        """Make a space; raises HandleTaken, or NotFound where the client is gone."""
        row = SpaceRow(id=new_id(), client_id=by.client_id, handle=handle, alias=alias, created_us=now_us())
        with taken(RecordKind.SPACE, handle), Session(self._writing) as session, session.begin():
            if session.get(ClientRow, by.client_id, with_for_update={"read": True, "key_share": True}) is None:
                raise NotFound("There is no such client; it was deleted.")
            session.add(row)
            session.flush()
            note(session, by, Action.CREATE, RecordKind.SPACE, row.id)
            return _shown_spaces(session, [row])[0]

    def change_space(self, by: Actor, space: Space) -> bool:
        """Store handle, alias, retention and legal basis of a space; False when it is gone; raises HandleTaken."""
        with taken(RecordKind.SPACE, space.handle), Session(self._writing) as session, session.begin():
            row = lock_space(session, space.id)
            if row is None:
                return False
            row.handle = space.handle
            row.alias = space.alias
            row.keep_recordings_s = space.keep_recordings_s
            row.consent_basis = space.consent_basis
            note(session, by, Action.CHANGE, RecordKind.SPACE, row.id)
        return True

    def list_spaces(self, client_id: str, query: RecordQuery) -> RecordPage[Space]:
        """Return a page of a client's spaces."""
        with Session(self._reading) as session:
            return page(
                session,
                _spaces(client_id),
                SpaceRow,
                query,
                lambda rows: _shown_spaces(session, rows),
            )

    def add_identity(self, by: Actor, space_id: str, new: NewIdentity) -> Identity:
        """Make an identity; raises HandleTaken, or NotFound where the space is gone."""
        identity_id = new_id()
        row = IdentityRow(
            id=identity_id,
            space_id=space_id,
            handle=new.handle or identity_id,
            sealed=b"",
            expires_us=us_or_none(new.expires_at),
            created_us=now_us(),
        )
        with taken(RecordKind.IDENTITY, row.handle), Session(self._writing) as session, session.begin():
            require_space(session, space_id)
            insert_identity(session, self._keys, by, row, new.alias, new.consent)
            session.flush()
            return self._shown(session, [row])[0]

    def find_identity(self, space_id: str, reference: str) -> Identity | None:
        """Return the identity of a space with that id or handle."""
        with Session(self._reading) as session:
            row = session.scalar(named(IdentityRow, space_id, reference))
            return self._shown(session, [row])[0] if row else None

    def change_identity(self, by: Actor, identity: Identity) -> bool:
        """Store handle, alias, consent and expiry of an identity; False when it is gone; raises HandleTaken."""
        with taken(RecordKind.IDENTITY, identity.handle), Session(self._writing) as session, session.begin():
            row = locked(session, IdentityRow, identity.id)
            if row is None:
                return False
            row.handle = identity.handle
            row.sealed = seal_identity(self._keys.of(session, row.id), identity.alias, identity.consent)
            row.expires_us = us_or_none(identity.expires_at)
            note(session, by, Action.CHANGE, RecordKind.IDENTITY, row.id)
            touch(session, row.space_id)
        return True

    def list_identities(self, space_id: str, query: RecordQuery) -> RecordPage[Identity]:
        """Return a page of a space's identities, without those whose time is over."""
        living = IdentityRow.expires_us.is_(None) | (IdentityRow.expires_us > now_us())
        rows = select(IdentityRow).where(IdentityRow.space_id == space_id, living)
        if query.without_model is not None:
            mine = select(EnrolmentRow.id).where(
                EnrolmentRow.identity_id == IdentityRow.id, EnrolmentRow.model_id == query.without_model
            )
            enrolled = select(EnrolmentRow.id).where(
                EnrolmentRow.identity_id == IdentityRow.id, EnrolmentRow.model_id.is_not(None)
            )
            rows = rows.where(enrolled.exists(), ~mine.exists())
        with Session(self._reading) as session:
            return page(session, rows, IdentityRow, query, lambda found: self._shown(session, found), self._keys)

    def _shown(self, session: Session, rows: Sequence[IdentityRow]) -> list[Identity]:
        ids = [row.id for row in rows]
        keys = self._keys.find(session, ids)
        spaces = _space_handles(session, {row.space_id for row in rows})
        samples = counts(session, SampleRow.identity_id, ids)
        enrolments = counts(session, EnrolmentRow.identity_id, ids)
        verifications = counts(session, VerificationRow.identity_id, ids)
        models = _models(session, ids)
        shown = []
        for row in rows:
            texts = keys[row.id].text(row.sealed)
            shown.append(
                Identity(
                    id=row.id,
                    space_id=row.space_id,
                    space=spaces[row.space_id],
                    handle=row.handle,
                    alias=texts.get("alias"),
                    consent=_consent(texts.get("consent")),
                    expires_at=time_or_none(row.expires_us),
                    created_at=to_time(row.created_us),
                    num_samples=samples.get(row.id, 0),
                    num_enrolments=enrolments.get(row.id, 0),
                    num_verifications=verifications.get(row.id, 0),
                    num_accepted=row.num_accepted,
                    num_rejected=row.num_rejected,
                    verified_at=time_or_none(row.verified_us),
                    model_ids=tuple(models.get(row.id, ())),
                )
            )
        return shown

    def jobs_about(self, kind: RecordKind, record_id: str) -> list[tuple[str, str]]:
        """Return (client id, job id) of the jobs about a record, or about what is below it."""
        with Session(self._reading) as session:
            return _jobs_about(session, kind, [record_id])

    def note_job(self, job_id: str, client_id: str, identity_ids: Iterable[str]) -> None:
        """Note that a job is about identities, so that it goes with them; those that are gone are passed over."""
        with Session(self._writing) as session, session.begin():
            for identity_id in sorted(set(identity_ids)):
                if locked(session, IdentityRow, identity_id) is not None:
                    add_job(session, job_id, client_id, identity_id)

    def remove(self, by: Actor, kind: RecordKind, record_id: str, action: Action = Action.DELETE) -> Removal | None:
        """Remove a record, all below it, and their keys; None when there is none.

        A growing enrolment is pooled again without a removed sample. A space is emptied first, in several transactions.
        """
        before = self._empty(record_id) if kind is RecordKind.SPACE else []
        with Session(self._writing) as session, session.begin():
            row = _locked(session, kind, record_id)
            if row is None:
                return None
            removal = _removal(session, kind, [record_id])
            space_id = record_id if kind is RecordKind.SPACE else row.space_id
            grown = _grown_from(session, record_id) if kind is RecordKind.SAMPLE else []
            session.delete(row)
            session.flush()
            for enrolment_id in grown:
                pool_again(session, self._keys, enrolment_id)
            touch(session, space_id)
            note(session, by, action, kind, record_id)
        forget_log(self._writing)
        return _sum(record_id, [*before, removal])

    def _empty(self, space_id: str) -> list[Removal]:
        """Remove what is in a space, some of it in each transaction: SQLite lets nobody write meanwhile."""
        removals = []
        for kind in (RecordKind.IDENTITY, RecordKind.SAMPLE):
            while (removal := self._remove_some(space_id, kind)) is not None:
                removals.append(removal)
                time.sleep(_PAUSE_S)
        return removals

    def _remove_some(self, space_id: str, kind: RecordKind) -> Removal | None:
        """Remove some records of a space; None when what is left goes with the space itself."""
        table = _TABLES[kind]
        with Session(self._writing) as session, session.begin():
            lock_space(session, space_id)
            some = select(table.id).where(table.space_id == space_id).limit(_MOST_AT_ONCE)
            ids = session.scalars(some).all()
            if len(ids) < _MOST_AT_ONCE:
                return None
            removal = _removal(session, kind, ids)
            session.execute(delete(table).where(table.id.in_(ids)))
            touch(session, space_id)
        return removal

    def remove_client(self, client_id: str) -> Removal:
        """Remove all spaces of a client, its usage and its audit log."""
        with Session(self._writing) as session, session.begin():
            inside = select(SpaceRow.id).where(SpaceRow.client_id == client_id)
            identities = session.scalar(select(func.count()).where(IdentityRow.space_id.in_(inside))) or 0
            for table in (SpaceRow, UsageRow, AuditRow):
                session.execute(delete(table).where(table.client_id == client_id))
        forget_log(self._writing)
        return Removal(id=client_id, deleted_at=datetime.now(UTC), counts={RecordKind.IDENTITY: identities})

    def audit(self, by: Actor, action: Action, kind: RecordKind, record_id: str) -> None:
        """Add an entry to the audit log, for what changes nothing in the database."""
        with Session(self._writing) as session, session.begin():
            note(session, by, action, kind, record_id)

    def list_audit(self, client_id: str, query: RecordQuery) -> RecordPage[AuditEntry]:
        """Return a page of a client's audit log."""
        rows = select(AuditRow).where(AuditRow.client_id == client_id)
        if query.kind is not None:
            rows = rows.where(AuditRow.kind == query.kind)
        with Session(self._reading) as session:
            return page(session, rows, AuditRow, query, lambda found: [_entry(row) for row in found], age="at_us")

    def expired(self, at: datetime, most: int) -> list[tuple[str, str]]:
        """Return (client id, identity id) of identities whose time is over."""
        rows = select(SpaceRow.client_id, IdentityRow.id).join(SpaceRow, SpaceRow.id == IdentityRow.space_id)
        with Session(self._reading) as session:
            found = session.execute(rows.where(IdentityRow.expires_us <= to_us(at)).limit(most))
            return [(client_id, identity_id) for client_id, identity_id in found]


def _spaces(client_id: str) -> Select[SpaceRow]:
    return select(SpaceRow).where(SpaceRow.client_id == client_id)


def _shown_spaces(session: Session, rows: Sequence[SpaceRow]) -> list[Space]:
    identities = counts(session, IdentityRow.space_id, [row.id for row in rows])
    return [
        Space(
            id=row.id,
            client_id=row.client_id,
            handle=row.handle,
            alias=row.alias,
            keep_recordings_s=row.keep_recordings_s,
            consent_basis=row.consent_basis,
            created_at=to_time(row.created_us),
            num_identities=identities.get(row.id, 0),
        )
        for row in rows
    ]


def _space_handles(session: Session, ids: Iterable[str]) -> dict[str, str]:
    found = session.execute(select(SpaceRow.id, SpaceRow.handle).where(SpaceRow.id.in_(list(ids))))
    return dict(found.all())


def _models(session: Session, identity_ids: Sequence[str]) -> dict[str, list[str]]:
    rows = select(EnrolmentRow.identity_id, EnrolmentRow.model_id).distinct()
    rows = rows.where(EnrolmentRow.identity_id.in_(identity_ids), EnrolmentRow.model_id.is_not(None))
    models: dict[str, list[str]] = {}
    for identity_id, model_id in session.execute(rows.order_by(EnrolmentRow.model_id)):
        models.setdefault(identity_id, []).append(str(model_id))
    return models


def _consent(values: dict[str, Any] | None) -> Consent | None:
    return Consent(**(values | {"given_at": to_time(values["given_at"])})) if values else None


def _locked(session: Session, kind: RecordKind, record_id: str) -> Any:
    if kind is RecordKind.SPACE:
        return lock_space(session, record_id)
    return locked(session, _TABLES[kind], record_id)


def _jobs_about(session: Session, kind: RecordKind, ids: Sequence[str]) -> list[tuple[str, str]]:
    noted = select(NotedJobRow.client_id, NotedJobRow.job_id).distinct()
    if kind is RecordKind.IDENTITY:
        found = [noted.where(NotedJobRow.identity_id.in_(ids))]
    elif kind is RecordKind.SPACE:
        inside = select(IdentityRow.id).where(IdentityRow.space_id.in_(ids))
        unassigned = _own_jobs(SampleRow).where(SampleRow.space_id.in_(ids), SampleRow.identity_id.is_(None))
        voices = select(PendingVoiceRow.client_id, PendingVoiceRow.job_id).where(PendingVoiceRow.space_id.in_(ids))
        found = [noted.where(NotedJobRow.identity_id.in_(inside)), unassigned, voices]
    else:
        table = _TABLES[kind]
        found = [_own_jobs(table).where(table.id.in_(ids))]
    return [(client, job) for rows in found for client, job in session.execute(rows) if job]


def _own_jobs(table: Any) -> Select[Any]:
    return select(SpaceRow.client_id, table.job_id).join(SpaceRow, SpaceRow.id == table.space_id)


def _grown_from(session: Session, sample_id: str) -> Sequence[str]:
    rows = select(EnrolmentRow.id).join(PartRow, PartRow.enrolment_id == EnrolmentRow.id)
    return session.scalars(rows.where(PartRow.sample_id == sample_id, EnrolmentRow.kind == EnrolmentKind.GROWING)).all()


def _removal(session: Session, kind: RecordKind, ids: Sequence[str]) -> Removal:
    """Count what goes with records, and name the samples among it whose recordings are kept, or may be by now."""
    inside = {RecordKind.SPACE: "space_id", RecordKind.IDENTITY: "identity_id"}.get(kind)
    found = {kind: len(ids)}
    for below in (RecordKind.IDENTITY, RecordKind.SAMPLE, RecordKind.ENROLMENT, RecordKind.VERIFICATION):
        column = getattr(_TABLES[below], inside, None) if inside else None
        if column is not None and below is not kind:
            found[below] = session.scalar(select(func.count()).where(column.in_(ids))) or 0
    mine = getattr(SampleRow, inside or "id").in_(ids)
    pending = SampleRow.state == SampleState.PENDING
    kept = select(SampleRow.id).where(mine, SampleRow.kept_until_us.is_not(None) | pending)
    return Removal(
        id=ids[0],
        deleted_at=datetime.now(UTC),
        counts=found,
        recordings=session.scalars(kept).all(),
        jobs=_jobs_about(session, kind, ids),
    )


def _sum(record_id: str, removals: Sequence[Removal]) -> Removal:
    counts: Counter[RecordKind] = Counter()
    for removal in removals:
        counts.update(removal.counts)
    return Removal(
        id=record_id,
        deleted_at=removals[-1].deleted_at,
        counts=counts,
        recordings=[sample_id for removal in removals for sample_id in removal.recordings],
        jobs=list(dict.fromkeys(job for removal in removals for job in removal.jobs)),
    )


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=to_time(row.at_us),
        client_id=row.client_id,
        key_id=row.key_id,
        request_id=row.request_id,
        action=Action(row.action),
        kind=RecordKind(row.kind),
        record_id=row.record_id,
    )
