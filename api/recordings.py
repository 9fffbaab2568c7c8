"""Jobs on recordings: make a voiceprint, tell speakers apart, name them, verify one."""

from typing import Any

from flask import request

from api.auth import guarded
from api.description import gives
from api.orders import place, places_job
from api.outputs import DiarizationOutput, IdentificationOutput, VerificationOutput, VoiceprintOutput
from api.schemas import DiarizeRequest, IdentifyRequest, JobCreated, Submission, VerifyRequest, VoiceprintRequest

blueprint = guarded("recordings", "Make voiceprints, tell speakers apart, name and verify them.")

#: Largest request to identify, in bytes: fifty voiceprints of the greatest length, and what stands round them.
MAX_IDENTIFY_BYTES = 50 * 20_000 + 100_000


@blueprint.before_request
def _leave_room_for_voiceprints() -> None:
    if request.endpoint == f"{blueprint.name}.identify":
        request.max_content_length = MAX_IDENTIFY_BYTES


@blueprint.route("/voiceprint", methods=["POST"])
@blueprint.arguments(VoiceprintRequest)
@blueprint.response(200, JobCreated)
@places_job
@gives(VoiceprintOutput)
def create_voiceprint(submission: Submission) -> dict[str, Any]:
    """Make the voiceprint of a recording's dominant speaker.

    The recording may last 30 s and weigh 100 MiB, unless the service is set up otherwise. Poll the job for the result,
    or name a webhook. Send an Idempotency-Key to be able to repeat the request safely: for 24 h it gives the same job.
    """
    return place(submission)


@blueprint.route("/diarize", methods=["POST"])
@blueprint.arguments(DiarizeRequest)
@blueprint.response(200, JobCreated)
@places_job
@gives(DiarizationOutput)
def diarize(submission: Submission) -> dict[str, Any]:
    """Tell who speaks when.

    The recording may last two hours and weigh 1 GiB, unless the service is set up otherwise.
    """
    return place(submission)


@blueprint.route("/identify", methods=["POST"])
@blueprint.arguments(IdentifyRequest)
@blueprint.response(200, JobCreated)
@places_job
@gives(IdentificationOutput)
def identify(submission: Submission) -> dict[str, Any]:
    """Tell who speaks when, by the names of up to fifty voiceprints."""
    return place(submission)


@blueprint.route("/verify", methods=["POST"])
@blueprint.arguments(VerifyRequest)
@blueprint.response(200, JobCreated)
@places_job
@gives(VerificationOutput)
def verify(submission: Submission) -> dict[str, Any]:
    """Say whether the dominant speaker of a recording is the person of a voiceprint."""
    return place(submission)
