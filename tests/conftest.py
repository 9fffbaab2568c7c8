"""Settings of the developer's shell are left out, and tests of several folders share one Redis server."""

import os
from collections.abc import Iterator

import pytest
from redis import Redis

from shared.adapters.redis_client import connect
from shared.local.stack import RedisServer
from shared.settings import PREFIX

for name in [name for name in os.environ if name.startswith(PREFIX)]:
    del os.environ[name]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server without the service."""
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder / "data", folder / "redis.log")
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Redis]:
    """A connection to an empty database of it."""
    client = connect(redis_server.url)
    client.flushall()
    yield client
    client.close()
