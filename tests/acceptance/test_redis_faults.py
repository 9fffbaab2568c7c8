"""Redis hangs, dies, has no room, or the line to it goes dead: the API says so, and work goes on when it is back."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from redis import Redis

from shared.local.stack import Process, RedisServer, Stack
from tests.support.client import Client, Json, eventually, voiceprint
from tests.support.servers import NAME, AudioHost, Link, gated, link
from tests.support.stacks import LOOPBACK, first_client, running

pytestmark = pytest.mark.alone

ANSWER_WITHIN_S = 5.0
WORK_WITHIN_S = 15.0
#: Longer than a worker tries to tell Redis of a step.
AWAY_S = 20.0
#: The best counts: the machine itself may stand still for a moment.
ROUNDS = 3
#: Each counts. All but the first meet messages on their way, which were sent again for the job that waited.
MOMENTS = 3
ROUTES = [
    ("POST", "/v1/voiceprint", {"url": "media://x"}),
    ("GET", "/v1/jobs/{}", None),
    ("GET", "/v1/jobs/{}/deliveries", None),
    ("POST", "/v1/jobs/{}/cancel", None),
    ("POST", "/v1/jobs/{}/redeliver", None),
    ("DELETE", "/v1/jobs/{}", None),
    ("GET", "/readyz", None),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("faults"), worker_processes=1, **LOOPBACK) as stack:
        yield stack


@pytest.fixture(scope="module")
def redis(service: Stack) -> Process:
    return service.processes[0]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    folder = tmp_path_factory.mktemp("line")
    server = RedisServer(folder / "redis", folder / "redis.log")
    server.wait()
    with link(server.url.removeprefix("unix://")) as line:
        yield line
    server.stop()


@pytest.fixture(scope="module")
def linked(line: Link, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service whose Redis is at the other end of `line`."""
    url = f"redis://127.0.0.1:{line.port}/0"
    with running(tmp_path_factory.mktemp("linked"), redis_url=url, worker_processes=1, **LOOPBACK) as stack:
        yield stack


def refusal(client: Client, method: str, path: str, body: Json | None) -> float:
    """Check that a route says 503 and when to come back; returns after how many seconds."""
    started = time.monotonic()
    answer = client.send(method, path, json=body)
    assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5"), (path, answer.text)
    return round(time.monotonic() - started, 2)


def refusals(client: Client, job_id: str) -> list[float]:
    """Ask every route at once."""
    with ThreadPoolExecutor(len(ROUTES)) as pool:
        return list(pool.map(lambda route: refusal(client, route[0], route[1].format(job_id), route[2]), ROUTES))


def submitted(client: Client) -> str | None:
    """Try to submit a job; None when the service is away."""
    answer = client.post("/v1/voiceprint", url="media://nothing")
    return answer.json()["jobId"] if answer.status_code == 200 else None


def seconds_to_work(client: Client) -> float:
    """Return how long it takes from now until a new job has been done."""
    started = time.monotonic()
    client.wait(eventually(lambda: submitted(client)))
    return round(time.monotonic() - started, 2)


def broken(client: Client, break_it: Callable[[], None], mend_it: Callable[[], None]) -> tuple[float, float]:
    """Break the way to Redis, ask every route, and mend it.

    Returns after how many seconds the last route said no, and after how many more work went on.
    """
    job_id = client.run("media://nothing")["jobId"]
    break_it()
    try:
        refused = refusals(client, job_id)
    finally:
        mend_it()
    return max(refused), seconds_to_work(client)


@contextmanager
def no_room(service: Stack) -> Iterator[None]:
    """Have Redis refuse every write, as it does when its disk is full: here because a folder stands for its dump."""
    dump = service.settings.data_dir / "redis" / "dump.rdb"
    with Redis.from_url(service.settings.redis_url) as server:
        dump.mkdir()
        server.config_set("save", "3600 1000000")
        server.bgsave()
        try:
            yield
        finally:
            server.config_set("save", "")
            dump.rmdir()


def check(client: Client, break_it: Callable[[], None], mend_it: Callable[[], None]) -> None:
    """Break the way to Redis and mend it until both take no longer than they may."""
    for _ in range(ROUNDS):
        refused_s, back_s = broken(client, break_it, mend_it)
        print(f"every route refused after {refused_s} s; work again after {back_s} s")
        if refused_s < ANSWER_WITHIN_S and back_s < WORK_WITHIN_S:
            return
    pytest.fail("Redis was away, and it took too long to say so or to go on")


def test_a_redis_that_hangs_is_reported_within_five_seconds_by_every_route(service: Stack, redis: Process) -> None:
    check(
        first_client(service),
        lambda: os.kill(redis.pid, signal.SIGSTOP),
        lambda: os.kill(redis.pid, signal.SIGCONT),
    )


def test_a_redis_that_is_killed_is_reported_at_once_and_its_jobs_survive(service: Stack, redis: Process) -> None:
    check(first_client(service), redis.kill, redis.start)


def test_a_line_that_goes_dead_is_reported_and_work_goes_on_when_it_is_back(linked: Stack, line: Link) -> None:
    check(first_client(linked), line.cut, line.heal)


def test_a_line_that_was_dead_for_a_moment_keeps_no_job_waiting(linked: Stack, line: Link) -> None:
    client = first_client(linked)
    for _ in range(MOMENTS):
        line.cut()
        line.heal()
        seconds_to_work(client)


def test_a_redis_with_no_room_on_its_disk_ends_no_worker(service: Stack, redis: Process) -> None:
    client = first_client(service)
    worker = next(process for process in service.processes if process.name == "worker")
    with no_room(service):
        eventually(lambda: "MISCONF" in worker.log.read_text())
        refusal(client, "POST", "/v1/voiceprint", {"url": "media://x"})
    seconds_to_work(client)
    assert all(process.alive for process in service.processes)


def test_a_redis_that_is_away_for_longer_than_a_worker_tries_fails_no_job(host: AudioHost, tmp_path: Path) -> None:
    # Within so long a lease nobody else takes the job.
    with running(tmp_path, worker_processes=1, lease_s=60.0, **LOOPBACK) as service:
        client = first_client(service)
        redis = service.processes[0]
        job_id = client.submit(gated(host))
        eventually(lambda: host.hits[f"/gated/{NAME}"] >= 1)
        redis.kill()
        # The next steps of the job are told to nobody.
        host.gate.set()
        time.sleep(AWAY_S)
        redis.start()
        voiceprint(eventually(lambda: ended(client, job_id), 120.0))


def ended(client: Client, job_id: str) -> Json | None:
    """Return a job that has ended; None before, and while the service is away."""
    answer = client.send("GET", f"/v1/jobs/{job_id}")
    job: Json = answer.json()
    return job if answer.status_code == 200 and job["status"] not in ("created", "running") else None


def test_requests_that_need_no_redis_are_answered_without_it(service: Stack, redis: Process) -> None:
    client = first_client(service)
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        assert client.send("GET", "/v1/test").status_code == 200
        assert requests.get(f"{service.url}/healthz", timeout=5).status_code == 200
    finally:
        os.kill(redis.pid, signal.SIGCONT)
