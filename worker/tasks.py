"""The one task, and the life of the processes that run it."""

import os
import signal
import sys
from multiprocessing.sharedctypes import RawValue
from types import FrameType

from celery import Celery

from shared.names import TaskNames
from shared.settings import Settings
from worker.bootstrap import make_runner
from worker.jobs.runner import LeaseLostError, Runner

#: Breaks into a job whose lease is lost. Celery itself uses the first of the two user signals.
_INTERRUPT = signal.SIGUSR2

#: Set by the parent, seen by its children, when jobs in hand must be handed back. A bare byte of shared memory: an
#: Event has a lock, which a child that is killed while it looks would keep for ever.
_hand_back = RawValue("b", 0)

_runner: Runner | None = None
_working = False


def load_runner(settings: Settings) -> None:
    """Load the networks of this process. Called in each child after the fork: they do not survive one."""
    global _runner
    signal.signal(_INTERRUPT, _break_off)
    sys.unraisablehook = report_unraisable
    _runner = make_runner(settings, lambda: os.kill(os.getpid(), _INTERRUPT), lambda: bool(_hand_back.value))


def hand_back() -> None:
    """Have every child hand back the job it has in hand at its next heartbeat."""
    _hand_back.value = 1


def run_job(job_id: str) -> None:
    """Do a job."""
    global _working
    assert _runner is not None, "the child was not initialised"
    _working = True
    try:
        _runner.run(job_id)
    except LeaseLostError:
        pass  # the signal came between the last step and the end
    finally:
        _working = False


def _break_off(_signal: int, _frame: FrameType | None) -> None:
    """Raise in the main thread, wherever it is: in a slow download, say."""
    if _working:
        raise LeaseLostError


def report_unraisable(failure: "sys.UnraisableHookArgs") -> None:
    """Report what a finalizer raised, unless it is the signal that broke into it: the next heartbeat sends another."""
    if not isinstance(failure.exc_value, LeaseLostError):
        sys.__unraisablehook__(failure)


def register(app: Celery) -> None:
    """Make the tasks known to `app` by the names they are sent under."""
    app.task(run_job, name=TaskNames.RUN_JOB)
