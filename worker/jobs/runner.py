"""Runner of one job, from claim to finish."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from shared.domain.commands import Command, from_record
from shared.domain.errors import InternalError, JobFailure
from shared.domain.jobs import Claim
from shared.domain.results import Result
from shared.job_service import JobService
from worker.voices.progress import Steps

log = structlog.get_logger()


class LeaseLostError(BaseException):
    """The job was canceled, deleted or given to another worker; this one's work counts no more."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runner of jobs, one at a time."""

    service: JobService
    #: Does the work of a client's command, see `Handlers.handle`.
    handle: Callable[[str, Command, Steps], Result]
    #: Seconds between heartbeats, a fraction of the lease.
    beat_s: float
    #: Called when a heartbeat finds the lease lost, from its thread: makes the work stop before its next step.
    interrupt: Callable[[], None] = lambda: None
    #: Says that this worker must stop now: the job in hand is then handed back.
    stopping: Callable[[], bool] = lambda: False

    def run(self, job_id: str) -> None:
        """Do the job if it is still to be done; a doorbell that rings twice finds nothing the second time."""
        claim = self.service.jobs.claim(job_id)
        if claim is None:
            return
        if not self.service.speaks(claim.reply.dialect):
            log.warning("job left to a newer release", job_id=job_id, dialect=claim.reply.dialect)
            self.service.jobs.release(claim)
            return
        with structlog.contextvars.bound_contextvars(job_id=job_id, attempt=claim.attempt):
            try:
                outcome = self._outcome(claim)
                status = self.service.finish(claim, outcome)
            except LeaseLostError:
                status = None
            if status is None:
                log.warning("lease lost: the job was canceled, deleted or given to another worker")
            else:
                log.info("job finished", status=status.value, **_details(outcome))

    def _outcome(self, claim: Claim) -> Result | JobFailure:
        try:
            with self._beating(claim):
                return self._work(claim)
        except LeaseLostError:
            raise
        except JobFailure as failure:
            return failure
        except Exception:
            log.exception("a bug ended the job")
            return InternalError()

    def _work(self, claim: Claim) -> Result:
        def announce(step: str | None, progress: int | None) -> None:
            if not self.service.jobs.beat(claim, step, progress):
                raise LeaseLostError

        return self.handle(claim.client_id, from_record(claim.record), Steps(announce))

    @contextmanager
    def _beating(self, claim: Claim) -> Iterator[None]:
        """Keep the lease alive from another thread while the body works; the networks leave it room to run."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.beat_s):
                if not self._keeps(claim):
                    self.interrupt()

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _keeps(self, claim: Claim) -> bool:
        """Renew the lease, or hand it back. Errors count as renewed: Redis may be back before the lease is over."""
        try:
            if self.stopping():
                self.service.jobs.release(claim)
                return False
            return self.service.jobs.beat(claim)
        except Exception as error:
            log.warning("heartbeat failed", error=type(error).__name__)
            return True


def _details(outcome: Result | JobFailure) -> dict[str, Any]:
    """Return what the log says of an outcome."""
    if isinstance(outcome, JobFailure):
        return {"code": outcome.code}
    return {"timings": {step: round(seconds, 4) for step, seconds in outcome.timings_s.items()}}
