"""Processes of the service, and the harm that is done to them."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from redis import Redis

from shared.local.stack import Process, Stack
from tests.chaos.plan import Plan
from tests.support.processes import children_of

#: Seconds for which Redis stands still, or is gone, in a short run.
_FREEZE_S = 4.0
_GONE_S = 1.5
#: Seconds for which Redis refuses to write, and an API is not harmed again after its kill.
_REFUSING_S = 4.0
_API_S = 4.0


@dataclass(frozen=True)
class Harm:
    """Something that was done to the service."""

    kind: str
    #: Seconds since the epoch.
    at: float
    #: Until when it went on by itself.
    until: float


class Fleet:
    """The processes of the service, and what is done to them.

    ==============  =======================================================================================
    `worker`        a worker with its children is killed, and started again
    `courier`       the same with a courier
    `api`           the same with the API
    `child`         one child of a worker is killed
    `decoder`       one helper that decodes is killed
    `pause`         a worker stands still for longer than a lease
    `redis`         Redis is killed, and started again after a while
    `freeze`        Redis stands still for a while
    `full`          Redis has no room: OOM
    `readonly`      Redis is a replica: READONLY
    `noreplicas`    Redis misses replicas of its own: NOREPLICAS
    ==============  =======================================================================================
    """

    def __init__(self, stack: Stack, plan: Plan) -> None:
        self.redis, self.api, worker, courier = stack.processes
        self.workers = [worker, *(stack.start_worker(f"worker-{n}.log") for n in range(2, plan.workers + 1))]
        self.couriers = [courier, *(stack.start_courier(f"courier-{n}.log") for n in range(2, plan.couriers + 1))]
        self.harms: list[Harm] = []
        self._url = stack.settings.redis_url
        self._random = random.Random(plan.seed)
        self._lease_s = plan.lease_s
        self._freezes_s = cycle(plan.away_s(_FREEZE_S))
        self._kills_s = cycle(plan.away_s(_GONE_S))
        self._starts = Counter([*self.workers, *self.couriers])
        self._away: set[Process] = set()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._victims: dict[str, list[Process]] = {
            "worker": self.workers, "child": self.workers, "decoder": self.workers, "pause": self.workers,
            "courier": self.couriers, "api": [self.api],
        }  # fmt: skip
        self._does: dict[str, Callable[[Any], float]] = {
            "worker": self._kill, "courier": self._kill, "api": self._kill_api,
            "child": self._kill_child, "decoder": self._kill_decoder, "pause": self._pause,
            "redis": self._kill_redis, "freeze": self._freeze,
            "full": lambda _: self._refuse(("CONFIG SET", "maxmemory", "1"), ("CONFIG SET", "maxmemory", "0")),
            "readonly": lambda _: self._refuse(("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
            "noreplicas": lambda _: self._refuse(
                ("CONFIG SET", "min-replicas-to-write", "1"), ("CONFIG SET", "min-replicas-to-write", "0")
            ),
        }  # fmt: skip

    @property
    def whole(self) -> bool:
        """Whether nothing is stopped or waits to be started."""
        return not self._later

    def tick(self) -> None:
        """Do what has become due: go on with what was stopped, start what was killed."""
        due = [entry for entry in self._later if entry[0] <= time.monotonic()]
        self._later = [entry for entry in self._later if entry not in due]
        for _, action in due:
            action()

    def harm(self, kind: str) -> bool:
        """Do one kind of harm to somebody who is up and about; False when there is nobody."""
        victims = [process for process in self._victims.get(kind, [self.redis]) if self._fit(process)]
        if not victims:
            return False
        at = time.time()
        lasts_s = self._does[kind](self._random.choice(victims))
        self.harms.append(Harm(kind, at, at + lasts_s))
        return True

    def _fit(self, process: Process) -> bool:
        if process in self._away:
            return False
        starts = self._starts[process]
        return process.log.read_text(errors="replace").count(f"{process.name} ready") >= starts if starts else True

    def _kill(self, process: Process) -> float:
        process.kill()
        process.start()
        self._starts[process] += 1
        return 0.0

    def _kill_api(self, api: Process) -> float:
        api.kill()
        api.start()
        self._after(_API_S, api, lambda: None)
        return _API_S

    def _kill_child(self, worker: Process) -> float:
        _kill_one(self._random, children_of(worker.pid))
        return 0.0

    def _kill_decoder(self, worker: Process) -> float:
        helpers = {helper for child in children_of(worker.pid) for helper in children_of(child)}
        _kill_one(self._random, helpers)
        return 0.0

    def _pause(self, worker: Process) -> float:
        lasts_s = self._lease_s + self._random.uniform(1, 2)
        self._stop(worker, lasts_s)
        return lasts_s

    def _freeze(self, redis: Process) -> float:
        lasts_s = next(self._freezes_s)
        self._stop(redis, lasts_s)
        return lasts_s

    def _stop(self, process: Process, lasts_s: float) -> None:
        os.killpg(process.pid, signal.SIGSTOP)
        self._after(lasts_s, process, lambda: os.killpg(process.pid, signal.SIGCONT))

    def _kill_redis(self, redis: Process) -> float:
        lasts_s = next(self._kills_s)
        redis.kill()
        self._after(lasts_s, redis, redis.start)
        return lasts_s

    def _refuse(self, start: tuple[str, ...], end: tuple[str, ...]) -> float:
        self._command(start)
        self._after(_REFUSING_S, self.redis, lambda: self._command(end))
        return _REFUSING_S

    def _command(self, command: tuple[str, ...]) -> None:
        with Redis.from_url(self._url, socket_timeout=10) as redis:
            redis.execute_command(*command)

    def _after(self, delay_s: float, process: Process, action: Callable[[], None]) -> None:
        self._away.add(process)

        def bring_back() -> None:
            action()
            self._away.remove(process)

        self._later.append((time.monotonic() + delay_s, bring_back))


def _kill_one(chance: random.Random, processes: set[int]) -> None:
    if processes:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(sorted(processes)), signal.SIGKILL)
