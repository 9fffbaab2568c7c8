"""Webhooks on their way, in Redis; the script that ends a job puts them there.

===============================  ==================================================================================
`timbre:due`                     clients, scored by the time (ms) to look at them next
`timbre:due:{client}`            hosts, scored by the time (ms) to look at them next
`timbre:due:{client}:{host}`     job ids, scored by the time (ms) their next try is due
`timbre:delivery:{job}`          hash: client, url, host, dialect, state, try, tries, sent, reason; kept seven days
`timbre:delivery:{job}:body`     the bytes to send; kept as long as the result
`timbre:delivery:{job}:log`      hash of tries, as sealed JSON, by their number; kept seven days
`timbre:inflight:{client}`       tries on their way for a client, scored by when to give up on their courier
`timbre:inflight:{host}`         the same to a host
`timbre:waiting:{host}`          list of clients that wait for room at a host, the first to wait first
===============================  ==================================================================================

A try is spent when it is taken, so a courier that dies, or never hears what it took, costs a try and never repeats a
number. Only a courier that lives to say that it sent nothing gives it back. Until it is settled, the log has nothing of
a try but `number:ms`, not sealed: Redis writes that itself, in the step that spends the try.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import structlog
from redis import Redis

from shared.adapters.redis_jobs import LOG_TTL_S
from shared.adapters.redis_scripts import Clock, Scripts, redis_clock
from shared.adapters.sealing import Envelope
from shared.dialects import FIRST_DIALECT
from shared.domain.addresses import HttpUrl, InvalidAddress
from shared.domain.delivery import Delivery, DeliveryLog, DeliveryState, LogEntry, Next, Reason
from shared.domain.errors import DeliveryPending, NoWebhook, ResultGone, SealBroken

log = structlog.get_logger()

#: Webhooks sent for one client at the same time: half of what a courier sends, see `SENDERS`.
PER_CLIENT = 8
#: Webhooks sent to one host at the same time.
PER_HOST = 4
#: Seconds after which the courier of a try is taken for dead: more than an exchange may last.
SEND_S = 20.0
#: Most tries of deliveries that the first release stored, which name no number.
_FIRST_TRIES = 4
#: Tries that a log keeps.
LOG_LENGTH = 100


class RedisDeliveries:
    """`DeliveryStore` on Redis; addresses, bodies and tries are sealed there, see `redis_jobs.py`.

    A try holds the first bytes of the receiver's answer, and some receivers answer with what they got.
    """

    def __init__(self, redis: Redis, envelope: Envelope, *, clock: Clock = redis_clock) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._envelope = envelope

    def take(self, most: int) -> list[Delivery]:
        """Take up to `most` due webhooks to send; a client and a host have limits of their own, see above."""
        limits = (PER_CLIENT, PER_HOST, round(SEND_S * 1000), _FIRST_TRIES)
        taken = self._scripts("take", most, *limits, LOG_TTL_S * 1000, LOG_LENGTH)
        return [delivery for row in taken if (delivery := self._delivery(*row))]

    def _delivery(
        self, job_id: str, client: str, url: str, dialect: str, body: str, attempt: int, sent: int, reason: str
    ) -> Delivery | None:
        """Return a webhook that was taken; None where an earlier release took an address that is none to this one."""
        try:
            target = HttpUrl.parse(self._envelope.unseal(url, job_id))
        except InvalidAddress:
            log.warning("webhook has an address that cannot be opened", job_id=job_id)
            return None
        return Delivery(
            job_id=job_id,
            client_id=client,
            url=target,
            dialect=dialect or FIRST_DIALECT,
            body=self._envelope.unseal(body, job_id).encode(),
            attempt=attempt,
            sent=sent,
            reason=reason,
        )

    def settle(self, delivery: Delivery, entry: LogEntry, then: Next) -> None:
        """Log a try and note what follows; a courier that was too slow is logged only."""
        record = json.dumps(asdict(entry) | {"at": entry.at.isoformat()})
        delay = "" if then.delay_s is None else round(then.delay_s * 1000)
        outcome = (self._envelope.seal(record, delivery.job_id), then.state, entry.reason or "", delay)
        self._scripts("settle", *_which(delivery), *outcome)

    def put_off(self, delivery: Delivery, delay_s: float) -> None:
        """Give back a try that was not made; the webhook is due again. Couriers that were too slow are ignored."""
        self._scripts("put_off", *_which(delivery), delivery.attempt, round(delay_s * 1000), delivery.reason)

    def log(self, client_id: str, job_id: str) -> DeliveryLog:
        """Return the delivery log of a job's webhook.

        Raises
        ------
        NoWebhook
            The job has none, has not ended, or is not the client's.
        """
        key = f"timbre:delivery:{job_id}"
        record: dict[str, str] = self._redis.hgetall(key)  # type: ignore[assignment]
        if record.get("client") != client_id:
            raise _no_webhook()
        lines: dict[str, str] = self._redis.hgetall(f"{key}:log")  # type: ignore[assignment]
        try:
            tries = [self._entry(lines[number], job_id) for number in sorted(lines, key=int)]
        except SealBroken:
            raise _no_webhook() from None
        return DeliveryLog(job_id, DeliveryState(record["state"]), tries)

    def _entry(self, line: str, job_id: str) -> LogEntry:
        attempt, bare, at_ms = line.partition(":")
        if bare:
            at = datetime.fromtimestamp(int(at_ms) / 1000, UTC)
            return LogEntry(attempt=int(attempt), at=at, duration_ms=0, status=None, reason=Reason.UNKNOWN, answer="")
        record = json.loads(self._envelope.unseal(line, job_id))
        return LogEntry(**record | {"at": datetime.fromisoformat(record["at"])})

    def redeliver(self, client_id: str, job_id: str) -> None:
        """Make a job's webhook due again at once, with all its tries.

        Raises
        ------
        NoWebhook, ResultGone, DeliveryPending
        """
        answer = self._scripts("redeliver", job_id, client_id)
        if answer == "none":
            raise _no_webhook()
        if answer == "pending":
            raise DeliveryPending("This webhook still has tries to come; see its deliveries.")
        if answer == "gone":
            raise ResultGone("The result was deleted, so it cannot be delivered again; make the job again.")


def _no_webhook() -> NoWebhook:
    return NoWebhook("This job has no webhook to deliver: it asked for none, has not ended, or is unknown.")


def _which(delivery: Delivery) -> tuple[str | int, ...]:
    return delivery.job_id, delivery.client_id, delivery.url.receiver, delivery.sent
