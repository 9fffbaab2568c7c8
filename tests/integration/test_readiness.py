"""Readiness: `/readyz` says by name what is wrong, within seconds, and a request fails where it says so."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
import requests
from moto.server import ThreadedMotoServer
from redis import Redis
from sqlalchemy import create_engine

from api import readiness
from api.readiness import Look, Problem, Readiness
from shared.adapters.redis_client import connect
from shared.adapters.redis_jobs import open_jobs
from shared.adapters.redis_presence import RedisPresence, Seen, agreed
from shared.local.stack import RedisServer
from shared.settings import Settings
from tests.support.apis import another_database, api
from tests.support.client import eventually
from tests.support.clock import Clock
from worker.bootstrap import join

PARTS = ("redis", "database", "media", "disk")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder / "data", folder / "redis.log")
    server.wait()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ready")


@pytest.fixture(scope="module")
def client(server, folder):
    with api(folder, server.url, posts_per_minute=10**6, reads_per_minute=10**6) as client:
        yield client


def statuses(client):
    """Return what a probe and a job are answered with."""
    ready = client.send("GET", "/readyz")
    return ready.status_code, client.post("/v1/voiceprint", url="media://x").status_code, ready.json()["redis"]


@pytest.mark.parametrize(
    ("breaking", "mending"),
    [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ],
    ids=["full", "no replicas", "read-only"],
)
def test_a_redis_that_refuses_writes_is_not_ready(client, server, breaking, mending):
    assert statuses(client) == (200, 200, True)
    with Redis.from_url(server.url) as redis:
        redis.execute_command(*breaking.split())
        try:
            assert statuses(client) == (503, 503, False)
        finally:
            redis.execute_command(*mending.split())
    eventually(lambda: statuses(client) == (200, 200, True))


@contextmanager
def present(server, folder, role):
    """Note that a process of a role lives, until the end of the block."""
    presence = RedisPresence(connect(server.url), role, agreed(Settings(data_dir=folder)))
    join(presence)
    yield
    presence.leave()


def told(client):
    """Return the status, those who were seen, and the parts with problems."""
    answer = client.send("GET", "/readyz")
    body = answer.json()
    named = [problem["part"] for problem in body["problems"]]
    return answer.status_code, body["status"], body["workers"], body["couriers"], named


def test_who_works_is_seen_and_jobs_are_accepted_without(client, server, folder):
    assert told(client) == (200, "degraded", 0, 0, ["workers", "couriers"])
    with present(server, folder, "worker"), present(server, folder, "worker"):
        assert told(client) == (200, "degraded", 2, 0, ["couriers"])
        with present(server, folder, "courier"):
            assert told(client) == (200, "ok", 2, 1, [])
    assert told(client) == (200, "degraded", 0, 0, ["workers", "couriers"])


def test_processes_that_were_killed_are_forgotten_after_a_minute(redis):
    clock = Clock()
    seen = Seen(redis, clock)
    worker = RedisPresence(redis, "worker", {"uploads": "a"}, clock)
    worker.mark()
    clock.pass_s(1.5)
    assert worker.mark()
    clock.pass_s(59)
    assert RedisPresence(redis, "courier", {"uploads": "a"}, clock).mark()
    assert seen.count() == {"worker": 1, "courier": 1}
    clock.pass_s(2)
    assert seen.count() == {"courier": 1}


def test_who_was_seen_is_a_metric_and_none_while_redis_is_away(redis):
    clock = Clock()
    redis.zadd("timbre:seen", {f"worker/host:{number}:x": clock() for number in range(2)})
    (metric,) = Seen(redis, clock).collect()
    found = {sample.labels["role"]: sample.value for sample in metric.samples}
    assert found == {"api": 0, "stream": 0, "worker": 2, "courier": 0}
    with connect("redis://127.0.0.1:1/0", retries=0) as away:
        assert list(Seen(away).collect()) == []


def test_a_redis_that_hangs_is_told_of_before_a_probe_gives_up(client, server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        answer = requests.get(f"{client.url}/readyz", timeout=4)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    body = answer.json()
    assert (answer.status_code, body["status"], body["redis"], body["database"]) == (503, "unavailable", False, True)
    (problem,) = body["problems"]
    assert "TIMBRE_REDIS_URL" in problem["message"]
    assert "workers" not in body
    eventually(lambda: client.send("GET", "/readyz").status_code == 200)


def test_a_folder_that_takes_no_uploads_is_told_of(tmp_path, redis_server):
    (tmp_path / "media").write_text("a file in the place of the folder")
    with api(tmp_path, another_database(redis_server)) as client:
        body = client.send("GET", "/readyz").json()
    assert [body[part] for part in PARTS] == [True, True, False, True]
    assert "TIMBRE_DATA_DIR" in body["problems"][0]["message"]


@pytest.fixture(scope="module")
def store():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.parametrize(
    ("key_id", "sentence"),
    [("", "has no AWS credentials"), ("testing", "bucket for recordings does not exist")],
    ids=["no credentials", "no bucket"],
)
def test_a_bucket_that_takes_no_uploads_is_told_of_alike_by_probe_request_and_log(
    key_id, sentence, store, tmp_path, redis_server, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key_id)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    given = {"s3_endpoint_url": store, "s3_bucket": "canary-bucket"}
    with api(tmp_path, another_database(redis_server), **given) as client:
        eventually(lambda: sentence in logged(tmp_path))
        ready = client.send("GET", "/readyz")
        refused = client.post("/v1/media/input", url="media://a")
    assert (ready.status_code, ready.json()["media"]) == (503, False)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    told = [ready.json()["problems"][0]["message"], refused.json()["message"]]
    assert all(sentence in message for message in told)
    assert not [name for name in ("canary", store) if name in ready.text + refused.text]


def logged(folder):
    return "".join(path.read_text() for path in folder.glob("api-*.log"))


@pytest.fixture
def parts(redis, tmp_path):
    """Readiness of an API whose database is away."""
    settings = Settings(data_dir=tmp_path)
    engine = create_engine(f"sqlite:///{tmp_path}/no/such/folder/timbre.db")
    yield Readiness(settings, open_jobs(redis, settings), engine, Seen(redis))
    engine.dispose()


def test_a_full_disk_and_a_lost_database_are_told_of(parts, monkeypatch):
    assert not parts.report()["database"]
    assert parts.report()["disk"]
    monkeypatch.setattr(readiness, "RESERVE_BYTES", 1 << 60)
    report = parts.report()
    assert [report[part] for part in PARTS] == [True, False, True, False]
    named = {problem["part"]: problem["message"] for problem in report["problems"]}
    assert "TIMBRE_DATABASE_URL" in named["database"]
    assert "TIMBRE_DATA_DIR" in named["disk"]


def test_a_part_that_hangs_is_looked_at_by_one_thread():
    over, looks = threading.Event(), []

    def look():
        looks.append(1)
        over.wait(60)

    part = Look("database", look, "It hangs.")
    for _ in range(3):
        assert part.outcome(part.begin(), time.monotonic() + 0.05) == (None, Problem("database", "It hangs."))
    assert len(looks) == 1
    over.set()
    eventually(lambda: part.outcome(part.begin(), time.monotonic() + 1) == (None, None))


def test_a_look_for_which_there_is_no_thread_is_told_of_and_begun_anew(monkeypatch):
    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    part = Look("database", lambda: None, "It does not answer.")
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", refuse)
        assert part.outcome(part.begin(), time.monotonic() + 60) == (None, Problem("database", "It does not answer."))
    assert part.outcome(part.begin(), time.monotonic() + 60) == (None, None)


def test_what_costs_is_looked_at_once_in_some_seconds():
    looks = []
    part = Look("media", lambda: looks.append(1), "", recent_s=60)
    for _ in range(3):
        assert part.outcome(part.begin(), time.monotonic() + 5) == (None, None)
    assert len(looks) == 1
