"""Webhook sender: one try, its outcome, and the decision to retry."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from shared.dialects import Dialects
from shared.domain.delivery import Delivery, LogEntry, Outcome, Reason, follow_up
from shared.ports import DeliveryOutcomes
from shared.telemetry import metrics
from worker.egress import (
    POST_REDIRECTS,
    AddressRefused,
    Answer,
    BadCertificate,
    ConnectionBroken,
    Egress,
    EgressError,
    EgressTimeout,
    TooManyRedirects,
)
from worker.webhooks import traces

log = structlog.get_logger()

#: Wall clock for the whole exchange, redirects included.
TIMEOUT_S = 10.0
MAX_REDIRECTS = 2
#: Seconds until a webhook whose secrets could not be read is due again.
PUT_OFF_S = 5.0
#: How much of an answer is read, and kept in the log.
ANSWER_BYTES = 256

_REASONS: dict[type[EgressError], Reason] = {
    EgressTimeout: Reason.TIMEOUT,
    TooManyRedirects: Reason.REDIRECTS,
    BadCertificate: Reason.SSL,
    ConnectionBroken: Reason.CONNECTION,
    AddressRefused: Reason.ADDRESS,
}


@dataclass(frozen=True, kw_only=True)
class Deliverer:
    """Sender of the webhooks that a courier has taken."""

    deliveries: DeliveryOutcomes
    #: Client id -> the secrets that sign for it, the oldest first; none for a client that was revoked.
    secrets: Callable[[str], list[str]]
    egress: Egress
    dialects: Dialects
    https_only: bool
    timeout_s: float = TIMEOUT_S

    def deliver(self, delivery: Delivery) -> None:
        """Send a webhook and log the try; put it off and raise while its secrets cannot be read."""
        if delivery.dialect not in self.dialects:
            log.warning("webhook left to a newer release", job_id=delivery.job_id, dialect=delivery.dialect)
            return self.deliveries.put_off(delivery, PUT_OFF_S)
        try:
            secrets = self.secrets(delivery.client_id)
        except Exception:
            # Our own database is away, which is no fault of the receiver's: nothing was sent, so no try is lost.
            self.deliveries.put_off(delivery, PUT_OFF_S)
            raise
        self._send(delivery, secrets)

    def _send(self, delivery: Delivery, secrets: list[str]) -> None:
        at = datetime.now(UTC)
        started = time.perf_counter()
        outcome = self._outcome(delivery, secrets) if secrets else Outcome(reason=Reason.REVOKED)
        seconds = time.perf_counter() - started
        then = follow_up(outcome, delivery.attempt, self.dialects[delivery.dialect].delays_s)
        entry = LogEntry(
            attempt=delivery.attempt,
            at=at,
            duration_ms=round(seconds * 1000),
            status=outcome.status,
            reason=outcome.reason,
            answer=outcome.answer,
        )
        self.deliveries.settle(delivery, entry, then)
        metrics.count(
            metrics.DELIVERIES,
            state=then.state,
            reason=outcome.reason or metrics.NONE,
            attempt=str(delivery.attempt),
        )
        metrics.observe(metrics.DELIVERY_SECONDS, seconds)
        traces.settled(entry, then)
        log.info(
            "webhook", job_id=delivery.job_id, attempt=delivery.attempt, reason=outcome.reason, state=then.state.value
        )

    def _outcome(self, delivery: Delivery, secrets: list[str]) -> Outcome:
        try:
            headers = self.dialects[delivery.dialect].webhook_headers(delivery, secrets, int(time.time()))
            return self._post(delivery, headers)
        except EgressError as error:
            return Outcome(reason=_REASONS[type(error)], answer=str(error))
        except Exception:
            log.exception("a bug kept a webhook from being sent", job_id=delivery.job_id)
            return Outcome(reason=Reason.UNKNOWN)

    def _post(self, delivery: Delivery, headers: dict[str, str]) -> Outcome:
        with self.egress.request(
            "POST",
            delivery.url,
            body=delivery.body,
            headers=headers,
            deadline_s=self.timeout_s,
            max_redirects=MAX_REDIRECTS,
            redirect_statuses=POST_REDIRECTS,
            https_only=self.https_only,
        ) as answer:
            return _judged(answer)


def _judged(answer: Answer) -> Outcome:
    return Outcome(
        reason=None if 200 <= answer.status < 300 else Reason.HTTP,
        status=answer.status,
        answer=answer.read(ANSWER_BYTES).decode(errors="replace"),
        retry_after_s=answer.retry_after_s,
    )
