"""Webhooks on their way, in Redis; the script that ends a job puts them there.

===============================  ==================================================================================
`timbre:due`                     clients in the quick lane, scored by the time (ms) to look at them next
`timbre:due:{client}`            hosts, scored by the time (ms) to look at them next
`timbre:due:{client}:{host}`     job ids, scored by the time (ms) their next try is due
`timbre:slow`                    clients in the slow lane, likewise
`timbre:slow:{client}`           hosts, likewise; their job ids are in `timbre:due:{client}:{host}`
`timbre:pace:{client}`           hash: hosts, each with `quick` or `slow`, as the last try went, and as the last of all
                                 went under the empty name; kept for a day
`timbre:delivery:{job}`          hash: client, url, host, dialect, trace, state, try, tries, sent, reason, and for each
                                 try its line of the log by its number, and `answer:NUMBER`; kept seven days. When
                                 the result is over, client, state, sent and the lines are left
`timbre:delivery:{job}:body`     the bytes to send; kept as long as the result
`timbre:delivery:{job}:log`      hash of tries by their number, as an earlier release noted them, in sealed JSON
`timbre:inflight:{client}`       tries on their way for a client, scored by when to give up on their courier
`timbre:inflight:{client}:{h}`   the same to a host
`timbre:couriers`                hash: when a courier last looked, and until when no try is taken for lost
===============================  ==================================================================================

A line of the log is `try:ms:milliseconds:status:reason`. A try is spent when it is taken, so a courier that dies, or
never hears what it took, costs a try and never repeats a number. Only a courier that lives to say that it sent nothing
gives it back. Until it is settled, the line is `try:ms` alone. Addresses, bodies and answers are sealed.

A receiver is slow when its last try took over a second, or one on its way does. The slow lane has senders of its own,
so receivers that hang, of however many clients, keep those of others free.
"""

import json
from datetime import UTC, datetime
from typing import Any

import structlog
from redis import Redis

from shared.adapters.redis_scripts import Clock, Scripts, redis_clock
from shared.adapters.sealing import Envelope
from shared.dialects import FIRST_DIALECT
from shared.domain.addresses import HttpUrl, InvalidAddress
from shared.domain.delivery import SENDERS, Delivery, DeliveryLog, DeliveryState, LogEntry, Next, Reason, Senders
from shared.domain.errors import DeliveryPending, NoWebhook, ResultGone, SealBroken

log = structlog.get_logger()

#: Webhooks sent for one client at the same time, and those of them to receivers that are slow.
PER_CLIENT = 8
PER_CLIENT_SLOW = 4
#: Webhooks sent to one host of a client at the same time.
PER_HOST = 4
#: A receiver is slow when its last try took longer, in seconds.
SLOW_S = 1.0
#: Seconds after which the courier of a try is taken for dead: more than an exchange may last.
SEND_S = 20.0
#: When no courier has looked for so many seconds, Redis was away: couriers may hold outcomes that they could not note.
SILENCE_S = 3.0
#: Seconds in which they note them, before a try is taken for lost: more than they pause and try to connect.
PATIENCE_S = 10.0
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

    def take(self, most: int, free: Senders = SENDERS) -> list[Delivery]:
        """Take up to `most` due webhooks of each lane to send, as far as a courier has free senders.

        A client and a host have limits of their own, see above.
        """
        lanes = (free.quick, SENDERS.quick, PER_CLIENT, free.slow, SENDERS.slow, PER_CLIENT_SLOW)
        times = (_ms(SEND_S), _ms(SLOW_S), _FIRST_TRIES, LOG_LENGTH, _ms(SILENCE_S), _ms(PATIENCE_S))
        taken = self._scripts("take", most, *lanes, PER_HOST, *times)
        return [delivery for row in taken if (delivery := self._delivery(row))]

    def _delivery(self, row: list[Any]) -> Delivery | None:
        """Return a webhook that was taken; None where its address or body cannot be read."""
        job_id, client, url, dialect, body, attempt, sent, reason, slow, trace = row
        try:
            target = HttpUrl.parse(self._envelope.unseal(url, job_id))
            text = self._envelope.unseal(body, job_id)
        except InvalidAddress:
            log.warning("webhook has an address that cannot be opened", job_id=job_id)
            return None
        except SealBroken as error:
            log.warning("webhook cannot be read", job_id=job_id, error=str(error))
            return None
        except ValueError:
            log.warning("webhook is damaged", job_id=job_id)
            return None
        return Delivery(
            job_id=job_id,
            client_id=client,
            url=target,
            dialect=dialect or FIRST_DIALECT,
            body=text.encode(),
            attempt=attempt,
            sent=sent,
            reason=reason,
            slow=bool(slow),
            trace=trace,
        )

    def settle(self, delivery: Delivery, entry: LogEntry, then: Next) -> None:
        """Log a try and note what follows; a courier that was too slow is logged only."""
        at_ms = round(entry.at.timestamp() * 1000)
        line = f"{entry.attempt}:{at_ms}:{entry.duration_ms}:{entry.status or ''}:{entry.reason or ''}"
        answer = self._envelope.seal(entry.answer, delivery.job_id) if entry.answer else ""
        delay = "" if then.delay_s is None else _ms(then.delay_s)
        pace = "slow" if entry.duration_ms > _ms(SLOW_S) else "quick"
        self._scripts("settle", *_which(delivery), line, answer, then.state, entry.reason or "", delay, pace)

    def put_off(self, delivery: Delivery, delay_s: float) -> None:
        """Give back a try that was not made; the webhook is due again. Couriers that were too slow are ignored."""
        self._scripts("put_off", *_which(delivery), delivery.attempt, _ms(delay_s), delivery.reason)

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
        earlier: dict[str, str] = self._redis.hgetall(f"{key}:log")  # type: ignore[assignment]
        try:
            tries = {int(number): self._earlier_entry(line, job_id) for number, line in earlier.items()}
            for number in filter(str.isdecimal, record):
                answer = self._envelope.unseal(sealed, job_id) if (sealed := record.get(f"answer:{number}")) else ""
                tries[int(number)] = _entry(record[number], answer)
        except SealBroken:
            raise _no_webhook() from None
        return DeliveryLog(job_id, DeliveryState(record["state"]), [tries[number] for number in sorted(tries)])

    def _earlier_entry(self, line: str, job_id: str) -> LogEntry:
        """Return a try as an earlier release noted it: `try:ms`, or sealed JSON."""
        if ":" in line:
            return _entry(line, "")
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


def _entry(line: str, answer: str) -> LogEntry:
    attempt, at_ms, *outcome = line.split(":")
    duration_ms, status, reason = outcome or ("0", "", Reason.UNKNOWN)
    return LogEntry(
        attempt=int(attempt),
        at=datetime.fromtimestamp(int(at_ms) / 1000, UTC),
        duration_ms=int(duration_ms),
        status=int(status) if status else None,
        reason=reason or None,
        answer=answer,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
