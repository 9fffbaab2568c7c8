"""Stores of lasting identities as handlers use them: what is gone was deleted, and a job's failure is its record's."""

from dataclasses import dataclass
from typing import TypeVar

from shared.domain.commands import AddSample, Command, ComputeEnrolment, EnrolVoice, VerifyIdentity
from shared.domain.errors import IdentityDeleted, InternalError, JobFailure, ModelChanged, concrete_errors
from shared.domain.identities import Actor, Failure, RecordKind, Space, Use
from shared.domain.jobs import Claim
from shared.domain.models import ModelCard
from shared.ports import EnrolmentStore, RecordingStore, SpaceStore, VerificationStore

Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class IdentityStores:
    """Stores of spaces, enrolments, verifications and kept recordings."""

    spaces: SpaceStore
    enrolments: EnrolmentStore
    verifications: VerificationStore
    recordings: RecordingStore

    def space(self, space_id: str) -> Space:
        """Return a space by its id; raises IdentityDeleted."""
        return existing(self.spaces.space(space_id))

    def note_failure(self, claim: Claim, command: Command, failure: JobFailure) -> None:
        """Store why a job failed with the record that it is about, unless it is tried again."""
        if failure.passing:
            return
        match command:
            case AddSample(sample=sample_id):
                self.enrolments.fail_sample(sample_id, Failure.of(failure))
            case ComputeEnrolment(enrolment=enrolment_id):
                self.enrolments.fail_enrolment(enrolment_id, claim.job_id, Failure.of(failure))
            case EnrolVoice():
                self.enrolments.call_off_voice(claim.job_id)
            case VerifyIdentity(verification=verification_id):
                self.verifications.fail_verification(verification_id, Failure.of(failure))
            case _:
                pass


def existing(record: Record | None) -> Record:
    """Return a record; raises IdentityDeleted for None."""
    if record is None:
        raise IdentityDeleted
    return record


def require_served(model_id: str, card: ModelCard) -> None:
    """Refuse what another model heard or made than the one that runs; raises ModelChanged."""
    if model_id != card.model_id:
        raise ModelChanged.of(model_id, card.model_id)


def raise_again(failure: Failure | None) -> None:
    """Raise the failure that an earlier attempt of the job stored, if there is one."""
    if failure is not None:
        raise error_of(failure)


def error_of(failure: Failure) -> JobFailure:
    """Return a failure as the error that it came of."""
    kinds = {kind.code: kind for kind in concrete_errors(JobFailure)}
    kind = kinds.get(failure.code, InternalError)
    error = kind.__new__(kind)
    assert isinstance(error, JobFailure)
    JobFailure.__init__(error, failure.message)
    return error


def use_of(claim: Claim, kind: RecordKind, model_id: str, subject_id: str, space_id: str, seconds: float) -> Use:
    """Return the use that a job makes of a model."""
    return Use(
        kind=kind,
        model_id=model_id,
        subject_id=subject_id,
        space_id=space_id,
        seconds=seconds,
        actor=Actor(client_id=claim.client_id),
    )
