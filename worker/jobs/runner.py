"""Runner of one job, from claim to finish."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from shared.domain.commands import Command, from_record
from shared.domain.errors import InternalError, JobFailure, WorkerUnavailable
from shared.domain.jobs import MAX_ATTEMPTS, Claim, Status
from shared.domain.results import Result
from shared.job_service import JobService
from worker.jobs.heartbeat import Hand, LeaseLostError
from worker.voices.progress import Steps

log = structlog.get_logger()

#: Tries to write the end of a job, a heartbeat apart.
_MOST_WRITES = 3


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runner of jobs, one at a time."""

    service: JobService
    #: Does the work of a client's command, see `Handlers.handle`.
    handle: Callable[[str, Command, Steps], Result]
    #: Seconds between heartbeats, a fraction of the lease.
    beat_s: float
    #: Makes the work stop whose lease is lost.
    hand: Hand = field(default_factory=Hand)
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
            except LeaseLostError:
                _log_lost()
            else:
                self._settle(claim, outcome)

    def _outcome(self, claim: Claim) -> Result | JobFailure:
        try:
            return self.hand.work(lambda: self._work(claim), lambda: self._keeps(claim), self.beat_s)
        except JobFailure as failure:
            return failure
        except (OSError, MemoryError) as error:
            # No file and no address raises these here: the disk, the memory or the processes of this machine do.
            log.warning("this worker lacks something", error=type(error).__name__, errno=getattr(error, "errno", None))
            return WorkerUnavailable("The worker ran out of memory, disk or processes; try again later.")
        except Exception:
            log.exception("a bug ended the job")
            return InternalError()

    def _work(self, claim: Claim) -> Result:
        def announce(step: str | None, progress: int | None) -> None:
            if not self._renews(claim, step, progress):
                raise LeaseLostError

        return self.handle(claim.client_id, from_record(claim.record), Steps(announce))

    def _keeps(self, claim: Claim) -> bool:
        """Renew the lease, or hand the job back."""
        if not self.stopping():
            return self._renews(claim)
        try:
            self.service.jobs.release(claim)
        except Exception as error:
            log.warning("job not handed back yet", error=type(error).__name__)
            return True
        return False

    def _renews(self, claim: Claim, step: str | None = None, progress: int | None = None) -> bool:
        """Renew the lease. Errors count as renewed: the store may be back before the lease is over."""
        try:
            return self.service.jobs.beat(claim, step, progress)
        except Exception as error:
            log.warning("heartbeat failed", error=type(error).__name__)
            return True

    def _settle(self, claim: Claim, outcome: Result | JobFailure) -> None:
        """End the job, or hand it back; a store that refuses writes is tried for about a lease."""
        for _ in range(_MOST_WRITES):
            try:
                return self._write(claim, outcome)
            except Exception as error:
                log.warning("the end of a job cannot be written", error=type(error).__name__)
                if self.stopping():
                    break
                time.sleep(self.beat_s)
        # Nobody renews the lease any more.
        log.error("the end of a job was not written; the job runs again when its lease is over")

    def _write(self, claim: Claim, outcome: Result | JobFailure) -> None:
        if isinstance(outcome, JobFailure) and outcome.passing and claim.attempt < MAX_ATTEMPTS:
            said = "job handed back"
            status = Status.CREATED if self.service.jobs.release(claim, counted=True) else None
        else:
            said = "job finished"
            status = self.service.finish(claim, outcome)
        if status is None:
            _log_lost()
        else:
            log.info(said, status=status.value, **_details(outcome))


def _log_lost() -> None:
    log.warning("lease lost: the job was canceled, deleted or given to another worker")


def _details(outcome: Result | JobFailure) -> dict[str, Any]:
    """Return what the log says of an outcome."""
    if isinstance(outcome, JobFailure):
        return {"code": outcome.code}
    return {"timings": {step: round(seconds, 4) for step, seconds in outcome.timings_s.items()}}
