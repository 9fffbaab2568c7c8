"""Webhook delivery as values: how a try went, and what follows from it."""

import random
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

#: Seconds before each try after the one before; the last two by some tenth more or less, so that receivers which come
#: back are not met by everything at once.
DELAYS_S = (0.0, 0.0, 60.0, 300.0)
_JITTER = 0.1
_JITTER_FROM_S = 60.0
#: A receiver may ask for patience, up to this many seconds.
MAX_RETRY_AFTER_S = 3600.0
#: A receiver that says so is never asked again (Standard Webhooks, "410 Gone").
GONE = 410


class Reason(StrEnum):
    """Why a try failed; the words of the `x-retry-reason` header."""

    TIMEOUT = "http_timeout"
    REDIRECTS = "too_many_redirects"
    CONNECTION = "connection_failed"
    SSL = "ssl_error"
    HTTP = "http_error"
    UNKNOWN = "unknown_error"
    #: Nothing was sent, nor will be, so that the header never says this.
    REVOKED = "client_revoked"


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    #: A try is due, now or later.
    PENDING = "pending"
    #: A 2xx answer came.
    DELIVERED = "delivered"
    #: Every try failed.
    EXHAUSTED = "exhausted"
    #: The receiver answered 410, or the client was revoked: never again by itself.
    REFUSED = "refused"
    #: The result was deleted before it could be delivered.
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one try went."""

    #: None: a 2xx answer.
    reason: Reason | None
    #: HTTP status, when an answer came.
    status: int | None = None
    #: The first bytes of the answer, as text.
    answer: str = ""
    #: What the receiver's Retry-After asks for, in seconds.
    retry_after_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A webhook that a courier has taken to send."""

    job_id: str
    client_id: str
    url: str
    #: Its host and port in one spelling.
    host: str
    #: The bytes to send, the same on every try.
    body: bytes
    #: Which try of the schedule this is, from 1.
    attempt: int
    #: Which POST of this delivery this is, from 1, repeated deliveries counted on: the fencing token.
    sent: int
    #: Why the try before failed; empty on the first.
    reason: str


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One try, as the delivery log keeps it."""

    attempt: int
    at: datetime
    duration_ms: int
    status: int | None
    reason: str | None
    answer: str


@dataclass(frozen=True, kw_only=True)
class Next:
    """What follows from a try: a state, and the seconds until the next one if there is one."""

    state: DeliveryState
    delay_s: float | None = None


def follow_up(outcome: Outcome, attempt: int) -> Next:
    """Decide what follows from the `attempt`-th try."""
    if outcome.reason is None:
        return Next(state=DeliveryState.DELIVERED)
    if outcome.status == GONE or outcome.reason is Reason.REVOKED:
        return Next(state=DeliveryState.REFUSED)
    if attempt >= len(DELAYS_S):
        return Next(state=DeliveryState.EXHAUSTED)
    return Next(state=DeliveryState.PENDING, delay_s=max(_jittered(DELAYS_S[attempt]), _patience_s(outcome)))


def _jittered(delay_s: float) -> float:
    return delay_s * random.uniform(1 - _JITTER, 1 + _JITTER) if delay_s >= _JITTER_FROM_S else delay_s


def _patience_s(outcome: Outcome) -> float:
    return min(outcome.retry_after_s, MAX_RETRY_AFTER_S)
