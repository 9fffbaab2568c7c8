"""Jobs on recordings: make a voiceprint, tell speakers apart, name them, verify one."""

from typing import Any

from api.auth import guarded
from api.orders import place, places_job
from api.schemas import JobCreated, Submission, VerifyRequest, VoiceprintRequest

blueprint = guarded("recordings", "Make voiceprints, tell speakers apart, name and verify them.")


@blueprint.route("/voiceprint", methods=["POST"])
@blueprint.arguments(VoiceprintRequest)
@blueprint.response(200, JobCreated)
@places_job
def create_voiceprint(submission: Submission) -> dict[str, Any]:
    """Make the voiceprint of a recording's dominant speaker.

    The recording may last 30 s and weigh 100 MiB. Poll the job for the result, or name a webhook. Send an
    Idempotency-Key to be able to repeat the request safely: for 24 h it gives the same job.
    """
    return place(submission)


@blueprint.route("/verify", methods=["POST"])
@blueprint.arguments(VerifyRequest)
@blueprint.response(200, JobCreated)
@places_job
def verify(submission: Submission) -> dict[str, Any]:
    """Say whether the dominant speaker of a recording is the person of a voiceprint."""
    return place(submission)
