"""Verification service: verify identities, search spaces, and tell what was used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.domain.errors import EnrolAgain, NotEnrolled
from shared.domain.identities import (
    Action,
    Actor,
    Enrolment,
    Identity,
    NewVerification,
    Order,
    RecordKind,
    RecordPage,
    RecordQuery,
    Space,
    UsageRecord,
    Verification,
)
from shared.domain.jobs import Job, JobSubmission
from shared.enrolment_service import EnrolmentService
from shared.identity_service import existing
from shared.job_service import JobService
from shared.ports import VerificationStore


@dataclass(frozen=True, kw_only=True)
class VerificationService:
    """Verifications and searches, over the ports."""

    store: VerificationStore
    enrolments: EnrolmentService
    jobs: JobService
    #: Ids of the models that workers run, as far as they have said so.
    served_models: Callable[[], Sequence[str]]

    def comparable(self, identity: Identity, reference: str | None = None) -> Enrolment:
        """Return an identity's enrolment to compare with: the one named, or the newest under a model that is served.

        Raises
        ------
        NotFound, NotEnrolled
        EnrolAgain
            No worker runs the model that made it.
        """
        if reference is not None:
            found = [self.enrolments.enrolment(identity, reference)]
        else:
            query = RecordQuery(take=100, identity_id=identity.id, order=Order.COMPUTED)
            found = list(self.enrolments.store.list_enrolments(identity.space_id, query).items)
        computed = [one for one in found if one.voiceprint is not None]
        if not computed:
            raise NotEnrolled(f"Identity {identity.handle} has no computed enrolment; enrol it first: POST /v1/enrol.")
        served = self.served_models()
        usable = [one for one in computed if not served or one.model_id in served]
        if not usable:
            raise EnrolAgain(
                f"Identity {identity.handle} was enrolled under {computed[0].model_id}, which is not served here any "
                "more. Recompute the enrolment where its recordings are kept, or enrol the identity again."
            )
        return max(usable, key=lambda one: (one.computed_at is not None, one.computed_at))

    def verify(
        self, by: Actor, space: Space, enrolment: Enrolment, new: NewVerification, submission: JobSubmission
    ) -> tuple[Verification, Job]:
        """Make a verification and the job, a `VerifyIdentity`, that performs it; both have the same id.

        Raises
        ------
        HandleTaken, NotFound, NotEnrolled, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        if job_id := self.jobs.recall(by.client_id, submission.idempotency_key):
            return self.verification(space, job_id), self.jobs.submit(by.client_id, submission)
        made = self.store.add_verification(by, space.id, new)
        records = self.enrolments.identities.store
        records.note_job(made.id, by.client_id, [enrolment.identity.id])
        job = self.jobs.submit_for_record(
            by.client_id, submission, made.id, lambda: records.remove(by, RecordKind.VERIFICATION, made.id)
        )
        return (made if job.id == made.id else self.verification(space, job.id)), job

    def search(self, by: Actor, space: Space, submission: JobSubmission) -> Job:
        """Make the job, a `Search`, that finds who of a space speaks; raises as `JobService.submit`."""
        self.enrolments.identities.store.audit(by, Action.SEARCH, RecordKind.SPACE, space.id)
        return self.jobs.submit(by.client_id, submission)

    def verification(self, space: Space, reference: str) -> Verification:
        """Return the verification of a space with that id or handle; raises NotFound."""
        return existing(self.store.find_verification(space.id, reference), RecordKind.VERIFICATION)

    def list_verifications(self, space: Space, query: RecordQuery) -> RecordPage[Verification]:
        """Return a page of a space's verifications."""
        return self.store.list_verifications(space.id, query)

    def list_usage(self, by: Actor, query: RecordQuery) -> RecordPage[UsageRecord]:
        """Return a page of the actor's usage."""
        return self.store.list_usage(by.client_id, query)
