"""Webhook delivery as values: tries, outcomes, and the decision to retry."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shared.domain.addresses import HttpUrl

#: Long delays are a tenth longer or shorter, so that a receiver that comes back is not met by everything at once.
_JITTER = 0.1
_JITTER_FROM_S = 60.0
#: A receiver may ask for patience, up to this many seconds.
MAX_RETRY_AFTER_S = 3600.0
#: A receiver that says so is never asked again (Standard Webhooks, "410 Gone").
GONE = 410


class Reason(StrEnum):
    """Reason for a failed try, in the words of the `x-retry-reason` header."""

    TIMEOUT = "http_timeout"
    REDIRECTS = "too_many_redirects"
    CONNECTION = "connection_failed"
    SSL = "ssl_error"
    HTTP = "http_error"
    UNKNOWN = "unknown_error"
    #: Nothing was sent to the address, or to one that it redirects to: the service may not open it.
    ADDRESS = "address_not_allowed"
    REVOKED = "client_revoked"


#: Reasons that another try would meet again, so that none follows and the header never says them.
FINAL_REASONS = (Reason.ADDRESS, Reason.REVOKED)


class DeliveryState(StrEnum):
    """State of a delivery."""

    #: A try is due, now or later.
    PENDING = "pending"
    #: A 2xx answer came.
    DELIVERED = "delivered"
    #: Every try failed.
    EXHAUSTED = "exhausted"
    #: The receiver answered 410, or the try failed for one of `FINAL_REASONS`: never again by itself.
    REFUSED = "refused"
    #: The result was deleted before it could be delivered.
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one try."""

    #: None: a 2xx answer.
    reason: Reason | None
    #: HTTP status, when an answer came.
    status: int | None = None
    #: The first bytes of the answer, as text; where none came, a sentence about what went wrong, if that is known.
    answer: str = ""
    #: What the receiver's Retry-After asks for, in seconds.
    retry_after_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A webhook that a courier has taken to send."""

    job_id: str
    client_id: str
    url: HttpUrl
    #: Name of the dialect that signs it.
    dialect: str
    #: The bytes to send, the same on every try.
    body: bytes = field(repr=False)
    #: Which try of the schedule this is, from 1.
    attempt: int
    #: Which POST of this delivery this is, from 1, repeated deliveries counted on: the fencing token.
    sent: int
    #: Why the try before failed; empty on the first.
    reason: str
    #: Whether a sender of the slow lane has it: its receiver has proved slow.
    slow: bool = False
    #: Trace that the job belongs to, as in `Claim`.
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class Senders:
    """Senders of one courier: threads, each of which costs 0.1 MB while its receiver hangs."""

    quick: int = 896
    #: Those for receivers that have proved slow.
    slow: int = 128


#: Senders of a courier that has nothing to do.
SENDERS = Senders()


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """Entry of the delivery log: one try."""

    attempt: int
    at: datetime
    duration_ms: int
    status: int | None
    reason: str | None
    answer: str


@dataclass(frozen=True)
class DeliveryLog:
    """Delivery of a job's webhook: its state, and every try so far."""

    job_id: str
    state: DeliveryState
    tries: Sequence[LogEntry]


@dataclass(frozen=True, kw_only=True)
class Next:
    """Decision after a try: a state, and the seconds until the next try if there is one."""

    state: DeliveryState
    delay_s: float | None = None


def follow_up(outcome: Outcome, attempt: int, delays_s: Sequence[float]) -> Next:
    """Decide whether a webhook is retried after its `attempt`-th try.

    Parameters
    ----------
    delays_s : the dialect's retry schedule: seconds before each try, the first included.
    """
    if outcome.reason is None:
        return Next(state=DeliveryState.DELIVERED)
    if outcome.status == GONE or outcome.reason in FINAL_REASONS:
        return Next(state=DeliveryState.REFUSED)
    if attempt >= len(delays_s):
        return Next(state=DeliveryState.EXHAUSTED)
    delay_s = delays_s[attempt]
    if delay_s >= _JITTER_FROM_S:
        delay_s *= random.uniform(1 - _JITTER, 1 + _JITTER)
    return Next(state=DeliveryState.PENDING, delay_s=max(delay_s, min(outcome.retry_after_s, MAX_RETRY_AFTER_S)))
