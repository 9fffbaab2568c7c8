"""Retention: settle records whose job is over, and remove what was kept long enough."""

from dataclasses import dataclass
from datetime import timedelta

from shared.domain.identities import Failure, RecordKind, Unsettled, now
from shared.domain.jobs import Job, Status
from shared.identity_service import IdentityService
from shared.job_service import JobService
from shared.ports import EnrolmentStore, RecordingStore, VerificationStore

#: A record waits at least this long for its job before anybody looks after it.
_SETTLED_S = 2.0
#: A record is stored before its job; after this long the job will not come any more.
_SUBMITTED_S = 60.0
#: Rows that one round looks at.
_MOST = 500
_LOST = Failure(code="worker_lost", message="The job was never started, or its result is gone; ask for it again.")


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Housekeeping of identities. Any number may run at once: each step is idempotent."""

    identities: IdentityService
    enrolments: EnrolmentStore
    verifications: VerificationStore
    recordings: RecordingStore
    jobs: JobService
    verification_ttl_s: float
    usage_ttl_s: float
    audit_ttl_s: float
    #: Seconds that a job and its result are kept at most.
    job_ttl_s: float

    def settle(self) -> None:
        """End the records whose job was canceled, ran out of time, or does not exist."""
        for record in self.verifications.unsettled(now() - timedelta(seconds=_SETTLED_S), _MOST):
            failure = self._failure(record)
            if failure is not None:
                self._fail(record, failure)

    def _failure(self, record: Unsettled) -> Failure | None:
        job: Job | None = self.jobs.peek(record.client_id, record.job_id)
        if job is not None and not self.jobs.speaks(job.reply.dialect):
            # A newer release settles it.
            return None
        if job is not None and job.status in (Status.FAILED, Status.CANCELED):
            code, message = self.jobs.reason(job)
            return Failure(code=code, message=message)
        late = now() - record.since > timedelta(seconds=_SUBMITTED_S)
        return _LOST if late and (job is None or job.status is Status.SUCCEEDED) else None

    def _fail(self, record: Unsettled, failure: Failure) -> None:
        if record.kind is RecordKind.SAMPLE:
            self.enrolments.fail_sample(record.id, failure)
        elif record.kind is RecordKind.ENROLMENT:
            self.enrolments.fail_enrolment(record.id, record.job_id, failure)
        else:
            self.verifications.fail_verification(record.id, failure)

    def sweep(self) -> None:
        """Remove recordings, verifications, usage records and entries of the audit log that were kept long enough."""
        at = now()
        for client_id, sample_id in self.enrolments.kept_recordings(at, _MOST):
            self.recordings.remove(client_id, sample_id)
            self.enrolments.forget_recording(sample_id)
        self.verifications.forget(
            verifications=at - timedelta(seconds=self.verification_ttl_s),
            usage=at - timedelta(seconds=self.usage_ttl_s),
            audit=at - timedelta(seconds=self.audit_ttl_s),
            jobs=at - timedelta(seconds=self.job_ttl_s),
        )
