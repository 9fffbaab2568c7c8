"""Span of a try to deliver a webhook; what is sent holds nothing of it."""

from contextlib import AbstractContextManager

from shared.domain.delivery import Delivery, LogEntry, Next
from shared.telemetry import tracing


def delivery(one: Delivery) -> AbstractContextManager[None]:
    """Return the span of a try, in the trace of its job."""
    facts: tracing.Attributes = {"job.id": one.job_id, "client.id": one.client_id, "webhook.attempt": one.attempt}
    return tracing.span("webhook", "client", parent=one.trace, attributes=facts)


def settled(entry: LogEntry, then: Next) -> None:
    """Note how the try went."""
    facts: tracing.Attributes = {
        "webhook.state": then.state,
        "webhook.reason": entry.reason,
        "http.response.status_code": entry.status,
    }
    tracing.note(facts, error=entry.reason)
