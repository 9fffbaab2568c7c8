"""The measures: posting, draining, polling, the cost of a queued job, and a second process."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from threading import Event, Thread
from typing import Any

import requests

from shared.domain.commands import Lane
from shared.domain.jobs import Ending, Status
from shared.local.stack import Process, free_port
from shared.names import QueueNames
from tests.load.generator import Load, generate
from tests.load.rig import Rig, rig
from tests.support.apis import api
from tests.support.client import Client, eventually
from tests.support.servers import NAME
from tests.support.sounds import DATA
from tests.support.stacks import first_client, running

_BODY = json.dumps({"url": "https://example.org/a.wav", "webhook": "https://example.org/hook"})
_EMPTIED_EVERY_S = 0.005
#: Jobs are posted so many times as fast as workers do them, by so many threads.
_OVERLOAD = 3
_POSTERS = 4


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 2.0
    instant_jobs: int = 3000
    real_jobs: int = 60
    overload_s: float = 30.0
    queued: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    clients: tuple[int, ...] = (1, 1000)


SHORT = Size(rounds=1, seconds=0.5, instant_jobs=100, real_jobs=3, overload_s=2.0, queued=(10, 100), clients=(1, 10))


def posting(size: Size, processes: int, *, ringing: bool) -> dict[str, Any]:
    """Rate of POST /v1/voiceprint against that of a bare Flask route on the very same server.

    No worker runs. With `ringing`, messages are taken away at once, as by idle workers, so that every POST sends one.
    """
    with rig() as at, _bare(at, processes) as bare, _api(at, processes) as client, _emptied(at, ringing):
        loads = {
            "bare": Load(url=f"{bare}/echo", method="POST", body=_BODY, seconds=size.seconds),
            "post": Load(
                url=f"{client.url}/v1/voiceprint", key=client.key, method="POST", body=_BODY, seconds=size.seconds
            ),
        }
        rounds = [{name: generate(load) for name, load in loads.items()} for _ in range(size.rounds)]
    found = {name: _middle([one[name] for one in rounds]) for name in loads}
    return found | {"ratio": round(found["post"]["rate"] / found["bare"]["rate"], 2)}


def draining(size: Size) -> dict[str, Any]:
    """Jobs that end at once, a second, against raw Celery tasks that do nothing; two processes, the queue full."""
    jobs, raw = [], []
    with rig() as at:
        for _ in range(size.rounds):
            at.submit(size.instant_jobs)
            jobs.append(at.drain("worker.app", 2, at.unfinished))
            raw.append(_drain_raw(at, size.instant_jobs))
    return {"jobs": round(median(jobs), 1), "raw": round(median(raw), 1), "ratio": round(median(jobs) / median(raw), 2)}


def queueing(size: Size) -> list[dict[str, Any]]:
    """Bytes of Redis and microseconds of its scripts that a job costs, by the number of jobs that wait."""
    return [_cost(queued, clients) for clients in size.clients for queued in size.queued]


def scaling(size: Size) -> dict[str, Any]:
    """Real voiceprints a second of a worker with two processes, against one with one."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    clip = (DATA / NAME).read_bytes()
    with rig() as at:
        at.service.save_media("client 0", "clip", [clip], len(clip))
        for _ in range(size.rounds):
            for processes, found in rates.items():
                at.submit(size.real_jobs, "media://clip")
                found.append(at.drain("worker.app", processes, at.unfinished))
    one, two = (median(found) for found in rates.values())
    return {"one": round(one, 2), "two": round(two, 2), "ratio": round(two / one, 2)}


def polling(size: Size, folder: Any) -> dict[str, Any]:
    """Time of GET /v1/jobs/ID while real voiceprints are posted three times as fast as they are made."""
    limits = {"worker_processes": 2, "max_unfinished_jobs": 10**6, "max_job_bytes": 10**12}
    with running(folder, **limits) as stack:
        client = first_client(stack)
        clip = client.upload("clip", (DATA / NAME).read_bytes())
        capacity = _capacity(client, clip, size.real_jobs)
        over = Event()
        began = time.perf_counter()
        posted: list[str] = []
        posters = [
            Thread(target=_post_steadily, args=[client, clip, _OVERLOAD * capacity / _POSTERS, over, posted])
            for _ in range(_POSTERS)
        ]
        for poster in posters:
            poster.start()
        poll = Load(
            url=f"{client.url}/v1/jobs/{client.submit(clip)}", key=client.key, connections=2, seconds=size.overload_s
        )
        found = generate(poll)
        over.set()
        for poster in posters:
            poster.join()
        overload = len(posted) / (time.perf_counter() - began) / capacity
        waiting = client.send("GET", "/readyz").json()["jobsWaiting"]
    return {"capacity": round(capacity, 1), "overload": round(overload, 2), "waiting": waiting} | found


def _capacity(client: Client, url: str, jobs: int) -> float:
    started = time.perf_counter()
    for job_id in [client.submit(url) for _ in range(jobs)]:
        client.wait(job_id, 120)
    return jobs / (time.perf_counter() - started)


def _post_steadily(client: Client, url: str, rate: float, over: Event, posted: list[str]) -> None:
    """Post so many jobs a second, each at its time, whatever the one before took."""
    due = time.perf_counter()
    while not over.wait(max(0.0, due - time.perf_counter())):
        posted.append(client.submit(url))
        due += 1 / rate


def _cost(queued: int, clients: int) -> dict[str, Any]:
    tried = 200
    with rig() as at:
        at.submit(clients, clients=clients)
        at.redis.config_resetstat()
        empty = at.redis.info("memory")["used_memory"]
        at.submit(queued, clients=clients)
        held = at.redis.info("memory")["used_memory"] - empty
        at.redis.config_resetstat()
        for _ in range(tried):
            at.submit(1)
            claim = at.service.jobs.claim(tuple(Lane), "load", 1)
            assert claim
            at.service.jobs.finish(claim, Ending(status=Status.FAILED, output="{}", webhook_body="", webhook_tries=0))
        script = at.redis.info("commandstats")["cmdstat_evalsha"]
    return {
        "queued": queued,
        "clients": clients,
        "bytes_a_job": round(held / queued),
        "script_us_a_job": round(script["usec"] / tried, 1),
    }


def _drain_raw(at: Rig, tasks: int) -> float:
    from tests.load.noop import celery_app

    app = celery_app(at.settings.redis_url)
    for _ in range(tasks):
        app.send_task("noop", ["0e2c1a4e-7a4f-4a67-9f43-0123456789ab"], queue=QueueNames.JOBS, ignore_result=True)
    return at.drain("tests.load.noop", 2, lambda: int(at.redis.llen(QueueNames.JOBS)))


@contextmanager
def _bare(at: Rig, processes: int) -> Iterator[str]:
    given = replace(at.settings, bind=f"127.0.0.1:{free_port()}", api_processes=processes)
    command = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf", "tests.load.bare:app"]
    process = Process("bare Flask", command, given.data_dir / "bare.log", given.environment())
    try:
        eventually(lambda: process.check() or _answers(f"http://{given.bind}/echo"))
        yield f"http://{given.bind}"
    finally:
        process.stop()


@contextmanager
def _api(at: Rig, processes: int) -> Iterator[Client]:
    given = at.settings
    limits = {"max_unfinished_jobs": given.max_unfinished_jobs, "max_job_bytes": given.max_job_bytes}
    rates = {"posts_per_minute": given.posts_per_minute, "reads_per_minute": given.reads_per_minute}
    with api(given.data_dir, given.redis_url, api_processes=processes, **limits, **rates) as client:
        yield client


@contextmanager
def _emptied(at: Rig, ringing: bool) -> Iterator[None]:
    """Take messages away as they come, until the end of the block, if `ringing`."""
    over = Event()

    def empty() -> None:
        while ringing and not over.wait(_EMPTIED_EVERY_S):
            at.redis.delete(QueueNames.JOBS)

    thread = Thread(target=empty)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _answers(url: str) -> bool:
    try:
        return requests.post(url, json={}, timeout=5).ok
    except requests.ConnectionError:
        return False


def _middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the round with the median rate."""
    return sorted(rounds, key=lambda one: float(one["rate"]))[len(rounds) // 2]
