"""Audios of a space: recordings that are heard as soon as they arrive."""

from dataclasses import replace
from typing import Any

from flask import Response, g

from api.dialects.spaces.context import SPACE, answer, body_of, reference, route, space_of
from api.dialects.spaces.lists import BY_AGE_OR_HANDLE, listed
from api.dialects.spaces.receiving import hear, receive_audio, receive_file
from api.dialects.spaces.requests import Assignment, Naming
from api.large_bodies import discard
from api.services import services
from api.spaces import actor
from shared.dialects.spaces import AudioBody
from shared.domain.errors import NotFound, RequestError, WrongState
from shared.domain.identities import NewSample, RecordKind, Sample, SampleState, Space, new_id
from shared.domain.jobs import new_job_id
from shared.identity_service import existing

AUDIOS = f"{SPACE}/audios"
AUDIO = f"{AUDIOS}/<audio>"

_audio = AudioBody()


def audio_of(space: Space, handle: str) -> Sample:
    """Return an audio of a space; raises NotFound."""
    return services().enrolments.sample(space, reference(handle))


def list_audios_of(space: Space, **filters: Any) -> Response:
    """Return a page of a space's audios."""
    return listed(_audio, lambda query: services().enrolments.list_samples(space, query), BY_AGE_OR_HANDLE, **filters)


@route("GET", AUDIOS)
def list_audios(owner: str, space: str) -> Any:
    """List audios."""
    return list_audios_of(space_of(owner, space))


@route("POST", AUDIOS)
def create_audio(owner: str, space: str) -> Any:
    """Make an audio, with its file in base64 or without a file; one that is no audio is not made."""
    found = space_of(owner, space)
    job_id = new_job_id()
    fields, has_file = receive_audio(job_id)
    try:
        sample = services().enrolments.await_file(actor(), found, _new(found, fields))
    except Exception:
        discard(services().jobs, g.client.id, job_id)
        raise
    return answer(_audio, _heard_or_gone(found, sample, job_id) if has_file else sample, 201)


def _new(space: Space, fields: dict[str, Any]) -> NewSample:
    identity = fields.get("identity")
    whose = services().identities.identity(space, reference(identity)).id if identity is not None else None
    return NewSample(id=new_id(), handle=fields.get("handle"), alias=fields.get("alias"), identity_id=whose)


def _heard_or_gone(space: Space, sample: Sample, job_id: str) -> Sample:
    try:
        return hear(space, sample, job_id)
    except RequestError:
        services().identities.delete_record(actor(), RecordKind.SAMPLE, sample.id)
        raise


@route("GET", AUDIO)
def get_audio(owner: str, space: str, audio: str) -> Any:
    """Get an audio."""
    return answer(_audio, audio_of(space_of(owner, space), audio))


@route("PATCH", AUDIO)
def change_audio(owner: str, space: str, audio: str) -> Any:
    """Change handle or alias of an audio."""
    changed = replace(audio_of(space_of(owner, space), audio), **body_of(Naming))
    kept = services().enrolments.store.rename_sample(actor(), changed)
    return answer(_audio, existing(changed if kept else None, RecordKind.SAMPLE))


@route("DELETE", AUDIO)
def delete_audio(owner: str, space: str, audio: str) -> Any:
    """Remove an audio, with its file."""
    sample = audio_of(space_of(owner, space), audio)
    services().identities.delete_record(actor(), RecordKind.SAMPLE, sample.id)
    return "", 204


@route("POST", f"{AUDIO}/file")
def upload_audio(owner: str, space: str, audio: str) -> Any:
    """Take the file of an audio that awaits it: the bare body."""
    found = space_of(owner, space)
    sample = audio_of(found, audio)
    if sample.state is not SampleState.AWAITING_FILE:
        raise WrongState(f"Audio {sample.handle} has its file already; make another audio for another file.")
    job_id = new_job_id()
    receive_file(job_id)
    return answer(_audio, hear(found, sample, job_id))


@route("GET", f"{AUDIO}/file")
def get_audio_file(owner: str, space: str, audio: str) -> Any:
    """Get the sound of an audio as wav, as long as the space keeps recordings."""
    sample = audio_of(space_of(owner, space), audio)
    sound = services().identities.recordings.load(g.client.id, sample.id)
    if sound is None:
        raise NotFound("The recording is not kept: it was dropped when it had been heard, or its time is over.")
    return Response(sound, mimetype="audio/wav", headers={"Content-Disposition": "attachment; filename=audio.wav"})


@route("POST", f"{AUDIO}:identify", f"{AUDIO}/identify")
def identify_audio(owner: str, space: str, audio: str) -> Any:
    """Say whose audio it is, once."""
    found = space_of(owner, space)
    sample = audio_of(found, audio)
    identity = services().identities.identity(found, reference(body_of(Assignment)["identity"]))
    services().enrolments.assign(actor(), found, sample, identity)
    return answer(_audio, audio_of(found, sample.id))
