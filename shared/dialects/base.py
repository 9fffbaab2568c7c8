"""Dialect, the interface: everything about a job that a vendor's wire form decides."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from shared.domain.delivery import Delivery
from shared.domain.errors import Canceled, JobFailure, TimbreError
from shared.domain.jobs import Ending, Reply, Status, WebhookContent
from shared.domain.results import Result, audio_seconds
from shared.domain.turns import TurnExport


class Dialect(ABC):
    """Wire form of one vendor's API."""

    #: Stored with every job.
    name: ClassVar[str]
    #: Retry schedule of webhooks: seconds before each try after the one before, the first included.
    delays_s: ClassVar[Sequence[float]]

    @abstractmethod
    def output(self, result: Result) -> str:
        """Render a result as JSON text; raises TypeError or ValueError for what JSON does not know, such as NaN."""

    @abstractmethod
    def failure(self, failure: JobFailure) -> str:
        """Render the output of a job without result as JSON text."""

    @abstractmethod
    def reason(self, output: str) -> tuple[str, str]:
        """Return code and message of an output that `failure` rendered."""

    @abstractmethod
    def turns(self, output: str) -> TurnExport | None:
        """Return the turns in an output that `output` rendered; None where it holds none."""

    @abstractmethod
    def webhook_body(self, job_id: str, status: Status, output: str | None) -> str:
        """Render what a webhook carries, as JSON text; `output` is None where only the status was asked for."""

    @abstractmethod
    def webhook_headers(self, delivery: Delivery, secrets: Sequence[str], now_s: int) -> dict[str, str]:
        """Return the headers of one try, signed with each of `secrets`, the oldest first."""

    @abstractmethod
    def error(self, error: TimbreError, request_id: str, fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the body of an error answer; `fields` are (field, message) of each part that is wrong."""

    def ending(self, job_id: str, reply: Reply, outcome: Result | JobFailure) -> Ending:
        """Render the end of a job, once for polling and its webhook."""
        status = _status(outcome)
        output = self.failure(outcome) if isinstance(outcome, JobFailure) else self.output(outcome)
        body = ""
        if reply.webhook is not WebhookContent.NOTHING:
            told = output if reply.webhook is WebhookContent.RESULT else None
            body = self.webhook_body(job_id, status, told)
        return Ending(
            status=status,
            output=output,
            webhook_body=body,
            webhook_tries=len(self.delays_s),
            audio_s=None if isinstance(outcome, JobFailure) else audio_seconds(outcome),
        )


def _status(outcome: Result | JobFailure) -> Status:
    if isinstance(outcome, Canceled):
        return Status.CANCELED
    return Status.FAILED if isinstance(outcome, JobFailure) else Status.SUCCEEDED


def compact(body: Mapping[str, Any]) -> str:
    """Return `body` as JSON without spaces, in ASCII: receivers that re-serialise before they verify do it so.

    Raises TypeError or ValueError for what JSON does not know, such as NaN.
    """
    return json.dumps(body, allow_nan=False, separators=(",", ":"))
