"""Usage records, of the caller as organization and as user: they outlive what they refer to."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import g
from marshmallow import Schema

from api.dialects.spaces.context import answer, owner_of, reference, route
from api.dialects.spaces.lists import BY_AGE, listed
from api.services import services
from api.spaces import actor
from shared.dialects.spaces import Owner, VerificationRecordBody, VoiceprintRecordBody
from shared.domain.identities import Enrolment, RecordKind, RecordQuery, UsageRecord, Verification
from shared.identity_service import existing

_SPACES_AT_ONCE = 100
#: Body of the records of each kind.
_BODIES: dict[RecordKind, Schema] = {
    RecordKind.ENROLMENT: VoiceprintRecordBody(),
    RecordKind.VERIFICATION: VerificationRecordBody(),
}
_BY_COMPUTATION = BY_AGE | {"computedAt": BY_AGE["createdAt"], "performedAt": BY_AGE["createdAt"]}


@route("GET", "/orgs/<org>/records/voiceprint")
def list_org_voiceprint_records(org: str) -> Any:
    """List the voiceprints that an organization computed."""
    return _listed(owner_of(org), RecordKind.ENROLMENT)


@route("GET", "/user/records/voiceprint")
def list_user_voiceprint_records() -> Any:
    """List the voiceprints that the caller computed."""
    return _listed(Owner.of(g.client, "user"), RecordKind.ENROLMENT)


@route("GET", "/records/voiceprint/<record>")
def get_voiceprint_record(record: str) -> Any:
    """Get the record of a voiceprint that was computed."""
    return _one(record, RecordKind.ENROLMENT)


@route("GET", "/orgs/<org>/records/verification")
def list_org_verification_records(org: str) -> Any:
    """List the verifications that an organization performed."""
    return _listed(owner_of(org), RecordKind.VERIFICATION)


@route("GET", "/user/records/verification")
def list_user_verification_records() -> Any:
    """List the verifications that the caller performed."""
    return _listed(Owner.of(g.client, "user"), RecordKind.VERIFICATION)


@route("GET", "/records/verification/<record>")
def get_verification_record(record: str) -> Any:
    """Get the record of a verification that was performed."""
    return _one(record, RecordKind.VERIFICATION)


def _listed(owner: Owner, kind: RecordKind) -> Any:
    def find(query: RecordQuery) -> Any:
        return services().verifications.list_usage(actor(), query)

    return listed(_BODIES[kind], find, _BY_COMPUTATION, lambda found: _shown(owner, found), kind=kind)


def _one(record: str, kind: RecordKind) -> Any:
    usage = services().verifications.store.find_usage(g.client.id, reference(record))
    found = existing(usage if usage and usage.kind is kind else None, kind)
    return answer(_BODIES[kind], _shown(Owner.of(g.client), [found])[0])


def _shown(owner: Owner, records: Iterable[UsageRecord]) -> list[dict[str, Any]]:
    """Return records with what they refer to, as far as it is still there."""
    found = list(records)
    spaces = {one.id: one for one in _all_spaces()} if found else {}
    both = {"owner": owner, "actor": owner}
    return [{"usage": one, **both, "space": spaces.get(one.space_id or ""), **_subject(one)} for one in found]


def _all_spaces() -> Iterable[Any]:
    query = RecordQuery(take=_SPACES_AT_ONCE)
    while True:
        page = services().identities.list_spaces(actor(), query)
        yield from page.items
        if page.cursor is None:
            return
        query = RecordQuery(take=_SPACES_AT_ONCE, cursor=page.cursor)


def _subject(usage: UsageRecord) -> dict[str, Any]:
    name, find = _SUBJECTS[usage.kind]
    subject = find(usage.subject_id)
    return {name: subject, "model": (subject and subject.model) or usage.model_id}


_SUBJECTS: dict[RecordKind, tuple[str, Callable[[str], Enrolment | Verification | None]]] = {
    RecordKind.ENROLMENT: ("voiceprint", lambda one: services().enrolments.store.enrolment(one)),
    RecordKind.VERIFICATION: ("verification", lambda one: services().verifications.store.verification(one)),
}
