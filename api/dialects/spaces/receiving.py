"""Receiving of audio: each file is stored as an upload, and heard at once."""

from typing import Any

from flask import g

from api.dialects.spaces.context import read, submission, wait
from api.dialects.spaces.requests import NewAudio
from api.errors import InvalidRequest
from api.large_bodies import NotBase64, announced, decoded, decoded_bytes, discard, parsed, spooled
from api.media import received_body, require_bare_file
from api.services import services
from api.spaces import actor
from shared.dialects.spaces import is_voiceless
from shared.domain.commands import AddSample
from shared.domain.errors import JobFailure, SampleUnfit, Unavailable, concrete_errors
from shared.domain.identities import Sample, SampleState, Space
from shared.domain.jobs import Job, Status
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl

#: Largest JSON body with an audio in it, in bytes.
MAX_BODY_BYTES = 32 * 1024 * 1024
#: Seconds that an upload waits for a worker to hear it.
_HEAR_S = 25.0
#: Codes of failures that are no fault of the recording.
_RETRYABLE = {error.code for error in concrete_errors(JobFailure) if error.retryable}


def receive_audio(job_id: str) -> tuple[dict[str, Any], bool]:
    """Return the fields of a new audio, whose file is stored for a job, and whether there is one.

    Raises
    ------
    InvalidRequest, RequestTooLarge, RequestTimeout, MediaQuotaExceeded, Unavailable
    """
    with spooled(MAX_BODY_BYTES) as body, parsed(body) as found:
        fields = read(NewAudio, found)
        file = fields.pop("file", None)
        if file is None:
            return fields, False
        try:
            services().jobs.save_media(g.client.id, job_upload(job_id), decoded(file), decoded_bytes(file))
        except NotBase64:
            raise InvalidRequest(("file", "Must be the content of a media file in base64.")) from None
    return fields, True


def receive_file(job_id: str) -> None:
    """Store the body of the request, a bare file, for a job.

    Raises
    ------
    InvalidRequest, RequestTooLarge, UnsupportedMediaType, MediaQuotaExceeded, Unavailable
    """
    require_bare_file()
    limit = services().settings.max_file_bytes
    services().jobs.save_media(g.client.id, job_upload(job_id), received_body(limit), announced(limit))


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
