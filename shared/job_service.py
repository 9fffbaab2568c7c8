"""Job service: every verb on jobs, their webhooks and their uploads that an edge may use."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import structlog

from shared.dialects import Dialects
from shared.domain.delivery import DeliveryLog
from shared.domain.errors import (
    Canceled,
    DeadlineExceeded,
    InternalError,
    JobEnded,
    JobFailure,
    JobNotEnded,
    MediaNotFound,
    NotFound,
    NoTurns,
    RequestError,
    Unavailable,
    WorkerLost,
)
from shared.domain.jobs import (
    MAX_ATTEMPTS,
    Backlog,
    Claim,
    Ended,
    Ending,
    IdempotencyKey,
    Job,
    JobPage,
    JobSubmission,
    PageQuery,
    Receipt,
    Reply,
    Status,
    UnfinishedJob,
    new_job_id,
)
from shared.domain.media import MediaPage, job_upload
from shared.domain.results import Result
from shared.domain.sources import MediaUrl
from shared.domain.turns import TurnExport
from shared.ports import DeliveryStore, JobStore, MediaStore, Queue
from shared.telemetry import metrics, tracing

log = structlog.get_logger()

_LOST = f"The job's worker died {MAX_ATTEMPTS} times; it is not tried again."
_LATE = "The job was not done within its deadline (TIMBRE_JOB_DEADLINE_S); try it again."


@dataclass(frozen=True, kw_only=True)
class JobService:
    """Jobs from submission to deletion, over the ports."""

    jobs: JobStore
    deliveries: DeliveryStore
    queue: Queue
    media: MediaStore
    dialects: Dialects

    @tracing.span("submit job", "producer")
    def submit(self, client_id: str, submission: JobSubmission, job_id: str | None = None) -> Job:
        """Store a job, then ring for a worker; under an idempotency key used before, return the job it made then.

        The record comes first: once it stands, a lost doorbell only costs time, since the reaper rings again.

        Parameters
        ----------
        job_id : its id, where records name it already; by default a new one.

        Raises
        ------
        IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        job_id = job_id or new_job_id()
        job = self.jobs.create(job_id, client_id, submission)
        if job.id == job_id:
            _count_submitted(submission)
            self.queue.ring()
        tracing.note({"job.id": job.id, "job.kind": submission.command.kind, "job.lane": submission.command.lane})
        return job

    def submit_for_record(
        self, client_id: str, submission: JobSubmission, job_id: str, take_back: Callable[[], object]
    ) -> Job:
        """Store the job of a record that names it; another one is returned where the same request made one before.

        Parameters
        ----------
        take_back : undoes what was done for the job, where it is refused or was made before.

        Raises
        ------
        IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        try:
            job = self.submit(client_id, submission, job_id)
        except RequestError:
            take_back()
            raise
        if job.id != job_id:
            take_back()
        return job

    def recall(self, client_id: str, key: IdempotencyKey | None) -> str | None:
        """Return the id of the job that an idempotency key made; None for no key, or a new one.

        Raises
        ------
        IdempotencyMismatch
            The key was used for another request.
        """
        return self.jobs.recall(client_id, key) if key else None

    def drop(self, client_id: str, job_id: str, failure: JobFailure) -> None:
        """End a job with a failure or, where it has ended already, remove it with its result and webhook."""
        job = self.jobs.find(client_id, job_id)
        unended = job is not None and not job.status.terminal
        if job and unended and self._end(UnfinishedJob(job_id=job_id, reply=job.reply), failure):
            self._drop_upload(client_id, job_id)
            return
        with suppress(NotFound):
            self.delete(client_id, job_id)

    def peek(self, client_id: str, job_id: str) -> Job | None:
        """Return a client's job; None where there is none any more, or not yet."""
        return self.jobs.find(client_id, job_id)

    def reason(self, job: Job) -> tuple[str, str]:
        """Return code and message of a job that ended without a result."""
        return self.dialects[job.reply.dialect].reason(job.output or "")

    def find(self, client_id: str, job_id: str) -> Job:
        """Return a client's job.

        Raises
        ------
        NotFound
            There is none, or it is another client's; the two look the same from outside.
        """
        return _existing(self.jobs.find(client_id, job_id))

    def turns(self, client_id: str, job_id: str) -> TurnExport:
        """Return the turns that a client's job found.

        Raises
        ------
        NotFound, JobNotEnded, NoTurns
        """
        job = self.find(client_id, job_id)
        if not job.status.terminal:
            raise JobNotEnded(f"The job is {job.status}; ask for its turns once it has succeeded.")
        if job.status is not Status.SUCCEEDED:
            raise NoTurns(f"The job ended as {job.status}, so it has no turns; its output says why.")
        found = self.dialects[job.reply.dialect].turns(job.output or "{}") if self.speaks(job.reply.dialect) else None
        if found is None:
            raise NoTurns("The job tells nobody apart; voiceprint, diarize and identify have turns.")
        return found

    def wait(self, client_id: str, job_id: str, seconds: float) -> Job:
        """Return a client's job once it has ended, or as it stands after so many seconds.

        Raises
        ------
        NotFound
        """
        return _existing(self.jobs.wait(client_id, job_id, seconds))

    def stop_waiting(self) -> None:
        """End every `wait`, now and in future, at once: the process is about to end."""
        self.jobs.stop_waiting()

    def page(self, client_id: str, status: Status | None, which: PageQuery) -> JobPage:
        """Return a page of a client's jobs, newest first; with a cursor it may be short, or empty."""
        return self.jobs.page(client_id, status, which)

    def backlog(self) -> Backlog:
        """Count unfinished jobs."""
        return self.jobs.backlog()

    def finish(self, claim: Claim, outcome: Result | JobFailure) -> Status | None:
        """End a claimed job; returns its status, or None, and writes nothing, when the claim was lost.

        A result that cannot be rendered, for it holds NaN say, ends the job with an internal error.
        """
        try:
            ending = self._ending(claim.job_id, claim.reply, outcome)
        except Exception as error:
            # Its text would hold the result.
            log.error("a result could not be rendered", error=type(error).__name__)
            outcome = InternalError()
            ending = self._ending(claim.job_id, claim.reply, outcome)
        ended = self.jobs.finish(claim, ending)
        if not ended:
            return None
        _count_ended(ended, ending.status, outcome)
        recordings = {claim.record.get("url"), *claim.record.get("further", ())}
        for number in range(len(recordings)):
            if MediaUrl(job_upload(claim.job_id, number)).text in recordings:
                self._drop_upload(claim.client_id, claim.job_id, number)
        return ending.status

    def cancel(self, client_id: str, job_id: str) -> Job:
        """Cancel a client's job; its worker stops at its next heartbeat.

        Raises
        ------
        NotFound, JobEnded
        """
        unfinished = UnfinishedJob(job_id=job_id, reply=self.find(client_id, job_id).reply)
        if not self._end(unfinished, Canceled("The job was canceled.")):
            raise JobEnded("The job has ended already; there is nothing to cancel.")
        self._drop_upload(client_id, job_id)
        return self.find(client_id, job_id)

    def delete(self, client_id: str, job_id: str, *, keep_media: bool = False) -> Receipt:
        """Remove a client's job, its result, its webhook and the upload it was made from.

        The upload stays if `keep_media` says so, or another unfinished job of the client is made from it. The job is
        withdrawn first: removing its upload may take seconds, in which no worker may end it and no webhook may tell of
        it. Its record goes last: what is left of it lets a deletion that broke off be asked for again.

        Raises
        ------
        NotFound
            There is none, it is another client's, or another call is deleting it.
        """
        withdrawal = self.jobs.withdraw(client_id, job_id)
        if withdrawal is None:
            raise _unknown_job()
        media_sha256 = None
        if withdrawal.media_key and not withdrawal.media_in_use and not keep_media:
            try:
                media_sha256 = self.media.remove(client_id, withdrawal.media_key)
            except Exception:
                self.jobs.let_go(withdrawal)
                raise
        if not self.jobs.delete(withdrawal):
            raise _unknown_job()
        return Receipt(
            job_id=job_id,
            deleted_at=datetime.now(UTC),
            output_sha256=hashlib.sha256(withdrawal.output.encode()).hexdigest() if withdrawal.output else None,
            media_sha256=media_sha256,
        )

    def deliveries_of(self, client_id: str, job_id: str) -> DeliveryLog:
        """Return the delivery log of a job's webhook; raises NoWebhook."""
        return self.deliveries.log(client_id, job_id)

    def redeliver(self, client_id: str, job_id: str) -> DeliveryLog:
        """Deliver a job's webhook once more.

        Raises
        ------
        NoWebhook, ResultGone, DeliveryPending
        """
        self.deliveries.redeliver(client_id, job_id)
        return self.deliveries.log(client_id, job_id)

    def require_media(self, client_id: str, key: str) -> None:
        """Refuse a key under which a client has stored nothing; raises NotFound."""
        if not self.media.contains(client_id, key):
            raise _unknown_media(key)

    def list_media(self, client_id: str, after: str, most: int) -> MediaPage:
        """Return a client's uploads behind the cursor `after`, at most `most`; raises ValueError for a wrong one."""
        return self.media.list(client_id, after, most)

    def remove_media(self, client_id: str, key: str) -> str:
        """Remove an upload; returns its hexadecimal SHA-256; raises NotFound."""
        digest = self.media.remove(client_id, key)
        if digest is None:
            raise _unknown_media(key)
        return digest

    def save_media(self, client_id: str, key: str, chunks: Iterable[bytes], announced: int) -> None:
        """Store a file that the server received, whole or not at all; `announced` bytes are to come.

        Raises
        ------
        MediaQuotaExceeded, Unavailable
        """
        self.media.save(client_id, key, chunks, announced)

    def open_media(self, client_id: str, key: str) -> BinaryIO:
        """Open an upload for reading; raises NotFound."""
        try:
            return self.media.open_upload(client_id, key)
        except MediaNotFound as error:
            raise NotFound(str(error)) from None

    def sweep_media(self) -> int:
        """Remove uploads past their time; return how many."""
        return self.media.sweep()

    def reap(self) -> None:
        """Take back the jobs of silent workers, end those that nobody can finish, ring for those that wait."""
        found = self.jobs.reap()
        metrics.count(metrics.LEASES_LOST, found.leases_lost)
        for job in (job for job in found.lost if self.speaks(job.reply.dialect)):
            if self._end(job, WorkerLost(_LOST)):
                metrics.count(metrics.LEASES_LOST)
        for job in (job for job in found.late if self.speaks(job.reply.dialect)):
            self._end(job, DeadlineExceeded(_LATE))
        for _ in range(found.rings):
            self.queue.ring()

    def _drop_upload(self, client_id: str, job_id: str, number: int = 0) -> None:
        """Remove an upload that the service made for a job; one that cannot be removed now goes in its time."""
        try:
            self.media.remove(client_id, job_upload(job_id, number))
        except (Unavailable, OSError) as error:
            log.warning("an upload stays until its time is over", job_id=job_id, error=type(error).__name__)

    def _end(self, job: UnfinishedJob, failure: JobFailure) -> Ended | None:
        ending = self._ending(job.job_id, job.reply, failure)
        ended = self.jobs.end(job, ending)
        if ended:
            _count_ended(ended, ending.status, failure)
        return ended

    def speaks(self, dialect: str) -> bool:
        """Tell whether this release knows a dialect; records of a newer one may name others."""
        return dialect in self.dialects

    def _ending(self, job_id: str, reply: Reply, outcome: Result | JobFailure) -> Ending:
        return self.dialects[reply.dialect].ending(job_id, reply, outcome)


def _count_submitted(submission: JobSubmission) -> None:
    command = submission.command
    metrics.count(metrics.JOBS_SUBMITTED, kind=command.kind, lane=command.lane)
    if client := metrics.client_name.get():
        metrics.count(metrics.CLIENT_JOBS, client=client, kind=command.kind)


def _count_ended(ended: Ended, status: Status, outcome: Result | JobFailure) -> None:
    code = outcome.code if isinstance(outcome, JobFailure) else metrics.NONE
    metrics.count(metrics.JOBS_ENDED, kind=ended.kind, lane=ended.lane, status=status, code=code)
    metrics.observe(metrics.JOB_SECONDS, ended.age_s, kind=ended.kind, lane=ended.lane)


def _existing(job: Job | None) -> Job:
    if job is None:
        raise _unknown_job()
    return job


def _unknown_job() -> NotFound:
    return NotFound("There is no such job; it may have been deleted, as every job is some time after its end.")


def _unknown_media(key: str) -> NotFound:
    return NotFound(str(MediaNotFound.of(key)))
