"""Job as a value: submission, record, claim, ending, receipt."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.domain.addresses import HttpUrl
from shared.domain.commands import Command, Lane

#: A job that took this many workers with it is not tried again.
MAX_ATTEMPTS = 3
#: Newest form of stored jobs that this release does. What an earlier release would misread has the next number, see
#: `record_form`; jobs of a newer form are left to newer workers. Releases before forms wrote 0.
RECORD_FORM = 2
#: Kind of a job whose record names none.
UNKNOWN_KIND = "unknown"
#: Most jobs that one request for a list looks at: some 25 ms of Redis.
MOST_LOOKED_AT = 10_000
#: The text form of a `JobCursor`.
_CURSOR = re.compile(r"([0-9]{1,15})-([0-9a-f-]{36})")


class Status(StrEnum):
    """Status of a job, in the words of the wire."""

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
        """True once the job has ended; a terminal status never changes."""
        return self in (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)


class WebhookContent(StrEnum):
    """Content of a job's webhook."""

    #: The job asked for no webhook.
    NOTHING = ""
    STATUS = "status"
    RESULT = "result"


@dataclass(frozen=True)
class Webhook:
    """Address that is told of a job's end, and whether without the result."""

    url: HttpUrl
    status_only: bool = False

    @property
    def content(self) -> WebhookContent:
        """Content of its bodies."""
        return WebhookContent.STATUS if self.status_only else WebhookContent.RESULT


@dataclass(frozen=True)
class IdempotencyKey:
    """Client's own name for a request, and a hash of the request."""

    key: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class JobSubmission:
    """Request for a job, validated."""

    command: Command
    #: Name of the dialect that the client speaks.
    dialect: str
    webhook: Webhook | None = None
    idempotency_key: IdempotencyKey | None = None
    #: Turns that the client has in a round of all clients that wait.
    weight: int = 1
    #: What was not taken literally; told to the client, not stored.
    warning: str | None = None


@dataclass(frozen=True)
class Reply:
    """Form in which a job's end is told: the dialect that renders it, and the content of its webhook."""

    dialect: str
    webhook: WebhookContent = WebhookContent.NOTHING


@dataclass(frozen=True, kw_only=True)
class Ending:
    """End of a job as its dialect renders it: the bytes that polling and webhooks carry."""

    status: Status
    #: JSON text.
    output: str = field(repr=False)
    #: JSON text; empty where no webhook was asked for.
    webhook_body: str = field(repr=False)
    #: Most tries to deliver it.
    webhook_tries: int
    #: Length of the recording, in seconds; None where there was none, or no result.
    audio_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """Facts by which a person knows a job again; records of the release before have none of them."""

    #: Kind of its command.
    kind: str | None = None
    #: Name of its recording.
    name: str | None = field(default=None, repr=False)
    #: Length of the recording, in seconds, once the job has succeeded.
    audio_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job's record."""

    id: str
    client_id: str
    status: Status
    created_at: datetime
    updated_at: datetime
    reply: Reply
    #: Step that a running job is in.
    step: str | None = None
    #: Share of a running job that is done, in %; None where it is not worth telling.
    progress: int | None = None
    #: JSON text of the result or the error, as its dialect rendered it; None until the job ends.
    output: str | None = field(default=None, repr=False)
    facts: JobFacts = JobFacts()


@dataclass(frozen=True)
class JobSummary:
    """A job as lists show it."""

    id: str
    status: Status
    created_at: datetime
    facts: JobFacts = JobFacts()


@dataclass(frozen=True)
class JobCursor:
    """Place in a list of jobs, newest first: behind a job, which may be deleted since."""

    created_ms: int
    job_id: str

    @classmethod
    def parse(cls, text: str) -> "JobCursor":
        """Parse the text form; raises ValueError."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise ValueError("Take it from the page before as it is, or start from the newest again.")
        return cls(int(found[1]), found[2])

    @classmethod
    def of(cls, job: JobSummary) -> "JobCursor":
        """Return the place behind `job`."""
        return cls(round(job.created_at.timestamp() * 1000), job.id)

    def __str__(self) -> str:
        return f"{self.created_ms}-{self.job_id}"


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """Page of a list: so many, from where the page before ended, or after skipping some."""

    take: int
    skip: int = 0
    cursor: JobCursor | None = None


@dataclass(frozen=True)
class JobPage:
    """Some of a client's jobs, perhaps none, and where to go on; None: these are the last."""

    jobs: Sequence[JobSummary]
    cursor: JobCursor | None


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Receipt of a deletion: hexadecimal SHA-256 of each part, None for a part that did not exist."""

    job_id: str
    deleted_at: datetime
    output_sha256: str | None
    media_sha256: str | None

    @property
    def removed(self) -> dict[str, str]:
        """The hashes of what existed, by name."""
        hashes = {"output": self.output_sha256, "media": self.media_sha256}
        return {name: sha256 for name, sha256 in hashes.items() if sha256 is not None}


@dataclass(frozen=True)
class Backlog:
    """Jobs that wait and run."""

    waiting: int
    running: int
    #: Age of the oldest unfinished job, in seconds; 0 when there is none.
    oldest_s: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to work on a job, for as long as it keeps the lease alive."""

    job_id: str
    client_id: str
    #: The command, as `shared.domain.commands.to_record` wrote it.
    record: Mapping[str, Any] = field(repr=False)
    reply: Reply
    #: Number of this attempt, from 1.
    attempt: int
    #: Fencing token: a write that carries an older one is refused.
    fence: int
    lane: Lane
    #: Number of the form in which the record is stored, see `RECORD_FORM`.
    form: int = 0
    #: Seconds since the job was accepted.
    age_s: float = 0.0
    #: Seconds that it waited, since it was accepted or the attempt before ended.
    waited_s: float = 0.0
    #: Trace that the job belongs to, in the form of a `traceparent` header; empty where nobody traces.
    trace: str = ""

    @property
    def kind(self) -> str:
        """Kind of its command."""
        return str(self.record.get("kind", UNKNOWN_KIND))


@dataclass(frozen=True)
class Ended:
    """Job whose end was stored just now, as metrics tell of it."""

    #: Kind of its command; `UNKNOWN_KIND` where a release before metrics accepted it.
    kind: str
    lane: Lane
    #: Seconds from its acceptance to its end.
    age_s: float


@dataclass(frozen=True, kw_only=True)
class UnfinishedJob:
    """Job that is ended by others than its worker; `fence` is None where no claim must hold it."""

    job_id: str
    reply: Reply
    fence: int | None = None


@dataclass(frozen=True, kw_only=True)
class Reaped:
    """Jobs that need somebody."""

    #: How often to ring for a worker.
    rings: int
    #: Jobs whose workers died too often.
    lost: Sequence[UnfinishedJob]
    #: Jobs past their deadline.
    late: Sequence[UnfinishedJob]
    #: Leases that ran out.
    leases_lost: int


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """Right to delete a job that nobody else can reach any more, with what there is to delete."""

    job_id: str
    #: Names the call that has the job.
    call: str
    #: Key of the upload the job was made from; None when there is none.
    media_key: str | None
    #: Whether another unfinished job of the client is made from the same upload.
    media_in_use: bool
    #: The job's output, as JSON text; None when it had not ended.
    output: str | None = field(repr=False)


def new_job_id() -> str:
    """Return a fresh id: a random UUID, since clients may parse it as one."""
    return str(uuid.uuid4())
