"""Samples and enrolments of identities."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flask import Response, jsonify

from api.auth import guarded
from api.browser_tokens import of_request
from api.description import gives, raises
from api.errors import InvalidRequest, TokenNotAllowed
from api.identities import new_identity
from api.job_submission import accepted, checked, recalled, submits_job, wrong_voiceprints
from api.recordings import leave_room_for_voiceprints
from api.schemas.base import SpacePageQuery, SpaceQuery
from api.schemas.enrolments import (
    ALL,
    EnrolJobCreated,
    Enrolment,
    EnrolmentJobCreated,
    EnrolmentList,
    EnrolmentRequest,
    EnrolRequest,
    ExportedVoiceprint,
    RecomputeRequest,
    Sample,
    SampleJobCreated,
    SampleList,
    SampleRequest,
)
from api.schemas.identities import EnrolmentReceipt, SampleReceipt
from api.services import services
from api.spaces import actor, find_identity, make_space, space_of
from shared.dialects.pyannoteai.outputs import EnrolmentOutput, SampleOutput
from shared.domain import identities
from shared.domain.errors import (
    ConsentRequired,
    EnrolAgain,
    HandleTaken,
    InvalidVoiceprint,
    NotFound,
    SampleUnfit,
    TooFewSamples,
    WrongState,
)
from shared.domain.identities import (
    NewEnrolment,
    NewSample,
    RecordKind,
    RecordPage,
    RecordQuery,
    Removal,
    SampleState,
    is_id,
)
from shared.domain.jobs import Job, JobSubmission
from shared.domain.voiceprints import Voiceprint

blueprint = guarded("enrolments", "Enrol identities: samples of a voice, and the voiceprints that they make.")

#: Most samples of an enrolment of all samples: voices of more add nothing.
_MOST_SAMPLES = 1000
_IDENTITY = "/identities/<reference:identity>"
_SAMPLE = f"{_IDENTITY}/samples/<reference:sample>"
_ENROLMENT = f"{_IDENTITY}/enrolments/<reference:enrolment>"


leave_room_for_voiceprints(blueprint, "create_enrolment")


@blueprint.route("/enrol", methods=["POST"])
@blueprint.arguments(EnrolRequest)
@blueprint.response(200, EnrolJobCreated)
@submits_job(ConsentRequired, WrongState, NotFound)
@gives(SampleOutput)
def enrol(body: dict[str, Any]) -> dict[str, Any]:
    """Enrol a person by a recording, in one call.

    The identity is made if it is new, and so is its growing enrolment `main`. The recording becomes a sample of both.
    Repeat it with further recordings. The job fails with `sample_refused` if a recording does not fit. A browser token
    adds to identities that are there, and neither makes nor changes any.
    """
    if of_request() is not None:
        _require_mere_addition(body)
    submission = checked(body["submission"])
    reference = body["identity"]
    # An id is of an identity that is there, in a space that is there.
    space = space_of(reference, body["space"]) if is_id(reference) else make_space(body["space"])
    repeated = recalled()
    identity, job = services().enrolments.enrol(actor(), space, reference, new_identity(body), submission)
    if not repeated:
        _complete(identity, body)
    return accepted(job, submission) | {"identity_id": identity.id, "sample_id": job.id}


def _require_mere_addition(body: dict[str, Any]) -> None:
    """Refuse to make or change an identity: a time of expiry removes it. Raises TokenNotAllowed, NotFound."""
    for name in ("name", "consent", "expiresAt"):
        if body[name] is not None:
            raise TokenNotAllowed(f"A browser token may not set `{name}`; set it from your server, with an API key.")
    find_identity(body["identity"], body["space"])


def _complete(identity: identities.Identity, body: dict[str, Any]) -> None:
    """Store what a request says of an identity that was there before."""
    changed = replace(
        identity,
        alias=body["name"] or identity.alias,
        expires_at=body["expiresAt"] or identity.expires_at,
    )
    if changed != identity:
        services().identities.change_identity(actor(), changed)


@blueprint.route(f"{_IDENTITY}/samples", methods=["POST"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.arguments(SampleRequest)
@blueprint.response(202, SampleJobCreated)
@submits_job(HandleTaken, ConsentRequired)
@gives(SampleOutput)
def add_sample(query: dict[str, Any], body: dict[str, Any], identity: str) -> dict[str, Any]:
    """Add a recording to an identity, as a sample that enrolments can be made of."""
    space, found = find_identity(identity, query["space"])
    submission = checked(body["submission"])
    new = NewSample(
        id=submission.command.sample,  # type: ignore[attr-defined]
        handle=body["handle"],
        alias=body["name"],
        identity_id=found.id,
    )
    sample, job = services().enrolments.add_sample(actor(), space, new, submission)
    return accepted(job, submission) | {"sample_id": sample.id}


@blueprint.route(f"{_IDENTITY}/samples")
@blueprint.arguments(SpacePageQuery, location="query")
@blueprint.response(200, SampleList)
def list_samples(query: dict[str, Any], identity: str) -> RecordPage[identities.Sample]:
    """List the samples of an identity, newest first, page by page."""
    space, found = find_identity(identity, query["space"])
    which = RecordQuery(take=query["limit"], cursor=query["cursor"], identity_id=found.id)
    return services().enrolments.list_samples(space, which)


@blueprint.route(_SAMPLE)
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, Sample)
def get_sample(query: dict[str, Any], identity: str, sample: str) -> identities.Sample:
    """Get a sample: its state, and what was heard in it."""
    return _sample(query, identity, sample)


@blueprint.route(_SAMPLE, methods=["DELETE"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, SampleReceipt)
def delete_sample(query: dict[str, Any], identity: str, sample: str) -> Removal:
    """Remove a sample; growing enrolments of it are computed without it, at once."""
    found = _sample(query, identity, sample)
    return services().identities.delete_record(actor(), RecordKind.SAMPLE, found.id)


@blueprint.route(f"{_IDENTITY}/enrolments", methods=["POST"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.arguments(EnrolmentRequest)
@blueprint.response(202, EnrolmentJobCreated, description="A job computes it from samples.")
@blueprint.alt_response(201, schema=Enrolment, description="It was computed from voiceprints.")
@submits_job(HandleTaken, ConsentRequired, SampleUnfit, TooFewSamples, WrongState)
@gives(EnrolmentOutput)
def create_enrolment(query: dict[str, Any], body: dict[str, Any], identity: str) -> Any:
    """Make an enrolment: by a job from `samples`, or at once from `voiceprints` that you hold."""
    space, found = find_identity(identity, query["space"])
    submission = checked(body["submission"])
    new = NewEnrolment(
        identity_id=found.id,
        handle=body["handle"],
        alias=body["name"],
        kind=body["kind"],
        adaptive=body["adaptive"],
        model=submission.command.model or "",
    )
    if "voiceprints" in body:
        return _imported(space, new, body["voiceprints"])
    samples = _samples(space, found, body["samples"])
    enrolment, job = services().enrolments.make(actor(), space, found, new, samples, submission)
    return _computing(enrolment, job, submission)


@blueprint.route(f"{_IDENTITY}/enrolments")
@blueprint.arguments(SpacePageQuery, location="query")
@blueprint.response(200, EnrolmentList)
def list_enrolments(query: dict[str, Any], identity: str) -> RecordPage[identities.Enrolment]:
    """List the enrolments of an identity, newest first, page by page."""
    space, found = find_identity(identity, query["space"])
    which = RecordQuery(take=query["limit"], cursor=query["cursor"], identity_id=found.id)
    return services().enrolments.list_enrolments(space, which)


@blueprint.route(_ENROLMENT)
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, Enrolment)
def get_enrolment(query: dict[str, Any], identity: str, enrolment: str) -> identities.Enrolment:
    """Get an enrolment: its state, its model, and how many samples it has."""
    return _enrolment(query, identity, enrolment)


@blueprint.route(_ENROLMENT, methods=["DELETE"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, EnrolmentReceipt)
def delete_enrolment(query: dict[str, Any], identity: str, enrolment: str) -> Removal:
    """Remove an enrolment; its samples stay."""
    found = _enrolment(query, identity, enrolment)
    return services().identities.delete_record(actor(), RecordKind.ENROLMENT, found.id)


@blueprint.route(f"{_ENROLMENT}/voiceprint")
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, ExportedVoiceprint)
@raises(WrongState)
def export_voiceprint(query: dict[str, Any], identity: str, enrolment: str) -> dict[str, Any]:
    """Export the voiceprint of an enrolment, for the person's right of access; the audit log tells of it."""
    found = services().enrolments.export(actor(), _enrolment(query, identity, enrolment))
    return {"voiceprint": found, "model": found.model_id}


@blueprint.route(f"{_ENROLMENT}/recompute", methods=["POST"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.arguments(RecomputeRequest)
@blueprint.response(202, EnrolmentJobCreated)
@submits_job(EnrolAgain, TooFewSamples, WrongState)
@gives(EnrolmentOutput)
def recompute_enrolment(query: dict[str, Any], body: dict[str, Any], identity: str, enrolment: str) -> dict[str, Any]:
    """Compute an enrolment anew from its recordings, under the model that is served now.

    It needs the recordings of all its samples: a space keeps them as its `keepRecordingsSeconds` says.
    """
    space, _ = find_identity(identity, query["space"])
    found = _enrolment(query, identity, enrolment)
    submission = checked(body["submission"])
    computing, job = services().enrolments.recompute(actor(), space, found, submission)
    return _computing(computing, job, submission)


def _computing(enrolment: identities.Enrolment, job: Job, submission: JobSubmission) -> dict[str, Any]:
    return accepted(job, submission) | {"enrolment_id": enrolment.id}


def _sample(query: dict[str, Any], identity: str, reference: str) -> identities.Sample:
    """Return a sample of an identity; raises NotFound, for one of another identity too."""
    space, found = find_identity(identity, query["space"])
    sample = services().enrolments.sample(space, reference)
    if sample.identity is None or sample.identity.id != found.id:
        raise NotFound.of(RecordKind.SAMPLE)
    return sample


def _enrolment(query: dict[str, Any], identity: str, reference: str) -> identities.Enrolment:
    return services().enrolments.enrolment(find_identity(identity, query["space"])[1], reference)


def _samples(
    space: identities.Space, identity: identities.Identity, names: str | Sequence[str]
) -> list[identities.Sample]:
    """Return samples by their names, or all of an identity that were heard.

    Raises
    ------
    NotFound, TooFewSamples
    """
    if names != ALL:
        return [services().enrolments.sample(space, name) for name in names]
    which = RecordQuery(take=_MOST_SAMPLES, identity_id=identity.id)
    found = services().enrolments.list_samples(space, which).items
    ready = [sample for sample in found if sample.state is SampleState.READY]
    if not ready:
        raise TooFewSamples(
            f"Identity {identity.handle} has no sample that was heard; add one: POST /v1/identities/IDENTITY/samples."
        )
    return ready


def _imported(space: identities.Space, new: NewEnrolment, voiceprints: Sequence[Voiceprint]) -> Response:
    """Make a computed enrolment of voiceprints; raises InvalidRequest, HandleTaken, NotFound."""
    wrong = [*wrong_voiceprints((f"voiceprints.{i}", "", one) for i, one in enumerate(voiceprints))]
    if wrong:
        raise InvalidRequest(*wrong)
    try:
        made = services().enrolments.import_voiceprints(actor(), space, new, voiceprints)
    except InvalidVoiceprint as error:
        raise InvalidRequest(("voiceprints", str(error))) from None
    response = jsonify(Enrolment().dump(made))
    response.status_code = 201
    return response
