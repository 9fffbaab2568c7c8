"""Receiving of audio: large bodies by way of the disk, few decoded at once, each stored as an upload."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO

from flask import g, request

from api.dialects.spaces.context import read, submission, wait
from api.dialects.spaces.requests import NewAudio
from api.errors import InvalidRequest, RequestTooLarge
from api.media import received_body, require_bare_file
from api.request_gathering import LARGE_BYTES
from api.services import services
from api.spaces import actor
from shared.adapters.scratch import scratch_file
from shared.dialects.spaces import is_voiceless
from shared.domain.commands import AddSample
from shared.domain.errors import JobFailure, NotFound, SampleUnfit, Unavailable, concrete_errors
from shared.domain.identities import Sample, SampleState, Space
from shared.domain.jobs import Job, Status
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl
from shared.job_service import JobService

#: Largest JSON body with an audio in it, in bytes.
MAX_BODY_BYTES = 32 * 1024 * 1024
#: Bodies that a process decodes at once, each in a thread of its own: it takes up to 130 MB there, and what it frees
#: stays with its thread.
_MOST_DECODED = 4
#: Seconds that a body waits for others to be decoded.
_PATIENCE_S = 5.0
_CHUNK_BYTES = 1 << 20
#: Commas in a body. Base64 has none, and a body of nothing but small values takes 30 times its size in memory.
_MOST_COMMAS = 10_000
#: Seconds that an upload waits for a worker to hear it.
_HEAR_S = 25.0
#: Codes of failures that are no fault of the recording.
_RETRYABLE = {error.code for error in concrete_errors(JobFailure) if error.retryable}

#: Fields of an audio to be made, and whether its file came along.
_Received = tuple[dict[str, Any], bool]

_decoders = ThreadPoolExecutor(_MOST_DECODED, thread_name_prefix="decoder")


def receive_audio(job_id: str) -> _Received:
    """Return the fields of a new audio, whose file is stored for a job, and whether there is one.

    Raises
    ------
    InvalidRequest, RequestTooLarge, MediaQuotaExceeded, Unavailable
    """
    with _spooled() as (file, size):
        decode = partial(_decoded, services().jobs, g.client.id, job_id, file)
        return decode() if size < LARGE_BYTES else _by_a_decoder(decode)


def receive_file(job_id: str) -> None:
    """Store the body of the request, a bare file, for a job.

    Raises
    ------
    InvalidRequest, RequestTooLarge, UnsupportedMediaType, MediaQuotaExceeded, Unavailable
    """
    require_bare_file()
    limit = services().settings.max_file_bytes
    services().jobs.save_media(g.client.id, job_upload(job_id), received_body(limit), announced(limit))


def announced(limit: int) -> int:
    """Return the bytes that the request announces; raises RequestTooLarge."""
    length = request.content_length or 0
    if length > limit:
        raise RequestTooLarge(f"The body is larger than {limit} bytes.")
    return length


@contextmanager
def _spooled() -> Iterator[tuple[BinaryIO, int]]:
    """Give the body as a file, and its size: a client that sends slowly would hold memory all the while."""
    announced(MAX_BODY_BYTES)
    with scratch_file(services().settings.data_dir / "scratch") as file:
        for chunk in received_body(MAX_BODY_BYTES):
            file.write(chunk)
        size = file.tell()
        file.seek(0)
        yield file, size


def _by_a_decoder(decode: Callable[[], _Received]) -> _Received:
    """Return what `decode` does in one of few threads; raises Unavailable when none of them is free soon."""
    done = _decoders.submit(decode)
    try:
        return done.result(_PATIENCE_S)
    except TimeoutError:
        if done.cancel():
            raise Unavailable("The service takes many large requests right now; try again in a few seconds.") from None
        return done.result()


def _decoded(jobs: JobService, client_id: str, job_id: str, file: BinaryIO) -> _Received:
    """Read a body, and store the audio in it."""
    fields = _loaded(file)
    content = fields.pop("file", None)
    if content is None:
        return fields, False
    chunks = (content[start : start + _CHUNK_BYTES] for start in range(0, len(content), _CHUNK_BYTES))
    jobs.save_media(client_id, job_upload(job_id), chunks, len(content))
    return fields, True


def _loaded(file: BinaryIO) -> dict[str, Any]:
    """Read a body; base64 is left out of the look for what JSON allows and UTF-8 does not."""
    raw = file.read() or b"{}"
    if raw.count(b",") > _MOST_COMMAS:
        raise InvalidRequest(("body", "The body has too many values; send the fields of one audio."))
    try:
        found = json.loads(raw)
        rest = {name: value for name, value in found.items() if name != "file"} if isinstance(found, dict) else found
        json.dumps(rest, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise InvalidRequest(("body", "The body is not valid JSON in UTF-8.")) from None
    return read(NewAudio, found)


def discard(jobs: JobService, client_id: str, job_id: str) -> None:
    """Remove what was stored for a job that is not made, or has ended."""
    with suppress(NotFound):
        jobs.remove_media(client_id, job_upload(job_id))


def hear(space: Space, sample: Sample, job_id: str) -> Sample:
    """Return a sample once a worker has heard what was stored for a job; after a while, as it stands.

    Raises
    ------
    NotFound, WrongState, TooManyJobs, JobQuotaExceeded
    SampleUnfit
        It is no audio, or another that cannot be heard.
    Unavailable
        It could not be heard for reasons of the service.
    """
    command = AddSample(source=MediaUrl(job_upload(job_id)), sample=sample.id, checked=False)
    jobs = services().jobs
    try:
        services().enrolments.hear(actor(), sample, submission(command, g.client.weight), job_id)
    except Exception:
        discard(jobs, g.client.id, job_id)
        raise
    job = wait(job_id, _HEAR_S)
    if job.status.terminal:
        # The worker does so too, but perhaps not before this answer.
        discard(jobs, g.client.id, job_id)
    heard = services().enrolments.sample(space, sample.id)
    _require_heard(heard, job)
    return heard


def _require_heard(sample: Sample, job: Job) -> None:
    if sample.state is SampleState.READY:
        return
    code, message = (sample.failure.code, sample.failure.message) if sample.failure else _reason(job)
    if message and not is_voiceless(sample):
        raise (Unavailable if code in _RETRYABLE else SampleUnfit)(message)


def _reason(job: Job) -> tuple[str, str]:
    ended_without = job.status in (Status.FAILED, Status.CANCELED)
    return services().jobs.reason(job) if ended_without else ("", "")
