"""Calls that enrol or verify a voice and wait for the job beneath. Only their use is kept."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import structlog
from flask import Blueprint, Response, current_app, g, jsonify, request
from redis.exceptions import RedisError

from api import auth
from api.dialects.enroll.requests import Call, Fields, read_call, read_key, read_ref
from api.errors import RETRY_AFTER, InvalidRequest, Unauthorized
from api.large_bodies import LongString, NotBase64, decoded, decoded_bytes, discard, parsed, spooled
from api.request_gathering import LARGE_BYTES
from api.services import services
from api.spaces import actor
from shared.dialects.enroll import (
    LEAST_AUDIO_S,
    Code,
    Enroll,
    GivenVoice,
    Method,
    Refusal,
    answer,
    code_of,
    from_vector,
)
from shared.domain.commands import Command, CreateVoiceprint, Verify
from shared.domain.errors import InternalError, NotFound, Unavailable
from shared.domain.identities import RecordKind, Use
from shared.domain.jobs import Job, JobSubmission, Status, new_job_id
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl

#: Largest body, in bytes.
MAX_BODY_BYTES = 16 * 1024 * 1024
#: Seconds in which a body must arrive, since its key is known only then.
_ARRIVES_S = 30.0
#: Seconds that a call waits for its job.
_WAIT_S = 25.0
#: Codes of Timbre for refusals that are not the request's fault.
_CAUSES = {Code.TOO_MANY: Unavailable.code, Code.INTERNAL: InternalError.code}
_ASSUMED = (
    "The vector came without its last four numbers: it was taken for one of the model that is served, of 3 s of speech "
    "at 15 dB. Send all of its numbers."
)

blueprint = Blueprint("enroll", __name__, url_prefix="/voice/v1")
blueprint.after_request(auth.tell)

log = structlog.get_logger()


class Arrivals:
    """Large bodies under way, whose clients are not known yet: so many at a time leave threads to other uploads."""

    def __init__(self, most: int) -> None:
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one within the block; raises Unavailable where there are too many."""
        if not self._free.acquire(blocking=False):
            raise Unavailable(
                "The service takes no more large calls right now; try again in a few seconds. Its operator may allow "
                "more (TIMBRE_API_UPLOADS)."
            )
        try:
            yield
        finally:
            self._free.release()


@blueprint.post("/enroll_voice")
def enroll_voice() -> Response:
    """Enrol a voice; with a vector in the body, verify one: the vendor's own page prints this path for both."""
    return _answered(verifies=False)


@blueprint.post("/verify_voice")
def verify_voice() -> Response:
    """Verify that a recording is of the voice of a vector."""
    return _answered(verifies=True)


@blueprint.errorhandler(Refusal)
def _answer_refusal(refusal: Refusal) -> Response:
    g.refused = _CAUSES.get(refusal.code, InvalidRequest.code)
    response = jsonify(answer(refusal.code, str(refusal), {"ref": g.get("ref", "")}))
    if refusal.code in (Code.TOO_MANY, Code.INTERNAL):
        response.headers.update(RETRY_AFTER)
    return response


def _answered(*, verifies: bool) -> Response:
    job_id = new_job_id()
    with _arrived() as fields:
        g.ref = read_ref(fields)
        _admit(read_key(fields))
        call = read_call(fields, verifies=verifies)
        given = None if call.vector is None else _given(call.vector)
        _store(call.audio, job_id)
    found = _outcome(job_id, _command(call, given, MediaUrl(job_upload(job_id))))
    data = _data(call, found)
    _count(job_id, found, RecordKind.VERIFICATION if given else RecordKind.VOICEPRINT)
    return jsonify(answer(Code.OK, "" if given is None or given.whole else _ASSUMED, data))


@contextmanager
def _arrived() -> Iterator[Fields]:
    """Give the fields of the body; from then on an error is told in an answer of status 200."""
    large = request.content_length is None or request.content_length >= LARGE_BYTES
    arrivals: Arrivals = current_app.extensions["timbre.arrivals"]
    with arrivals.one() if large else nullcontext(), spooled(MAX_BODY_BYTES, _ARRIVES_S) as file:
        g.arrived = True
        with parsed(file) as fields:
            yield fields


def _admit(key: str) -> None:
    client = services().clients.authenticate(key)
    if client is None:
        raise Unauthorized("api_key: Send a valid API key.")
    auth.admit(client)
    auth.limit()


def _given(vector: Sequence[float]) -> GivenVoice:
    models = services().models_served()
    if not models:
        raise Unavailable("No worker runs right now; try again in a few seconds.")
    return from_vector(vector, models)


def _store(audio: str | LongString, job_id: str) -> None:
    key = job_upload(job_id)
    try:
        services().jobs.save_media(g.client.id, key, decoded(audio), decoded_bytes(audio))
    except NotBase64 as error:
        raise Refusal(Code.AUDIO, f"audio: Must be a recording in base64; {error}.") from None


def _command(call: Call, given: GivenVoice | None, source: MediaUrl) -> Command:
    if given is None:
        return CreateVoiceprint(source=source, content=call.content)
    return Verify(source=source, voiceprint=given.voiceprint, content=call.content)


def _outcome(job_id: str, command: Command) -> dict[str, Any]:
    """Return the output of a job, whose upload is stored; nothing is left of it afterwards.

    Raises
    ------
    Refusal, Unavailable, TooManyJobs, JobQuotaExceeded
    """
    submission = JobSubmission(command=command, dialect=Enroll.name, weight=g.client.weight)
    try:
        services().jobs.submit(g.client.id, submission, job_id)
        return _output(services().waits.job(g.client.id, job_id, _WAIT_S))
    finally:
        _forget(job_id)


def _output(job: Job) -> dict[str, Any]:
    if job.status is Status.SUCCEEDED:
        output: dict[str, Any] = json.loads(job.output or "{}")
        return output
    if job.status.terminal:
        code, message = services().jobs.reason(job)
        raise Refusal(code_of(code), message)
    raise Unavailable("No worker was free in time; try again in a few seconds.")


def _forget(job_id: str) -> None:
    """Remove a job, ended or not, with result and upload. Where storage is away, they go when their time is over."""
    # The second one is for an upload whose job was not made, or cannot be reached.
    for remove in (services().jobs.delete, partial(discard, services().jobs)):
        try:
            remove(g.client.id, job_id)
        except NotFound:
            continue
        except (RedisError, OSError, Unavailable) as error:
            log.warning("a call's job stays until its time is over", job_id=job_id, error=type(error).__name__)


def _data(call: Call, found: dict[str, Any]) -> dict[str, Any]:
    """Return what the answer tells of an output; raises Refusal for what is too little to tell."""
    if call.method is Method.INDEPENDENT and round(found["seconds"], 1) < LEAST_AUDIO_S:
        raise Refusal(
            Code.TOO_SHORT,
            f"audio: The recording lasts {found['seconds']:.1f} s; {call.method} needs {LEAST_AUDIO_S:g} s.",
        )
    if call.vector is not None and found["confidence"] is None:
        raise Refusal(
            Code.NOT_CALIBRATED, f"{found['model']} is not calibrated, so that its scores tell no confidence."
        )
    told = ("vector",) if call.vector is None else ("score", "confidence", "distance")
    speech = found["speech"] if call.content and call.content.told else ""
    return {"ref": g.ref, **{name: found[name] for name in told}, "speech": speech}


def _count(job_id: str, found: dict[str, Any], kind: RecordKind) -> None:
    """Count the use, which has neither vector nor reference."""
    use = Use(
        kind=kind,
        model_id=found["model"],
        subject_id=job_id,
        space_id=None,
        seconds=found["seconds"],
        actor=actor(),
    )
    services().verifications.store.count(use, job_id)
