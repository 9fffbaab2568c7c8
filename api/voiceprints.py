"""Jobs that make voiceprints."""

from typing import Any

from api.auth import guarded
from api.orders import place
from api.schemas import JobCreated, Submission, VoiceprintRequest

blueprint = guarded("voiceprint", "Make voiceprints.")


@blueprint.route("/voiceprint", methods=["POST"])
@blueprint.arguments(VoiceprintRequest)
@blueprint.response(200, JobCreated)
def create_voiceprint(submission: Submission) -> dict[str, Any]:
    """Make the voiceprint of a recording's dominant speaker.

    The recording may last 30 s and weigh 100 MiB. Poll the job for the result, or name a webhook. Send an
    Idempotency-Key to be able to repeat the request safely: for 24 h it gives the same job.
    """
    return place(submission)
