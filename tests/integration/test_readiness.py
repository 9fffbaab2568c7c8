"""Readiness: where Redis refuses the writes that a job needs, `/readyz` says so, as every POST does."""

import pytest
from redis import Redis

from shared.local.stack import RedisServer
from tests.support.apis import api
from tests.support.client import eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder / "data", folder / "redis.log")
    server.wait()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    with api(tmp_path_factory.mktemp("ready"), server.url, posts_per_minute=10**6, reads_per_minute=10**6) as client:
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
