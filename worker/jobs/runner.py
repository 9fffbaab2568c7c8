"""Runner of one job, from claim to finish."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError

from shared.domain.commands import Command, Lane, from_record
from shared.domain.errors import InternalError, JobFailure, SealBroken, WorkerUnavailable
from shared.domain.jobs import MAX_ATTEMPTS, RECORD_FORM, Claim, Status
from shared.domain.results import Result
from shared.job_service import JobService
from shared.telemetry import metrics, tracing
from worker.jobs import traces
from worker.jobs.heartbeat import Hand, LeaseLostError
from worker.voices.progress import Steps

log = structlog.get_logger()

#: Seconds for which a job is left to workers of a newer release, or until the database may be back.
_LEFT_S = 5.0
#: Seconds for which a job rests whose worker lacked something.
_PASSING_S = 2.0
#: Tries to write the end of a job, a heartbeat apart.
_MOST_WRITES = 3


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runner of jobs, one at a time."""

    service: JobService
    #: Does the work of a claimed job's command, see `Handlers.handle`.
    handle: Callable[[Claim, Command, Steps], Result]
    #: Seconds between heartbeats, a fraction of the lease.
    beat_s: float
    #: Name of the worker that this process belongs to, and the number of long jobs that it may run at once.
    worker: str = ""
    most_long: int = 1
    #: Whether long jobs may hold all processes of the worker, so that each must look for short ones too.
    takes_turns: bool = True
    #: Makes the work stop whose lease is lost.
    hand: Hand = field(default_factory=Hand)
    #: Says that this worker must take no more jobs.
    stopping: Callable[[], bool] = lambda: False
    #: Says that it must stop now: the job in hand is then handed back.
    handing_back: Callable[[], bool] = lambda: False

    def run_all(self) -> None:
        """Run jobs until none waits for this process, or it must take no more."""
        last = None
        while not self.stopping():
            try:
                claim = self._next(last)
            except SealBroken as error:
                # It stays leased to nobody, and ends when it was lost often enough.
                log.error("a job cannot be read", reason=str(error))
                continue
            except Exception as error:
                # Redis is away, say; housekeeping rings again.
                log.warning("cannot look for jobs", error=type(error).__name__)
                return
            if claim is None:
                return
            metrics.put(metrics.JOBS_IN_HAND, 1)
            self._run(claim)
            metrics.put(metrics.JOBS_IN_HAND, 0)
            last = claim.lane

    def _next(self, last: Lane | None) -> Claim | None:
        """Claim the job whose turn it is, a long one first where there is room."""
        lanes = (Lane.SHORT, Lane.LONG) if self.takes_turns and last is Lane.LONG else (Lane.LONG, Lane.SHORT)
        return self.service.jobs.claim(lanes, self.worker, self.most_long)

    def _run(self, claim: Claim) -> None:
        if claim.form > RECORD_FORM or not self.service.speaks(claim.reply.dialect):
            dialect = claim.reply.dialect
            log.warning("job left to a newer release", job_id=claim.job_id, dialect=dialect, form=claim.form)
            self._hand_back(claim, "newer_release", rest_s=_LEFT_S)
            return
        if claim.fence == 1:
            metrics.observe(metrics.JOB_WAIT_SECONDS, claim.age_s, lane=claim.lane)
        steps = self._steps(claim)
        known = {"job_id": claim.job_id, "client_id": claim.client_id, "attempt": claim.attempt}
        with structlog.contextvars.bound_contextvars(**known), traces.attempt(claim):
            try:
                outcome = self._outcome(claim, steps)
            except LeaseLostError:
                _log_lost()
            except OperationalError as error:
                # Not counted as an attempt: no job causes it, and a database that restarts is soon back.
                log.warning("the database is away; job handed back", error=type(error.orig).__name__)
                tracing.note(error="database_away")
                self._hand_back(claim, "database_away", rest_s=_LEFT_S)
            else:
                self._settle(claim, outcome, steps)
        # Here no interrupt breaks in.
        metrics.count(metrics.AUDIO_SECONDS, steps.audio_s, kind=claim.kind)

    def _outcome(self, claim: Claim, steps: Steps) -> Result | JobFailure:
        try:
            return self.hand.work(lambda: self._work(claim, steps), lambda: self._keeps(claim), self.beat_s)
        except JobFailure as failure:
            return failure
        except OperationalError:
            raise
        except (OSError, MemoryError) as error:
            # No file and no address raises these here: the disk, the memory or the processes of this machine do.
            log.warning("this worker lacks something", error=type(error).__name__, errno=getattr(error, "errno", None))
            return WorkerUnavailable("The worker ran out of memory, disk or processes; try again later.")
        except Exception:
            log.exception("a bug ended the job")
            return InternalError()

    def _steps(self, claim: Claim) -> Steps:
        def announce(step: str | None, progress: int | None) -> None:
            if not self._renews(claim, step, progress):
                raise LeaseLostError

        return Steps(announce, tracing.span)

    def _work(self, claim: Claim, steps: Steps) -> Result:
        return self.handle(claim, from_record(claim.record), steps)

    def _keeps(self, claim: Claim) -> bool:
        """Renew the lease, or hand the job back."""
        return not self._hand_back(claim, "stopping") if self.handing_back() else self._renews(claim)

    def _hand_back(self, claim: Claim, reason: str, rest_s: float = 0.0) -> bool:
        """Release the claim, its attempt not counted; False while the store is away."""
        try:
            if self.service.jobs.release(claim, rest_s=rest_s):
                metrics.count(metrics.JOBS_HANDED_BACK, reason=reason)
        except Exception as error:
            log.warning("job not handed back yet", error=type(error).__name__)
            return False
        return True

    def _renews(self, claim: Claim, step: str | None = None, progress: int | None = None) -> bool:
        """Renew the lease. Errors count as renewed: the store may be back before the lease is over."""
        try:
            return self.service.jobs.beat(claim, step, progress)
        except Exception as error:
            log.warning("heartbeat failed", error=type(error).__name__)
            return True

    def _settle(self, claim: Claim, outcome: Result | JobFailure, steps: Steps) -> None:
        """End the job, or hand it back; a store that refuses writes is tried for about a lease."""
        for _ in range(_MOST_WRITES):
            try:
                return self._write(claim, outcome, steps)
            except Exception as error:
                log.warning("the end of a job cannot be written", error=type(error).__name__)
                if self.handing_back():
                    break
                time.sleep(self.beat_s)
        # Nobody renews the lease any more.
        log.error("the end of a job was not written; the job runs again when its lease is over")

    def _write(self, claim: Claim, outcome: Result | JobFailure, steps: Steps) -> None:
        if isinstance(outcome, JobFailure) and outcome.passing and claim.attempt < MAX_ATTEMPTS:
            said = "job handed back"
            status = Status.CREATED if self.service.jobs.release(claim, rest_s=_PASSING_S, counted=True) else None
        else:
            said = "job finished"
            status = self.service.finish(claim, outcome)
        if status is None:
            _log_lost()
            return
        log.info(said, status=status.value, **_details(outcome))
        tracing.note({"job.status": status}, error=outcome.code if isinstance(outcome, JobFailure) else None)
        if isinstance(outcome, JobFailure) and status is Status.CREATED:
            metrics.count(metrics.JOBS_HANDED_BACK, reason=outcome.code)
        else:
            _observe_steps(claim, steps)


def _observe_steps(claim: Claim, steps: Steps) -> None:
    for step, seconds in steps.seconds.items():
        metrics.observe(metrics.STEP_SECONDS, seconds, kind=claim.kind, step=step)


def _log_lost() -> None:
    tracing.note(error="lease_lost")
    log.warning("lease lost: the job was canceled, deleted or given to another worker")


def _details(outcome: Result | JobFailure) -> dict[str, Any]:
    """Return what the log says of an outcome."""
    if isinstance(outcome, JobFailure):
        return {"code": outcome.code}
    return {"timings": {step: round(seconds, 4) for step, seconds in outcome.timings_s.items()}}
