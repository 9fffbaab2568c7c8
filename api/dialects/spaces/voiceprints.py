"""Voiceprints of identities: made, given audios, and computed once."""

from dataclasses import replace
from typing import Any

from flask import Response, g

from api.dialects.spaces.audios import audio_of, list_audios_of
from api.dialects.spaces.context import (
    SPACE,
    answer,
    body_of,
    reference,
    route,
    space_of,
    submission,
    wait,
)
from api.dialects.spaces.lists import BY_ANY, listed
from api.dialects.spaces.requests import Naming, NewVoiceprint
from api.errors import InvalidRequest
from api.services import services
from api.spaces import actor
from shared.dialects.spaces import FAMILIES, VoiceprintBody, family, is_voiceless, sample_requirements, too_long
from shared.domain.commands import ComputeEnrolment
from shared.domain.errors import SampleUnfit, WrongState
from shared.domain.identities import (
    Enrolment,
    EnrolmentKind,
    EnrolmentState,
    NewEnrolment,
    RecordKind,
    RecordQuery,
    Sample,
    Space,
    new_id,
)
from shared.identity_service import existing

VOICEPRINT = f"{SPACE}/voiceprints/<identity>/<voiceprint>"
#: Seconds that a request to compute waits for it.
_COMPUTE_S = 10.0

_voiceprint = VoiceprintBody()


def voiceprint_of(space: Space, identity: str, voiceprint: str) -> Enrolment:
    """Return a voiceprint of an identity; raises NotFound."""
    whose = services().identities.identity(space, reference(identity))
    return services().enrolments.enrolment(whose, reference(voiceprint))


def list_voiceprints_of(space: Space, **filters: Any) -> Response:
    """Return a page of a space's voiceprints."""
    return listed(_voiceprint, lambda query: services().enrolments.list_enrolments(space, query), BY_ANY, **filters)


@route("GET", f"{SPACE}/voiceprints")
def list_voiceprints(owner: str, space: str) -> Any:
    """List voiceprints."""
    return list_voiceprints_of(space_of(owner, space))


@route("POST", f"{SPACE}/voiceprints")
def create_voiceprint(owner: str, space: str) -> Any:
    """Make a voiceprint of an identity, of no audios yet."""
    found = space_of(owner, space)
    given = body_of(NewVoiceprint)
    new = NewEnrolment(
        identity_id=services().identities.identity(found, reference(given["identity"])).id,
        handle=given.get("handle", new_id()),
        alias=given.get("alias"),
        kind=EnrolmentKind.ONCE,
        model=_known(given["model"]),
        min_samples=given["minAudios"],
    )
    return answer(_voiceprint, services().enrolments.add_enrolment(actor(), found, new), 201)


def _known(model: str) -> str:
    """Return a model's name; raises InvalidRequest unless it is the vendor's or that of the installed one."""
    installed = {name for one in services().models.recent() if one.default for name in (one.handle, one.model_id)}
    if family(model) is None and model not in installed:
        names = ", ".join([*FAMILIES, *sorted(installed)])
        raise InvalidRequest(("model", f"There is no such model here; take one of: {names}."))
    return model


@route("GET", VOICEPRINT)
def get_voiceprint(owner: str, space: str, identity: str, voiceprint: str) -> Any:
    """Get a voiceprint."""
    return answer(_voiceprint, voiceprint_of(space_of(owner, space), identity, voiceprint))


@route("PATCH", VOICEPRINT)
def change_voiceprint(owner: str, space: str, identity: str, voiceprint: str) -> Any:
    """Change handle or alias of a voiceprint."""
    changed = replace(voiceprint_of(space_of(owner, space), identity, voiceprint), **body_of(Naming))
    kept = services().enrolments.store.rename_enrolment(actor(), changed)
    return answer(_voiceprint, existing(changed if kept else None, RecordKind.ENROLMENT))


@route("DELETE", VOICEPRINT)
def delete_voiceprint(owner: str, space: str, identity: str, voiceprint: str) -> Any:
    """Remove a voiceprint."""
    found = voiceprint_of(space_of(owner, space), identity, voiceprint)
    services().identities.delete_record(actor(), RecordKind.ENROLMENT, found.id)
    return "", 204


@route("GET", f"{VOICEPRINT}/audios")
def list_voiceprint_audios(owner: str, space: str, identity: str, voiceprint: str) -> Any:
    """List the audios of a voiceprint."""
    found = space_of(owner, space)
    return list_audios_of(found, enrolment_id=voiceprint_of(found, identity, voiceprint).id)


@route("POST", f"{VOICEPRINT}/audios/<audio>")
def add_audio(owner: str, space: str, identity: str, voiceprint: str, audio: str) -> Any:
    """Add an audio to a voiceprint, if it meets the model's requirements; twice is once."""
    found = space_of(owner, space)
    enrolment = voiceprint_of(found, identity, voiceprint)
    sample = audio_of(found, audio)
    if is_voiceless(sample) and sample.failure is not None:
        least_s = sample_requirements(enrolment).min_speech_s
        raise SampleUnfit(
            f"Audio {sample.handle} cannot be added: {sample.failure.message} This voiceprint needs {least_s:g} s of "
            "speech in each audio."
        )
    if (excess := too_long(enrolment, sample)) and not _has(found, enrolment, sample):
        raise SampleUnfit(excess)
    requirements = sample_requirements(enrolment)
    return answer(_voiceprint, services().enrolments.add_part(actor(), found, enrolment, sample, requirements))


def _has(space: Space, enrolment: Enrolment, sample: Sample) -> bool:
    query = RecordQuery(take=100, enrolment_id=enrolment.id)
    return any(one.id == sample.id for one in services().enrolments.list_samples(space, query).items)


@route("DELETE", f"{VOICEPRINT}/audios/<audio>")
def remove_audio(owner: str, space: str, identity: str, voiceprint: str, audio: str) -> Any:
    """Remove an audio from a voiceprint."""
    found = space_of(owner, space)
    enrolment = voiceprint_of(found, identity, voiceprint)
    return answer(_voiceprint, services().enrolments.remove_part(actor(), enrolment, audio_of(found, audio)))


@route("POST", f"{VOICEPRINT}:compute")
def compute_voiceprint(owner: str, space: str, identity: str, voiceprint: str) -> Any:
    """Compute a voiceprint from its audios, once; the answer comes when it is done, or after a while."""
    found = space_of(owner, space)
    enrolment = voiceprint_of(found, identity, voiceprint)
    command = ComputeEnrolment(enrolment=enrolment.id)
    _, job = services().enrolments.compute(actor(), enrolment, submission(command, g.client.weight))
    wait(job.id, _COMPUTE_S)
    computed = voiceprint_of(found, identity, enrolment.id)
    if computed.state is EnrolmentState.OPEN and computed.failure is not None:
        raise WrongState(f"Voiceprint {enrolment.handle} could not be computed: {computed.failure.message}")
    return answer(_voiceprint, computed)
