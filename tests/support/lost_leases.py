"""`python -m tests.support.lost_leases REDIS_URL LOSSES`: a worker's process that loses a job at nearly every step.

Each job cancels itself and ends some microseconds after a heartbeat found the lease lost. So the interrupt breaks in
anywhere: into work, clean-up, and what lies between two jobs. Then come jobs that nobody cancels. Prints how many jobs
were lost, how many were interrupted at work, and what became of the last hundred.
"""

import faulthandler
import json
import random
import sys
import threading
import time
from collections import Counter
from typing import Any

from shared.adapters.redis_client import connect
from shared.domain.commands import Command
from shared.domain.errors import NoSpeech
from shared.domain.jobs import Claim, new_job_id
from shared.domain.results import Result
from tests.support.clock import Clock
from tests.support.records import cancel, job_service, job_store, submission
from worker import tasks
from worker.jobs.heartbeat import Hand, LeaseLostError
from worker.jobs.runner import Runner
from worker.voices.progress import Steps

BEAT_S = 0.002
#: Longest work after a heartbeat found the lease lost, and longest time until it interrupts that.
MOST_S = 0.0002
LAST = 100
#: Seconds after which a process that hangs ends, and tells where: it takes some 15 s.
HANGS_S = 280


class Losses:
    """Jobs of which most are lost."""

    def __init__(self, redis_url: str) -> None:
        self._jobs = job_store(connect(redis_url), Clock())
        self._beat = self._jobs.beat
        self._jobs.beat = self._noted_beat
        # No event: an interrupt that meets its lock in hand, in Python's own code, would leave it closed for good.
        self._found_lost = False
        self._job_id = ""
        self._canceled = True
        self.interrupted = 0

    def make_runner(self, _settings: object, hand: Hand, **_told: object) -> Runner:
        """Stand in for that of `worker.bootstrap`, which loads networks."""
        return Runner(service=job_service(self._jobs), handle=self._handle, beat_s=BEAT_S, hand=hand)

    def run(self, *, canceled: bool) -> str:
        """Run one job; returns its status."""
        self._canceled = canceled
        self._job_id = self._jobs.create(new_job_id(), "c", submission()).id
        tasks.work()
        job = self._jobs.find("c", self._job_id)
        assert job is not None
        return job.status.value

    def _noted_beat(self, *given: Any) -> bool:
        kept = self._beat(*given)
        if not kept:
            self._found_lost = True
            time.sleep(random.uniform(0, MOST_S))
        return kept

    def _handle(self, _claim: Claim, _command: Command, _steps: Steps) -> Result:
        try:
            if self._canceled:
                self._found_lost = False
                cancel(self._jobs, self._job_id, {})
                latest = time.perf_counter() + 1.0
                while not self._found_lost and time.perf_counter() < latest:
                    time.sleep(0.0001)
            ends_at = time.perf_counter() + random.uniform(0, 2 * MOST_S)
            while time.perf_counter() < ends_at:
                pass
        except LeaseLostError:
            self.interrupted += 1
            raise
        raise NoSpeech("Nobody speaks.")


def main(redis_url: str, losses: int) -> None:
    """Lose jobs, then run a hundred to their end."""
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    jobs = Losses(redis_url)
    # Else a thread waits 5 ms for another that computes, and no heartbeat would come in time.
    sys.setswitchinterval(0.0001)
    tasks.make_runner = jobs.make_runner
    tasks.load_runner(None)
    lost = Counter(jobs.run(canceled=True) for _ in range(losses))
    last = Counter(jobs.run(canceled=False) for _ in range(LAST))
    # Heartbeats of jobs that are over end by themselves.
    time.sleep(0.5)
    beating = sum(thread.name == "heartbeat" for thread in threading.enumerate())
    print(json.dumps({"lost": lost, "interrupted": jobs.interrupted, "last": last, "beating": beating}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
