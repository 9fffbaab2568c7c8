import pytest
from redis import Redis

from shared.adapters.redis_client import connect
from shared.local.stack import RedisServer
from tests.support.clock import Clock
from tests.support.records import job_store


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder / "data", folder / "redis.log")
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def redis(redis_server) -> Redis:
    client = connect(redis_server.url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs(redis, clock):
    return job_store(redis, clock)
