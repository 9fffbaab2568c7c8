"""Records of identities in SQL: sealing, forms of what is sealed, pages, and the entries of audit log and usage.

Each record has a key of its own in `record_keys`, which goes with it. So what is left of a deleted record in a backup
or a log of the database cannot be read.
"""

import json
import os
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Engine, Select, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.adapters.sealing import KEY_BYTES, Sealer, Tagger, seal_under, unseal_under
from shared.adapters.sql.record_tables import AuditRow, IdentityRow, KeyRow, NotedJobRow, SpaceRow, UsageRow
from shared.domain.audio import Channels
from shared.domain.errors import HandleTaken, NotFound
from shared.domain.fingerprints import MAGIC, Fingerprint
from shared.domain.identities import (
    Action,
    Actor,
    Consent,
    Failure,
    Heard,
    Name,
    Order,
    RecordCursor,
    RecordKind,
    RecordPage,
    RecordQuery,
    Replay,
    ReplayKind,
    Trace,
    Use,
    Verified,
)
from shared.domain.quality import Quality
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint

Item = TypeVar("Item")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_BYTES = 32
#: Stands before several traces, in place of the digest and magic with which a single one begins.
_SEVERAL = b"several".ljust(_DIGEST_BYTES + len(MAGIC))
_LENGTH = struct.Struct("<I")
#: Parts of a quality that are stored elsewhere, or are the same for all recordings of identities.
_LEFT_OUT = ("capture", "alike_from")
#: Most records of a space whose names are looked through for a word.
_MOST_SEARCHED = 100_000
#: Column of `record_keys` that refers to the record of each kind.
_REFERENCES = {
    RecordKind.IDENTITY: "identity_id",
    RecordKind.SAMPLE: "sample_id",
    RecordKind.ENROLMENT: "enrolment_id",
    RecordKind.VERIFICATION: "verification_id",
}


def to_us(at: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def to_time(us: int) -> datetime:
    """Return the time at so many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


def time_or_none(us: int | None) -> datetime | None:
    """Return a time that may not be."""
    return None if us is None else to_time(us)


def us_or_none(at: datetime | None) -> int | None:
    """Return a time that may not be, as microseconds since 1970."""
    return None if at is None else to_us(at)


def now_us() -> int:
    """Return the time as microseconds since 1970."""
    return to_us(datetime.now(UTC))


class Keys:
    """Keys of records, each sealed under the server's and kept apart from what it seals."""

    def __init__(self, secret: bytes) -> None:
        self._sealer = Sealer(secret, "record keys")
        self._sounds = Tagger(secret, "sounds")

    def sound(self, space_id: str, digest: bytes) -> bytes:
        """Return the keyed hash of a trace's digest, which is another one in each space."""
        return self._sounds.tag(digest, space_id)

    def make(self, session: Session, kind: RecordKind, record_id: str) -> "RecordKey":
        """Make the key of a record whose row is there already."""
        key = os.urandom(KEY_BYTES)
        session.flush()
        session.add(KeyRow(id=record_id, sealed=self._sealer.seal(key, record_id), **{_REFERENCES[kind]: record_id}))
        return RecordKey(key, record_id)

    def find(self, session: Session, record_ids: Iterable[str]) -> dict[str, "RecordKey"]:
        """Return the keys of records by their ids."""
        rows = session.execute(select(KeyRow.id, KeyRow.sealed).where(KeyRow.id.in_(list(record_ids))))
        return {record_id: self.unsealed(record_id, sealed) for record_id, sealed in rows}

    def of(self, session: Session, record_id: str) -> "RecordKey":
        """Return the key of one record."""
        return self.find(session, [record_id])[record_id]

    def unsealed(self, record_id: str, sealed: bytes) -> "RecordKey":
        """Return a record's key as its row holds it."""
        return RecordKey(self._sealer.unseal(sealed, record_id), record_id)

    def names(self, session: Session, rows: Iterable[IdentityRow]) -> dict[str, Name]:
        """Return the names of identities by their ids."""
        found = list(rows)
        keys = self.find(session, [row.id for row in found])
        return {row.id: keys[row.id].name(row) for row in found}


class RecordKey:
    """Key of one record; seals its columns."""

    def __init__(self, key: bytes, record_id: str) -> None:
        self.key = key
        self._id = record_id

    def name(self, row: Any) -> Name:
        """Return the names in a record's row."""
        return Name(id=row.id, handle=row.handle, alias=self.text(row.sealed)["alias"])

    def seal(self, plain: bytes, column: str) -> bytes:
        """Return `plain` sealed, for one column of the record."""
        return seal_under(self.key, plain, f"{self._id}/{column}")

    def unseal(self, sealed: bytes, column: str) -> bytes:
        """Return what was sealed for a column; raises SealBroken."""
        return unseal_under(self.key, sealed, f"{self._id}/{column}")

    def seal_text(self, values: dict[str, Any]) -> bytes:
        """Return JSON values sealed, for the column `sealed`."""
        return self.seal(json.dumps(values).encode(), "sealed")

    def text(self, sealed: bytes) -> dict[str, Any]:
        """Return the JSON values of the column `sealed`."""
        return dict(json.loads(self.unseal(sealed, "sealed")))


def heard_to_bytes(heard: Heard) -> bytes:
    """Return the stored form of what was heard."""
    return json.dumps(_heard_values(heard)).encode()


def heard_from_bytes(raw: bytes) -> Heard:
    """Read the stored form of what was heard."""
    return _heard(json.loads(raw))


def _heard_values(heard: Heard) -> dict[str, Any]:
    quality = asdict(heard.quality) if heard.quality else None
    return {
        "voiceprint": heard.voiceprint.encode(),
        "quality": quality and {name: value for name, value in quality.items() if name not in _LEFT_OUT},
        "audio_s": heard.audio_s,
        "speech_s": heard.speech_s,
        "sample_rate_hz": heard.sample_rate_hz,
        "dominant_speaker": heard.dominant_speaker,
        "channels": heard.channels and asdict(heard.channels),
        "warning": heard.warning,
    }


def _heard(values: dict[str, Any]) -> Heard:
    voiceprint = Voiceprint.decode(values["voiceprint"])
    found = values["quality"]
    quality = Quality(**_known(Quality, found) | {"capture": voiceprint.capture}) if found else None
    given = values["channels"]
    channels = Channels(number=given["number"], used=tuple(given["used"])) if given else None
    return Heard(**_known(Heard, values) | {"voiceprint": voiceprint, "quality": quality, "channels": channels})


def _known(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the fields that a class has; a newer release may have written others too."""
    return {one.name: values[one.name] for one in fields(kind) if one.name in values}


def trace_to_bytes(trace: Trace) -> bytes:
    """Return the stored form of a trace."""
    return trace.digest + trace.fingerprint.to_bytes()


def trace_from_bytes(raw: bytes) -> Trace:
    """Read the stored form of a trace."""
    return Trace(digest=raw[:_DIGEST_BYTES], fingerprint=Fingerprint.from_bytes(raw[_DIGEST_BYTES:]))


def traces_to_bytes(traces: Sequence[Trace]) -> bytes:
    """Return the stored form of a verification's traces.

    A single one has its own form, which release 0.1 reads too.
    """
    raw = [trace_to_bytes(one) for one in traces]
    return raw[0] if len(raw) == 1 else _SEVERAL + b"".join(_LENGTH.pack(len(one)) + one for one in raw)


def traces_from_bytes(raw: bytes) -> list[Trace]:
    """Read the stored form of one trace or several."""
    if not raw.startswith(_SEVERAL):
        return [trace_from_bytes(raw)]
    found = []
    start = len(_SEVERAL)
    while start < len(raw):
        end = start + _LENGTH.size + _LENGTH.unpack_from(raw, start)[0]
        found.append(trace_from_bytes(raw[start + _LENGTH.size : end]))
        start = end
    return found


def verified_to_bytes(verified: Verified) -> bytes:
    """Return the stored form of a verification's result."""
    replay = verified.replay
    values = {
        "score": verified.comparison.score,
        "llr": verified.comparison.llr,
        "operating_point": verified.operating_point,
        "heard": _heard_values(verified.heard),
        "replay": replay and {**asdict(replay), "heard_at": to_us(replay.heard_at)},
        "added_sample": verified.added_sample,
        "least_llr": verified.least_llr,
        "unheard": {number: asdict(failure) for number, failure in verified.unheard.items()},
    }
    return json.dumps(values).encode()


def verified_from_bytes(raw: bytes) -> Verified:
    """Read the stored form of a verification's result."""
    values = json.loads(raw)
    return Verified(
        comparison=Comparison(score=values["score"], llr=values["llr"]),
        operating_point=OperatingPoint(values["operating_point"]),
        heard=_heard(values["heard"]),
        replay=_replay(values["replay"]) if values["replay"] else None,
        added_sample=values["added_sample"],
        # Release 0.1 knew neither.
        least_llr=values.get("least_llr"),
        unheard={
            int(number): Failure(**_known(Failure, failure)) for number, failure in values.get("unheard", {}).items()
        },
    )


def _replay(values: dict[str, Any]) -> Replay:
    return Replay(
        kind=ReplayKind(values["kind"]),
        of=RecordKind(values["of"]),
        id=values["id"],
        heard_at=to_time(values["heard_at"]),
    )


def failure_of(row: Any) -> Failure | None:
    """Return the failure in a row's columns."""
    return Failure(code=row.failure_code, message=row.failure_message or "") if row.failure_code else None


def failure_values(failure: Failure | None) -> dict[str, str | None]:
    """Return a failure as values of a row's columns, both None for no failure."""
    return {"failure_code": failure.code if failure else None, "failure_message": failure.message if failure else None}


def note_failure(row: Any, failure: Failure | None) -> None:
    """Store a failure in a row's columns, or that there is none."""
    for column, value in failure_values(failure).items():
        setattr(row, column, value)


def note(session: Session, by: Actor, action: Action, kind: RecordKind, record_id: str) -> None:
    """Add an entry to the audit log."""
    session.add(
        AuditRow(
            id=str(uuid.uuid4()),
            at_us=now_us(),
            client_id=by.client_id,
            key_id=by.key_id,
            request_id=by.request_id,
            action=action,
            kind=kind,
            record_id=record_id,
        )
    )


def insert_identity(
    session: Session,
    keys: Keys,
    by: Actor,
    row: IdentityRow,
    alias: str | None = None,
    consent: Consent | None = None,
) -> None:
    """Add an identity, with a key of its own, and an entry to the audit log."""
    session.add(row)
    row.sealed = seal_identity(keys.make(session, RecordKind.IDENTITY, row.id), alias, consent)
    note(session, by, Action.CREATE, RecordKind.IDENTITY, row.id)


def seal_identity(key: RecordKey, alias: str | None, consent: Consent | None) -> bytes:
    """Return the sealed form of an identity's name and consent."""
    found = asdict(consent) | {"given_at": to_us(consent.given_at)} if consent else None
    return key.seal_text({"alias": alias, "consent": found})


def count_use(session: Session, use: Use, use_id: str | None = None) -> None:
    """Add a usage record."""
    session.add(
        UsageRow(
            id=use_id or str(uuid.uuid4()),
            kind=use.kind,
            model_id=use.model_id,
            space_id=use.space_id or "",
            subject_id=use.subject_id,
            seconds=use.seconds,
            client_id=use.actor.client_id,
            key_id=use.actor.key_id,
            at_us=now_us(),
        )
    )


@contextmanager
def taken(kind: RecordKind, handle: str) -> Iterator[None]:
    """Raise HandleTaken for a unique handle that is taken."""
    try:
        yield
    except IntegrityError:
        raise HandleTaken.of(kind, handle) from None


def inside(table: Any, space_id: str, query: RecordQuery) -> Select[Any]:
    """Return the selection of a space's records, of an identity where the query names one."""
    rows = select(table)
    if query.identity_id is None and query.enrolment_id is None:
        return rows.where(table.space_id == space_id)
    # SQLite would look through the whole space in place of the few; an expression has no index.
    rows = rows.where(table.space_id.concat("") == space_id)
    return rows if query.identity_id is None else rows.where(table.identity_id == query.identity_id)


def named(table: Any, space_id: str, reference: str) -> Select[Any]:
    """Return the selection of the record of a space with that id or handle; an id comes first."""
    mine = (table.space_id == space_id) & or_(table.id == reference, table.handle == reference)
    return select(table).where(mine).order_by(table.id != reference)


def rename(engine: Engine, keys: Keys, by: Actor, kind: RecordKind, table: Any, record: Any) -> bool:
    """Store handle and alias of a record; False when it is gone; raises HandleTaken."""
    with taken(kind, record.handle), Session(engine) as session, session.begin():
        row = locked(session, table, record.id)
        if row is None:
            return False
        key = keys.of(session, row.id)
        row.handle = record.handle
        row.sealed = key.seal_text(key.text(row.sealed) | {"alias": record.alias})
        note(session, by, Action.CHANGE, kind, row.id)
    return True


def lock_space(session: Session, space_id: str) -> SpaceRow | None:
    """Return the row of a space, locked until the transaction ends; None when it is gone.

    Each transaction that changes several rows of a space locks it first. So no two of them wait for each other.
    """
    return session.scalar(select(SpaceRow).where(SpaceRow.id == space_id).with_for_update(key_share=True))


def locked(session: Session, table: Any, record_id: str) -> Any:
    """Return the row of a record, its space locked; None when it is gone."""
    space_id = session.scalar(select(table.space_id).where(table.id == record_id))
    if space_id is None or lock_space(session, space_id) is None:
        return None
    return session.get(table, record_id)


def require_space(session: Session, space_id: str) -> None:
    """Lock a space; raises NotFound."""
    if lock_space(session, space_id) is None:
        raise NotFound.of(RecordKind.SPACE)


def require_row(session: Session, table: Any, record_id: str, kind: RecordKind, space_id: str) -> Any:
    """Return the row of a record in a locked space; raises NotFound."""
    row = session.get(table, record_id)
    if row is None or row.space_id != space_id:
        raise NotFound.of(kind)
    return row


def add_job(session: Session, job_id: str, client_id: str, identity_id: str) -> None:
    """Note that a job is about an identity."""
    session.merge(NotedJobRow(job_id=job_id, identity_id=identity_id, client_id=client_id, noted_us=now_us()))


def touch(session: Session, space_id: str) -> None:
    """Note that voiceprints of a space changed."""
    session.execute(update(SpaceRow).where(SpaceRow.id == space_id).values(gallery=SpaceRow.gallery + 1))


def counts(session: Session, column: InstrumentedAttribute[Any], ids: Sequence[str]) -> dict[str, int]:
    """Return how many rows refer to each of some records by a column; records without any are left out."""
    found = session.execute(select(column, func.count()).where(column.in_(ids)).group_by(column))
    return dict(found.all())


def page(
    session: Session,
    rows: Select[Any],
    table: Any,
    query: RecordQuery,
    show: Callable[[Sequence[Any]], Sequence[Item]],
    keys: Keys | None = None,
    age: str = "created_us",
) -> RecordPage[Item]:
    """Return a page of `rows`, which select from `table`, as `show` makes values of them.

    Parameters
    ----------
    keys : unseal the names that are searched; None where they are not sealed.
    age : column of the time by which the list is ordered.
    """
    at = getattr(table, age)
    rows = rows.where(*_between(at, query))
    if query.search is not None:
        return _found_page(session, rows.order_by(*_order(table, at, query)), table, query, show, keys)
    total = session.scalar(select(func.count()).select_from(rows.subquery())) or 0
    if query.cursor is not None:
        place = query.cursor
        rows = rows.where(or_(at < place.created_us, (at == place.created_us) & (table.id < place.id)))
    rows = rows.order_by(*_order(table, at, query)).offset(query.skip).limit(query.take + 1)
    found = session.scalars(rows).all()
    shown = found[: query.take]
    more = query.order is Order.NEWEST and len(found) > len(shown) > 0
    return RecordPage(show(shown), RecordCursor(getattr(shown[-1], age), shown[-1].id) if more else None, total)


def _found_page(
    session: Session,
    rows: Select[Any],
    table: Any,
    query: RecordQuery,
    show: Callable[[Sequence[Any]], Sequence[Item]],
    keys: Keys | None,
) -> RecordPage[Item]:
    """Return a page of the rows that have a word in handle or name.

    Names are sealed, so each is looked at.
    """
    word = (query.search or "").casefold()
    fit = [record_id for record_id, names in _names(session, rows, table, keys) if word in names.casefold()]
    ids = fit[query.skip : query.skip + query.take]
    there = {row.id: row for row in session.scalars(select(table).where(table.id.in_(ids)))}
    return RecordPage(show([there[record_id] for record_id in ids]), None, len(fit))


def _names(session: Session, rows: Select[Any], table: Any, keys: Keys | None) -> Iterator[tuple[str, str]]:
    """Give id and names of each of `rows`, a name a line."""
    if keys is None:
        for record_id, handle, alias in session.execute(rows.with_only_columns(table.id, table.handle, table.alias)):
            yield record_id, f"{handle}\n{alias or ''}"
        return
    found = rows.join(KeyRow, KeyRow.id == table.id).limit(_MOST_SEARCHED)
    for record_id, handle, sealed, wrapped in session.execute(
        found.with_only_columns(table.id, table.handle, table.sealed, KeyRow.sealed)
    ):
        yield record_id, f"{handle}\n{keys.unsealed(record_id, wrapped).text(sealed)['alias'] or ''}"


def _between(at: InstrumentedAttribute[int], query: RecordQuery) -> list[ColumnElement[bool]]:
    found = []
    if query.after is not None:
        found.append(at >= to_us(query.after))
    if query.before is not None:
        found.append(at <= to_us(query.before))
    return found


def _order(table: Any, at: InstrumentedAttribute[int], query: RecordQuery) -> list[Any]:
    if query.order is Order.HANDLE:
        return [table.handle, table.id]
    if query.order is Order.OLDEST:
        return [at, table.id]
    if query.order is Order.COMPUTED:
        return [func.coalesce(table.computed_us, 0).desc(), table.id.desc()]
    return [at.desc(), table.id.desc()]
