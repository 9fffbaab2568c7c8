"""Jobs on recordings: make a voiceprint, tell speakers apart, name them, verify one."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from flask import g, request
from flask_smorest import Blueprint

from api.auth import guarded
from api.browser_tokens import TokenKind, require_kind
from api.description import gives
from api.errors import InvalidRequest
from api.job_submission import accepted, checked, recalled, submit, submits_job
from api.schemas.recordings import (
    MAX_VOICEPRINTS,
    DiarizeRequest,
    IdentifyRequest,
    JobCreated,
    VerifyRequest,
    VoiceprintRequest,
)
from api.schemas.verifications import VerificationJobCreated
from api.services import services
from api.spaces import actor, find_identity, find_space
from api.verifications import begin
from shared.dialects.pyannoteai.outputs import (
    MAX_VOICEPRINT_LENGTH,
    DiarizationOutput,
    IdentificationOutput,
    VerificationOutput,
    VoiceprintOutput,
)
from shared.domain.commands import Identify
from shared.domain.errors import EnrolAgain, NotEnrolled, NotFound
from shared.domain.jobs import JobSubmission, new_job_id

blueprint = guarded("recordings", "Make voiceprints, tell speakers apart, name and verify them.")

#: Largest request to identify, in bytes: fifty voiceprints of the greatest length, and what stands round them.
MAX_IDENTIFY_BYTES = MAX_VOICEPRINTS * MAX_VOICEPRINT_LENGTH + 100_000


def leave_room_for_voiceprints(views: Blueprint, name: str) -> None:
    """Let requests to a view be large enough for fifty voiceprints."""

    @views.before_request
    def leave_room() -> None:
        if request.endpoint == f"{views.name}.{name}":
            request.max_content_length = MAX_IDENTIFY_BYTES


leave_room_for_voiceprints(blueprint, "identify")


@blueprint.route("/voiceprint", methods=["POST"])
@blueprint.arguments(VoiceprintRequest)
@blueprint.response(200, JobCreated)
@submits_job()
@gives(VoiceprintOutput)
def create_voiceprint(submission: JobSubmission) -> dict[str, Any]:
    """Make the voiceprint of a recording's dominant speaker, of another one, or of who speaks in some segments.

    The recording may last 30 s and weigh 100 MiB, unless the service is set up otherwise. With `segments` it may last
    two hours and weigh 1 GiB. Poll the job for the result, or name a webhook. Send an Idempotency-Key to be able to
    repeat the request safely: for 24 h it gives the same job.
    """
    return submit(submission)


@blueprint.route("/diarize", methods=["POST"])
@blueprint.arguments(DiarizeRequest)
@blueprint.response(200, JobCreated)
@submits_job()
@gives(DiarizationOutput)
def diarize(submission: JobSubmission) -> dict[str, Any]:
    """Tell who speaks when, and what is said if `transcription` asks for it.

    The recording may last two hours and weigh 1 GiB, unless the service is set up otherwise.
    """
    return submit(submission)


@blueprint.route("/identify", methods=["POST"])
@blueprint.arguments(IdentifyRequest)
@blueprint.response(200, JobCreated)
@submits_job(NotFound, NotEnrolled, EnrolAgain)
@gives(IdentificationOutput)
def identify(body: dict[str, Any]) -> dict[str, Any]:
    """Tell who speaks when, by the names of up to fifty voiceprints or identities, or among all of a space."""
    if body["space"] and not body["identities"]:
        require_kind(TokenKind.SEARCH)
    submission = checked(body["submission"])
    if recalled() or not (body["identities"] or body["space"]):
        return accepted(services().jobs.submit(g.client.id, submission), submission)
    people = _people(body)
    job_id = new_job_id()
    services().identities.note_job(actor(), job_id, people.identity_ids)
    assert isinstance(submission.command, Identify)
    command = replace(submission.command, enrolments=people.enrolments, space=people.space_id)
    placed = replace(submission, command=command)
    return accepted(services().jobs.submit(g.client.id, placed, job_id), submission)


@blueprint.route("/verify", methods=["POST"])
@blueprint.arguments(VerifyRequest)
@blueprint.response(200, VerificationJobCreated)
@submits_job(NotFound, NotEnrolled, EnrolAgain)
@gives(VerificationOutput)
def verify(body: dict[str, Any]) -> dict[str, Any]:
    """Say whether the dominant speaker of a recording is the person of a voiceprint, or an identity.

    With `identity` the output is an `IdentityVerificationOutput`, and the verification is kept with the identity.
    """
    if "identity" not in body:
        return submit(body["submission"])
    return begin(*find_identity(body["identity"], body["space"]), body)


@dataclass(frozen=True)
class _People:
    """Identities who may be heard."""

    #: Ids of enrolments by the identities' handles.
    enrolments: dict[str, str]
    identity_ids: list[str]
    #: Id of a space, all of whose identities may be heard.
    space_id: str | None


def _people(body: dict[str, Any]) -> _People:
    """Return the identities that a request to identify names.

    Raises
    ------
    InvalidRequest, NotFound, NotEnrolled, EnrolAgain
    """
    if not body["identities"]:
        return _People({}, [], find_space(body["space"]).id)
    found = [find_identity(reference, body["space"])[1] for reference in body["identities"]]
    _require_labels([identity.handle for identity in found], {one["label"] for one in body.get("voiceprints", [])})
    enrolments = {one.handle: services().verifications.comparable(one).id for one in found}
    return _People(enrolments, [one.id for one in found], None)


def _require_labels(handles: Sequence[str], labels: AbstractSet[str]) -> None:
    """Refuse handles that cannot be the label of one person each; raises InvalidRequest."""
    for i, handle in enumerate(handles):
        if handle in labels or handle in handles[:i]:
            raise InvalidRequest((f"identities.{i}", f"Label {handle!r} comes twice; give each person one."))
        if handle.upper().startswith("SPEAKER_"):
            raise InvalidRequest(
                (f"identities.{i}", "A handle that starts with SPEAKER_ cannot be a label; change it (PATCH).")
            )
