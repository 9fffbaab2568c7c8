"""Jobs on recordings: make a voiceprint, tell speakers apart, name them, verify one."""

from typing import Any

from flask import request

from api.auth import guarded
from api.description import gives
from api.job_submission import submit, submits_job
from api.schemas.recordings import (
    MAX_VOICEPRINTS,
    DiarizeRequest,
    IdentifyRequest,
    JobCreated,
    VerifyRequest,
    VoiceprintRequest,
)
from shared.dialects.pyannoteai.outputs import (
    MAX_VOICEPRINT_LENGTH,
    DiarizationOutput,
    IdentificationOutput,
    VerificationOutput,
    VoiceprintOutput,
)
from shared.domain.jobs import JobSubmission

blueprint = guarded("recordings", "Make voiceprints, tell speakers apart, name and verify them.")

#: Largest request to identify, in bytes: fifty voiceprints of the greatest length, and what stands round them.
MAX_IDENTIFY_BYTES = MAX_VOICEPRINTS * MAX_VOICEPRINT_LENGTH + 100_000


@blueprint.before_request
def _leave_room_for_voiceprints() -> None:
    if request.endpoint == f"{blueprint.name}.identify":
        request.max_content_length = MAX_IDENTIFY_BYTES


@blueprint.route("/voiceprint", methods=["POST"])
@blueprint.arguments(VoiceprintRequest)
@blueprint.response(200, JobCreated)
@submits_job
@gives(VoiceprintOutput)
def create_voiceprint(submission: JobSubmission) -> dict[str, Any]:
    """Make the voiceprint of a recording's dominant speaker.

    The recording may last 30 s and weigh 100 MiB, unless the service is set up otherwise. Poll the job for the result,
    or name a webhook. Send an Idempotency-Key to be able to repeat the request safely: for 24 h it gives the same job.
    """
    return submit(submission)


@blueprint.route("/diarize", methods=["POST"])
@blueprint.arguments(DiarizeRequest)
@blueprint.response(200, JobCreated)
@submits_job
@gives(DiarizationOutput)
def diarize(submission: JobSubmission) -> dict[str, Any]:
    """Tell who speaks when.

    The recording may last two hours and weigh 1 GiB, unless the service is set up otherwise.
    """
    return submit(submission)


@blueprint.route("/identify", methods=["POST"])
@blueprint.arguments(IdentifyRequest)
@blueprint.response(200, JobCreated)
@submits_job
@gives(IdentificationOutput)
def identify(submission: JobSubmission) -> dict[str, Any]:
    """Tell who speaks when, by the names of up to fifty voiceprints."""
    return submit(submission)


@blueprint.route("/verify", methods=["POST"])
@blueprint.arguments(VerifyRequest)
@blueprint.response(200, JobCreated)
@submits_job
@gives(VerificationOutput)
def verify(submission: JobSubmission) -> dict[str, Any]:
    """Say whether the dominant speaker of a recording is the person of a voiceprint."""
    return submit(submission)
