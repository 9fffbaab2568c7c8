"""A job as a value: what was asked, how far it is, how it ended."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from shared.domain.addresses import SafeUrl
from shared.domain.commands import Command

_PORTS = {"http": 80, "https": 443}


class Status(StrEnum):
    """Where a job stands; the words of the wire."""

    #: Stored, waiting for a worker (also after its worker was lost).
    CREATED = "created"
    #: Leased to a worker.
    RUNNING = "running"
    #: Ended with a result.
    SUCCEEDED = "succeeded"
    #: Ended without one; the output says why.
    FAILED = "failed"
    #: Ended by its client.
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended; a terminal status never changes."""
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)


@dataclass(frozen=True)
class Webhook:
    """Where a client wants to be told of a job's end, and whether without the result."""

    url: str
    status_only: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", SafeUrl(self.url))

    @property
    def host(self) -> str:
        """Host and port in one spelling, so that the same receiver is always known as the same."""
        parts = urlsplit(self.url)
        return f"{(parts.hostname or '').rstrip('.')}:{parts.port or _PORTS[parts.scheme]}"


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's own name for a request, and a hash of what it asked for."""

    key: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """A job as it is asked for."""

    command: Command
    webhook: Webhook | None = None
    idempotency_key: IdempotencyKey | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job's record."""

    id: str
    client_id: str
    status: Status
    created_at: datetime
    updated_at: datetime
    #: What to do; dropped from the record at the end, for it may hold a signed URL.
    command: Command | None
    #: Which step a running job is in.
    step: str | None = None
    #: How much of a running job is done, in %; None where it is not worth telling.
    progress: int | None = None
    #: Name of the upload it is made from, without `media://`; None when it is not made from one.
    media_key: str | None = None
    #: Wire form of the result or the error; None until the job ends.
    output: dict[str, Any] | None = None


@dataclass(frozen=True)
class JobSummary:
    """A job as lists show it."""

    id: str
    status: Status
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """Which part of a list: so many, from where the page before ended, or after skipping some."""

    take: int
    skip: int = 0
    cursor: str | None = None


@dataclass(frozen=True)
class JobPage:
    """Some of a client's jobs, and where to go on; None: these are the last."""

    jobs: Sequence[JobSummary]
    cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Proof of what was removed: hexadecimal SHA-256 of each thing, None for what did not exist."""

    job_id: str
    deleted_at: datetime
    output_sha256: str | None
    media_sha256: str | None


@dataclass(frozen=True)
class Backlog:
    """How much is waiting."""

    waiting: int
    running: int
    #: Age of the oldest unfinished job, in seconds; 0 when there is none.
    oldest_s: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to work on a job, for as long as it keeps the lease alive."""

    job_id: str
    client_id: str
    command: Command
    #: Which try this is, from 1.
    attempt: int
    #: Fencing token: a write that carries an older one is refused.
    fence: int


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """A caller's right to delete a job that nobody else can get at any more, and what there is to delete."""

    job_id: str
    #: Names the call that has the job.
    call: str
    #: Name of the upload the job was made from, without `media://`; None when there is none.
    media_key: str | None
    #: What the job ended with, as compact JSON; None when it had not ended.
    output: str | None


def new_job_id() -> str:
    """Return a fresh id: a random UUID, since clients may parse it as one."""
    return str(uuid.uuid4())
