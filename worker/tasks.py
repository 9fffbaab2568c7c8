"""Celery task that runs jobs, and the set-up of the processes that run them."""

import os
import signal
import sys
from multiprocessing.sharedctypes import RawValue

from celery import Celery

from shared.names import TaskNames
from shared.settings import Settings
from worker.bootstrap import make_runner
from worker.jobs.heartbeat import Hand, LeaseLostError
from worker.jobs.runner import Runner

#: Signal that interrupts a job whose lease is lost. Celery uses SIGUSR1 itself.
_INTERRUPT = signal.SIGUSR2

#: What the parent wants of its children. A bare byte of shared memory: the lock of an Event would stay locked if a
#: child were killed while it reads.
_wanted = RawValue("b", 0)
_TAKE_NO_MORE = 1
_HAND_BACK = 2

_hand = Hand(interrupt=lambda: os.kill(os.getpid(), _INTERRUPT))
_runner: Runner | None = None


def load_runner(settings: Settings) -> None:
    """Load the networks of this child process, after the fork, which they would not survive."""
    global _runner
    # The main thread may be in a slow download, say.
    signal.signal(_INTERRUPT, lambda *_: _hand.break_off())
    sys.unraisablehook = report_unraisable
    _runner = make_runner(
        settings,
        _hand,
        stopping=lambda: _wanted.value >= _TAKE_NO_MORE,
        handing_back=lambda: _wanted.value >= _HAND_BACK,
    )


def take_no_more() -> None:
    """Make every child end its work after the job in hand."""
    _wanted.value = _TAKE_NO_MORE


def hand_back() -> None:
    """Make every child hand back its job at its next heartbeat."""
    _wanted.value = _HAND_BACK


def work(*_job_id: str) -> None:
    """Run jobs until none waits; releases without turns name a job, which waits like all others."""
    assert _runner is not None, "the child was not initialised"
    _runner.run_all()


def report_unraisable(failure: "sys.UnraisableHookArgs") -> None:
    """Report an exception in a finalizer, unless it is the interrupt, which the next heartbeat sends again."""
    if isinstance(failure.exc_value, LeaseLostError):
        _hand.break_off_again()
    else:
        sys.__unraisablehook__(failure)


def register(app: Celery) -> None:
    """Register the tasks with `app` under the names by which they are sent."""
    for name in (TaskNames.WORK, TaskNames.RUN_JOB):
        app.task(work, name=name)
