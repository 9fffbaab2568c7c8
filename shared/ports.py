"""What the inside asks of the outside; `shared/adapters` answers."""

from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from shared.domain.delivery import Delivery, DeliveryState, LogEntry, Next
from shared.domain.jobs import Backlog, Claim, IdempotencyKey, Job, JobPage, Order, PageQuery, Status, Withdrawal
from shared.domain.media import MediaPage


class JobStore(Protocol):
    """The truth about jobs: every method is one atomic step, and no other record of a job counts."""

    def create(self, job_id: str, client_id: str, order: Order) -> Job:
        """Store a new job as created; under an idempotency key used before, return the job it made then."""

    def find(self, client_id: str, job_id: str) -> Job | None:
        """Return a client's job; None when unknown, expired or another client's."""

    def knows(self, client_id: str, key: IdempotencyKey) -> bool:
        """Say whether a client has used an idempotency key, for whatever."""

    def page(self, client_id: str, status: Status | None, which: PageQuery) -> JobPage:
        """Return some of a client's jobs, newest first; raises InvalidRequest for a cursor that leads nowhere."""

    def claim(self, job_id: str) -> Claim | None:
        """Lease a created job to the caller; None when there is nothing to do (a repeated doorbell, say)."""

    def beat(self, claim: Claim, step: str | None = None, progress: int | None = None) -> bool:
        """Renew the lease and note step and progress (%); False when the claim was lost and work must stop."""

    def finish(self, claim: Claim, status: Status, output: dict[str, Any]) -> bool:
        """End the job; False, and nothing written, when the claim was lost."""

    def release(self, claim: Claim) -> bool:
        """Hand the job back, its attempt not counted; False when the claim was lost."""

    def cancel(self, job_id: str, output: dict[str, Any]) -> bool:
        """End the job as canceled, whoever has it; False when it had ended."""

    def withdraw(self, client_id: str, job_id: str) -> Withdrawal | None:
        """Take a client's job out of everybody's hands, with its webhook and delivery log, to delete it.

        None when there is none, or for now because another call has it.
        """

    def let_go(self, withdrawal: Withdrawal) -> None:
        """Leave a withdrawn job to the next call at once."""

    def delete(self, withdrawal: Withdrawal) -> bool:
        """Remove what is left of a withdrawn job; False when another call has taken it over."""

    def reap(self) -> list[str]:
        """Take back expired leases, end hopeless jobs; return the ids of jobs whose doorbell must be rung again."""

    def backlog(self) -> Backlog:
        """Return how much is waiting."""


class DeliveryStore(Protocol):
    """Webhooks on their way; the step that ends a job puts them there."""

    def take(self, most: int) -> list[Delivery]:
        """Take up to `most` due webhooks to send."""

    def settle(self, delivery: Delivery, entry: LogEntry, then: Next) -> None:
        """Log a try and note what follows."""

    def put_off(self, delivery: Delivery, delay_s: float) -> None:
        """Give back a try that was not made, and make the webhook due again after a while."""

    def log(self, client_id: str, job_id: str) -> tuple[DeliveryState, list[LogEntry]]:
        """Return where a job's webhook stands, and its tries so far; raises NoWebhook."""

    def redeliver(self, client_id: str, job_id: str) -> None:
        """Make a job's webhook due again; raises NoWebhook, ResultGone, DeliveryPending."""


class Queue(Protocol):
    """The doorbell: it tells workers that a job may be waiting, and may lose or repeat itself."""

    def ring(self, job_id: str) -> None:
        """Announce a job."""


class MediaStore(Protocol):
    """Uploads, each under its client."""

    def open(self, client_id: str, key: str) -> BinaryIO:
        """Open an upload for reading; raises MediaNotFound."""

    def contains(self, client_id: str, key: str) -> bool:
        """Say whether there is such an upload."""

    def list(self, client_id: str, after: str, most: int) -> MediaPage:
        """Return a client's uploads behind the cursor `after`, at most `most`."""

    def remove(self, client_id: str, key: str) -> str | None:
        """Remove an upload; returns the hexadecimal SHA-256 of what was removed, None when there was nothing."""

    def sweep(self) -> int:
        """Remove uploads past their time; return how many."""


class Buckets(Protocol):
    """Recordings in an operator's own buckets."""

    def open(self, url: str) -> BinaryIO:
        """Open what is at an `s3://` address; raises a JobFailure."""


class MediaAddresses(Protocol):
    """Signed addresses of uploads, each good for an hour."""

    def put_address(self, client_id: str, key: str) -> str:
        """Return where the client may PUT the upload."""

    def get_address(self, client_id: str, key: str) -> str:
        """Return where the client may GET the upload."""


@dataclass(frozen=True)
class Client:
    """Who calls the API."""

    id: str
    name: str


class ClientStore(Protocol):
    """Clients and their API keys."""

    def authenticate(self, key: str) -> Client | None:
        """Return the client that `key` belongs to; None for an unknown key."""

    def may_call(self, client_id: str) -> bool:
        """Say whether there is such a client, and it was not revoked."""

    def rotate_webhook_secret(self, client_id: str, overlap_s: float) -> str:
        """Make a webhook secret and return it, this once; the one before signs along for `overlap_s`."""

    def webhook_secrets(self, client_id: str) -> list[str]:
        """Return the secrets that sign a client's webhooks now, the oldest first; none for one that was revoked."""
