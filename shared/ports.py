"""Ports: what use cases ask of the outside; `shared/adapters` answers."""

from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol

from shared.domain.commands import Lane
from shared.domain.delivery import Delivery, DeliveryLog, LogEntry, Next, Senders
from shared.domain.jobs import (
    Backlog,
    Claim,
    Ending,
    IdempotencyKey,
    Job,
    JobPage,
    JobSubmission,
    PageQuery,
    Reaped,
    Status,
    UnfinishedJob,
    Withdrawal,
)
from shared.domain.media import MediaPage
from shared.domain.sources import S3Url


class JobStore(Protocol):
    """Job records: every method is one atomic step, and no other record of a job counts."""

    def create(self, job_id: str, client_id: str, submission: JobSubmission) -> Job:
        """Store a new job as created; under an idempotency key used before, return the job it made then."""

    def find(self, client_id: str, job_id: str) -> Job | None:
        """Return a client's job; None when unknown, expired or another client's."""

    def wait(self, client_id: str, job_id: str, seconds: float) -> Job | None:
        """Return a client's job once it has ended, or as it stands after so many seconds; None as `find`."""

    def stop_waiting(self) -> None:
        """End every `wait`, now and in future, at once: the process is about to end."""

    def knows(self, client_id: str, key: IdempotencyKey) -> bool:
        """Tell whether a client has used an idempotency key, for whatever."""

    def page(self, client_id: str, status: Status | None, which: PageQuery) -> JobPage:
        """Return a page of a client's jobs, newest first; with a cursor it may be short, or empty."""

    def claim(self, lanes: Sequence[Lane], worker: str, most_long: int) -> Claim | None:
        """Claim the job whose turn it is, of the first lane that has one; None when there is none.

        `most_long` is the number of long jobs that a worker of that name may have at once.
        """

    def beat(self, claim: Claim, step: str | None = None, progress: int | None = None) -> bool:
        """Renew the lease and note step and progress (%); False when the claim was lost and work must stop."""

    def finish(self, claim: Claim, ending: Ending) -> bool:
        """End a claimed job; False, and nothing written, when the claim was lost."""

    def release(self, claim: Claim, *, rest_s: float = 0.0, counted: bool = False) -> bool:
        """Hand the job back, for others to take after `rest_s`; False when the claim was lost."""

    def end(self, job: UnfinishedJob, ending: Ending) -> bool:
        """End a job that its worker does not; False when it had ended, or is not that claim's any more."""

    def withdraw(self, client_id: str, job_id: str) -> Withdrawal | None:
        """Take a client's job from everybody, with its webhook and delivery log, to delete it.

        None when there is none, or for now because another call has it.
        """

    def let_go(self, withdrawal: Withdrawal) -> None:
        """Leave a withdrawn job to the next call at once."""

    def delete(self, withdrawal: Withdrawal) -> bool:
        """Remove what is left of a withdrawn job; False when another call has taken it over."""

    def reap(self) -> Reaped:
        """Requeue jobs whose lease ran out; return those that need an end, and how often to ring."""

    def backlog(self) -> Backlog:
        """Count unfinished jobs."""


class DeliveryOutcomes(Protocol):
    """Outcomes of tries to deliver a webhook."""

    def settle(self, delivery: Delivery, entry: LogEntry, then: Next) -> None:
        """Log a try and note what follows."""

    def put_off(self, delivery: Delivery, delay_s: float) -> None:
        """Give back a try that was not made, and make the webhook due again after a while."""


class DeliveryStore(DeliveryOutcomes, Protocol):
    """Webhooks on their way; the step that ends a job puts them there."""

    def take(self, most: int, free: Senders) -> list[Delivery]:
        """Take up to `most` due webhooks of each lane to send, as far as a courier has free senders."""

    def log(self, client_id: str, job_id: str) -> DeliveryLog:
        """Return the delivery log of a job's webhook; raises NoWebhook."""

    def redeliver(self, client_id: str, job_id: str) -> None:
        """Make a job's webhook due again; raises NoWebhook, ResultGone, DeliveryPending."""


class Queue(Protocol):
    """The doorbell: it tells a worker that jobs wait, and may lose or repeat itself."""

    def ring(self) -> None:
        """Ring for a worker, whose process then works until no job waits; never fails, and waits for nothing."""


class MediaStore(Protocol):
    """Uploads, each under its client."""

    def save(self, client_id: str, key: str, chunks: Iterable[bytes], announced: int = 0) -> None:
        """Store a file that the server itself received, whole or not at all; `announced` bytes are to come.

        Raises
        ------
        MediaQuotaExceeded, Unavailable
        """

    def open_upload(self, client_id: str, key: str) -> BinaryIO:
        """Open an upload for reading; raises MediaNotFound, or Unavailable."""

    def contains(self, client_id: str, key: str) -> bool:
        """Tell whether there is such an upload."""

    def list(self, client_id: str, after: str, most: int) -> MediaPage:
        """Return a client's uploads behind the cursor `after`, at most `most`; raises ValueError for a wrong one."""

    def remove(self, client_id: str, key: str) -> str | None:
        """Remove an upload; returns the hexadecimal SHA-256 of what was removed, None when there was nothing."""

    def sweep(self) -> int:
        """Remove uploads past their time; return how many."""


class Buckets(Protocol):
    """Recordings in an operator's own buckets."""

    def open_object(self, source: S3Url) -> BinaryIO:
        """Open an object for reading; raises a JobFailure, or Unavailable."""


class MediaAddresses(Protocol):
    """Signed addresses of uploads, each good for an hour."""

    def put_address(self, client_id: str, key: str) -> str:
        """Return the address to PUT the upload to; raises MediaQuotaExceeded where the PUT itself is not judged."""

    def get_address(self, client_id: str, key: str) -> str:
        """Return the address to GET the upload from."""
