"""Verifications of a space: is an audio of the identity of a voiceprint."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import g

from api.dialects.spaces.audios import audio_of
from api.dialects.spaces.context import SPACE, answer, body_of, reference, route, space_of, submission, wait
from api.dialects.spaces.lists import BY_AGE_OR_HANDLE, listed
from api.dialects.spaces.requests import Naming, NewAuthenticity, NewVerification
from api.services import services
from api.spaces import actor
from shared.dialects.spaces import AuthenticityBody, VerificationBody, audio_state
from shared.domain import identities
from shared.domain.commands import VerifyIdentity
from shared.domain.errors import NotEnrolled, WrongState
from shared.domain.identities import Enrolment, RecordKind, Sample, Space, Verification
from shared.domain.jobs import new_job_id
from shared.identity_service import existing

VERIFICATIONS = f"{SPACE}/verifications/identity"
VERIFICATION = f"{VERIFICATIONS}/<verification>"
AUTHENTICITY = f"{SPACE}/verifications/authenticity"
#: Seconds that a request to verify waits for the result.
_VERIFY_S = 10.0

_verification = VerificationBody()
_authenticity = AuthenticityBody()


def verification_of(space: Space, handle: str) -> Verification:
    """Return a verification of a space; raises NotFound."""
    return services().verifications.verification(space, reference(handle))


@route("POST", VERIFICATIONS)
def verify_identity(owner: str, space: str) -> Any:
    """Verify an audio against a voiceprint; the answer comes with the result, or after a while without."""
    found = space_of(owner, space)
    given = body_of(NewVerification)
    sample = _available(audio_of(found, given["audio"]))
    enrolment = _computed(found, given["identity"], given["voiceprint"])
    new_id = new_job_id()
    new = identities.NewVerification(
        id=new_id,
        enrolment_id=enrolment.id,
        handle=given.get("handle"),
        alias=given.get("alias"),
        sample_id=sample.id,
    )
    command = submission(VerifyIdentity(verification=new_id), g.client.weight)
    services().verifications.verify(actor(), found, enrolment, new, command)
    wait(new_id, _VERIFY_S)
    return answer(_verification, verification_of(found, new_id), 201)


def _computed(space: Space, identity: str, voiceprint: str) -> Enrolment:
    whose = services().identities.identity(space, reference(identity))
    try:
        return services().verifications.comparable(whose, reference(voiceprint))
    except NotEnrolled:
        raise NotEnrolled(f"Voiceprint {voiceprint} is not computed yet; compute it first.") from None


def _available(sample: Sample) -> Sample:
    if audio_state(sample) != "available":
        raise WrongState(f"Audio {sample.handle} has no sound to verify: its state is {audio_state(sample)}.")
    return sample


@route("GET", VERIFICATIONS)
def list_verifications(owner: str, space: str) -> Any:
    """List verifications."""
    found = space_of(owner, space)
    return listed(
        _verification, lambda query: services().verifications.list_verifications(found, query), BY_AGE_OR_HANDLE
    )


@route("GET", VERIFICATION)
def get_verification(owner: str, space: str, verification: str) -> Any:
    """Get a verification."""
    return answer(_verification, verification_of(space_of(owner, space), verification))


@route("PATCH", VERIFICATION)
def change_verification(owner: str, space: str, verification: str) -> Any:
    """Change handle or alias of a verification."""
    changed = replace(verification_of(space_of(owner, space), verification), **body_of(Naming))
    kept = services().verifications.store.rename_verification(actor(), changed)
    return answer(_verification, existing(changed if kept else None, RecordKind.VERIFICATION))


@route("DELETE", VERIFICATION)
def delete_verification(owner: str, space: str, verification: str) -> Any:
    """Remove a verification."""
    found = verification_of(space_of(owner, space), verification)
    services().identities.delete_record(actor(), RecordKind.VERIFICATION, found.id)
    return "", 204


@route("POST", AUTHENTICITY)
def verify_authenticity(owner: str, space: str) -> Any:
    """Answer without scores, and keep nothing: no detector here tells synthetic speech from natural."""
    found = space_of(owner, space)
    given = body_of(NewAuthenticity)
    sample = _available(audio_of(found, given["audio"]))
    new_id = new_job_id()
    now = datetime.now(UTC)
    named = {"id": new_id, "handle": new_id, "alias": None, **given}
    return answer(_authenticity, {**named, "sample": sample, "created_at": now, "performed_at": now}, 201)


@route("GET", AUTHENTICITY)
def list_authenticity(owner: str, space: str) -> Any:
    """List no verifications, since none of authenticity are kept."""
    space_of(owner, space)
    return listed(_authenticity, lambda query: identities.RecordPage([], None, 0), BY_AGE_OR_HANDLE)
