"""Verifications of identities, and searches among all of a space."""

from dataclasses import replace
from typing import Any

from api.auth import guarded
from api.browser_tokens import TokenKind, token_without
from api.description import gives
from api.job_submission import accepted, checked, recalled, submits_job
from api.schemas.base import SpacePageQuery, SpaceQuery
from api.schemas.identities import VerificationReceipt
from api.schemas.recordings import JobCreated
from api.schemas.verifications import (
    IdentityVerifyRequest,
    SearchRequest,
    Verification,
    VerificationJobCreated,
    VerificationList,
)
from api.services import services
from api.spaces import actor, find_identity, find_space
from shared.dialects.pyannoteai.outputs import IdentityVerificationOutput, SearchOutput
from shared.domain import identities
from shared.domain.commands import Search, VerifyIdentity
from shared.domain.errors import EnrolAgain, NotEnrolled, NotFound, WrongState
from shared.domain.identities import NewVerification, RecordKind, RecordPage, RecordQuery, Removal, SampleState
from shared.domain.verification import OperatingPoint

blueprint = guarded("verifications", "Verify identities, and search for them.")

_IDENTITY = "/identities/<reference:identity>"
_VERIFICATION = f"{_IDENTITY}/verifications/<reference:verification>"


@blueprint.route(f"{_IDENTITY}/verify", methods=["POST"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.arguments(IdentityVerifyRequest)
@blueprint.response(200, VerificationJobCreated)
@submits_job(NotEnrolled, EnrolAgain, WrongState)
@gives(IdentityVerificationOutput)
def verify_identity(query: dict[str, Any], body: dict[str, Any], identity: str) -> dict[str, Any]:
    """Say whether the dominant speaker of a recording, or of a sample, is an identity."""
    space, found = find_identity(identity, query["space"])
    return begin(space, found, body)


def begin(space: identities.Space, identity: identities.Identity, body: dict[str, Any]) -> dict[str, Any]:
    """Make a verification and its job; returns the answer.

    Raises
    ------
    NotFound, NotEnrolled, EnrolAgain, WrongState, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
    """
    submission = checked(body["submission"])
    command = submission.command
    assert isinstance(command, VerifyIdentity)
    # Whose voice is stored, visitors with a token for `enrol` alone may change.
    command = replace(command, keep_enrolment=token_without(TokenKind.ENROL) is not None)
    submission = replace(submission, command=command)
    if job_id := recalled():
        made = services().verifications.verification(space, job_id)
        job = services().jobs.submit(actor().client_id, submission)
    else:
        sample = _ready_sample(space, body["sampleId"]) if "sampleId" in body else None
        enrolment = services().verifications.comparable(identity, body["enrolment"])
        new = NewVerification(
            id=command.verification,
            enrolment_id=enrolment.id,
            sample_id=sample.id if sample else None,
            operating_point=body["operatingPoint"] or OperatingPoint.BALANCED,
        )
        made, job = services().verifications.verify(actor(), space, enrolment, new, submission)
    return accepted(job, submission) | {"identity_id": identity.id, "verification_id": made.id}


@blueprint.route(f"{_IDENTITY}/verifications")
@blueprint.arguments(SpacePageQuery, location="query")
@blueprint.response(200, VerificationList)
def list_verifications(query: dict[str, Any], identity: str) -> RecordPage[identities.Verification]:
    """List the verifications of an identity, newest first, page by page."""
    space, found = find_identity(identity, query["space"])
    which = RecordQuery(take=query["limit"], cursor=query["cursor"], identity_id=found.id)
    return services().verifications.list_verifications(space, which)


@blueprint.route(_VERIFICATION)
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, Verification)
def get_verification(query: dict[str, Any], identity: str, verification: str) -> identities.Verification:
    """Get a verification: its state and its result, also when its job is over and gone."""
    return _verification(query, identity, verification)


@blueprint.route(_VERIFICATION, methods=["DELETE"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, VerificationReceipt)
def delete_verification(query: dict[str, Any], identity: str, verification: str) -> Removal:
    """Remove a verification and its job."""
    found = _verification(query, identity, verification)
    return services().identities.delete_record(actor(), RecordKind.VERIFICATION, found.id)


@blueprint.route("/search", methods=["POST"])
@blueprint.arguments(SearchRequest)
@blueprint.response(200, JobCreated)
@submits_job(NotFound)
@gives(SearchOutput)
def search(body: dict[str, Any]) -> dict[str, Any]:
    """Find out who of a space speaks: candidates with confidences, or nobody.

    Confidences are corrected for the number of people searched. Whoever is below `leastConfidence` is not named.
    """
    space = find_space(body["space"])
    submission = checked(body["submission"])
    assert isinstance(submission.command, Search)
    placed = replace(submission, command=replace(submission.command, space=space.id))
    return accepted(services().verifications.search(actor(), space, placed), submission)


def _ready_sample(space: identities.Space, reference: str) -> identities.Sample:
    """Return a sample that was heard; raises NotFound, WrongState."""
    sample = services().enrolments.sample(space, reference)
    if sample.state is not SampleState.READY:
        said = sample.failure.message if sample.failure else "Wait for its job."
        raise WrongState(f"Sample {sample.handle} is {sample.state}. {said}")
    return sample


def _verification(query: dict[str, Any], identity: str, reference: str) -> identities.Verification:
    """Return a verification of an identity; raises NotFound, for one of another identity too."""
    space, found = find_identity(identity, query["space"])
    verification = services().verifications.verification(space, reference)
    if verification.identity is None or verification.identity.id != found.id:
        raise NotFound.of(RecordKind.VERIFICATION)
    return verification
