"""Spans of a job: its wait, and each attempt."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.domain.jobs import Claim
from shared.telemetry import tracing


@contextmanager
def attempt(claim: Claim) -> Iterator[None]:
    """Run an attempt in a span of its job, beside a span of the time that the job waited.

    A worker that is killed tells of no attempt; the wait before it is then all that is seen of it.
    """
    facts: tracing.Attributes = {
        "job.id": claim.job_id,
        "job.kind": claim.kind,
        "job.lane": claim.lane,
        "job.attempt": claim.attempt,
        "client.id": claim.client_id,
    }
    tracing.past("wait", claim.waited_s, parent=claim.trace, attributes=facts)
    with tracing.span(f"job {claim.kind}", "consumer", parent=claim.trace, attributes=facts):
        yield
