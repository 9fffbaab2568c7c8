"""`make soak`: run the service under a steady mixed load, and see whether memory or Redis's keys grow.

Results and uploads expire after some seconds, so that what is kept is level soon. Then each process's memory and the
number of Redis's keys are sampled, and a line is fitted through them (Theil-Sen, which few outliers cannot move). When
everything has expired, Redis holds no key but those that are kept by intent.

The last line it prints is a JSON object of figures; it ends with status 1 when one of them misses its target.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import requests
from redis import Redis

from shared.local.stack import Process, Stack
from tests.chaos.receivers import Mailbox, receiver
from tests.support.client import Client, eventually
from tests.support.processes import children_of
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, make_client, running

#: Seconds that results and uploads are kept.
RESULT_S = 20
MEDIA_S = 60
_SAMPLE_S = 5.0
_THREADS = 2
_PAUSE_S = 0.25
#: Shorter runs are too short to tell growth from warming up.
_TELLING_MINUTES = 8.0
#: Most growth, in MiB an hour and in keys a minute. Allocators move by some MiB within minutes.
MOST_MIB_AN_HOUR = 12.0
MOST_KEYS_A_MINUTE = 2.0
#: Keys that stay: delivery logs for a week, lists of ids until their time, and what the service itself keeps.
_KEPT = (
    "timbre:delivery:", "timbre:jobs:", "timbre:idempotency:", "timbre:bytes:", "timbre:pace:", "timbre:rate:",
    "timbre:round:", "timbre:leaving", "timbre:forgetting", "timbre:rung", "timbre:models", "timbre:couriers",
    "timbre:calibration:", "timbre:seen", "timbre:agreement", "timbre:served", "timbre:undecided",
    "_kombu.", "unacked",
)  # fmt: skip


class Load:
    """Clients that do a little of everything, until told to stop."""

    def __init__(self, clients: list[Client], hooks: list[str]) -> None:
        self.done: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self._clients = clients
        self._hooks = hooks
        self._over = threading.Event()
        self._clip = sorted(DATA.glob("*.flac"))[0].read_bytes()
        self._voiceprints = {client: self._make_voiceprint(client) for client in clients}
        self._acts: list[Callable[[Client, random.Random], None]] = [
            self._voiceprint, self._voiceprint, self._verify, self._diarize, self._cancel, self._delete, self._lists,
        ]  # fmt: skip
        self._threads = [threading.Thread(target=self._act, args=[number]) for number in range(_THREADS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _act(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._over.wait(_PAUSE_S):
            act = chance.choice(self._acts)
            try:
                act(chance.choice(self._clients), chance)
                self.done[act.__name__.strip("_")] += 1
            except (requests.RequestException, AssertionError) as error:
                self.done[type(error).__name__] += 1

    def _make_voiceprint(self, client: Client) -> str:
        return str(client.run(client.upload("first", self._clip))["output"]["voiceprint"])

    def _upload(self, client: Client, chance: random.Random) -> str:
        # Not another thread's, which may delete it at any time.
        return client.upload(f"clip-{threading.get_ident()}-{chance.randrange(10)}", self._clip)

    def _end(self, client: Client, job_id: str) -> None:
        job = client.wait(job_id, 60)
        self.ends[job["output"].get("code", job["status"])] += 1

    def _voiceprint(self, client: Client, chance: random.Random) -> None:
        self._end(client, client.submit(self._upload(client, chance), webhook=chance.choice(self._hooks)))

    def _verify(self, client: Client, chance: random.Random) -> None:
        body = {"url": self._upload(client, chance), "voiceprint": self._voiceprints[client]}
        self._end(client, client.post("/v1/verify", **body).json()["jobId"])

    def _diarize(self, client: Client, chance: random.Random) -> None:
        self._end(client, client.post("/v1/diarize", url=self._upload(client, chance)).json()["jobId"])

    def _cancel(self, client: Client, chance: random.Random) -> None:
        job_id = client.submit(self._upload(client, chance), webhook=chance.choice(self._hooks))
        client.post(f"/v1/jobs/{job_id}/cancel")

    def _delete(self, client: Client, chance: random.Random) -> None:
        job_id = client.submit(self._upload(client, chance))
        client.wait(job_id, 60)
        client.send("DELETE", f"/v1/jobs/{job_id}")

    def _lists(self, client: Client, _chance: random.Random) -> None:
        for path in ("/v2/jobs", "/v1/media", "/v1/jobs?status=failed", "/openapi.json"):
            assert client.send("GET", path).ok


class Samples:
    """Memory of each process of a stack, in MiB, and Redis's keys, over time in s."""

    def __init__(self, stack: Stack) -> None:
        self.rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._redis: Redis = Redis.from_url(stack.settings.redis_url, decode_responses=True)
        self._processes = stack.processes

    def take(self) -> None:
        """Take a sample of everything."""
        at = time.monotonic()
        for process in self._processes:
            for name, pid in _family(process):
                if size := _rss_mib(pid):
                    self.rows[name].append((at, size))
        memory = self._redis.info("memory")["used_memory"] / 2**20
        self.rows["Redis data"].append((at, memory))
        self.rows["keys"].append((at, sum(not key.startswith(_KEPT) for key in self._redis.scan_iter("*", 1000))))

    def slopes(self, per_s: float) -> dict[str, float]:
        """Return the growth of each row after its first third, in so many seconds."""
        return {name: round(_slope(row[len(row) // 3 :]) * per_s, 2) for name, row in self.rows.items()}

    def left(self) -> dict[str, int]:
        """Count the keys that should be gone, by the pattern of their names."""
        keys = (key for key in self._redis.scan_iter("*", 1000) if not key.startswith(_KEPT))
        return dict(Counter(":".join(key.split(":")[:2]) for key in keys))


def _family(process: Process) -> list[tuple[str, int]]:
    found = [(process.name, process.pid)]
    for number, child in enumerate(sorted(children_of(process.pid))):
        found.append((f"{process.name} child {number}", child))
        found += [(f"{process.name} decoder {number}", helper) for helper in children_of(child)]
    return found


def _rss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), 0.0)


def _slope(row: list[tuple[float, float]]) -> float:
    """Return the median slope of all pairs of points (Theil 1950, Sen 1968), 0 of fewer than two."""
    pairs = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(row[:: max(1, len(row) // 200)], 2)]
    return median(pairs) if pairs else 0.0


def run(minutes: float, folder: Path, result_s: int = RESULT_S) -> dict[str, Any]:
    """Run the load for so many minutes on a service of its own in `folder`; returns the figures."""
    with ExitStack() as everything:
        hooks = [everything.enter_context(receiver(Mailbox())), "http://127.0.0.1:9/refused"]
        short = {"result_ttl_s": result_s, "media_ttl_s": MEDIA_S}
        stack = everything.enter_context(running(folder, worker_processes=2, **LOOPBACK, **short))
        load = Load([first_client(stack), make_client(stack, "other")], hooks)
        samples = Samples(stack)
        load.start()
        ends_at = time.monotonic() + minutes * 60
        while time.monotonic() < ends_at:
            samples.take()
            time.sleep(_SAMPLE_S)
        load.stop()
        eventually(lambda: not samples.left(), 3 * result_s + 60)
        return {
            "minutes": minutes,
            "done": dict(load.done),
            "ends": dict(load.ends),
            "mib_an_hour": {name: slope for name, slope in samples.slopes(3600).items() if name != "keys"},
            "mib": {name: round(row[-1][1], 1) for name, row in samples.rows.items()},
            "keys_a_minute": samples.slopes(60)["keys"],
        }


def missed(figures: dict[str, Any]) -> list[str]:
    """Return the names of the figures that miss their target; a short run can only miss those of its jobs."""
    failed = [end for end in figures["ends"] if end not in ("succeeded", "canceled")]
    failed += [error for error in figures["done"] if error.endswith("Error")]
    if figures["minutes"] >= _TELLING_MINUTES:
        failed += [name for name, slope in figures["mib_an_hour"].items() if slope > MOST_MIB_AN_HOUR]
        failed += ["keys"] if figures["keys_a_minute"] > MOST_KEYS_A_MINUTE else []
    return failed


def main() -> None:
    """Run, print the figures, and say what misses its target."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="timbre-soak-") as folder:
        figures = run(minutes, Path(folder))
    print(json.dumps(figures))
    if failed := missed(figures):
        sys.exit("Missed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
