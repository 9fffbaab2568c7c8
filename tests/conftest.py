"""Workers that run tests side by side, and what tests of several folders share."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from shared.adapters.redis_client import connect
from shared.local.stack import RedisServer
from shared.settings import PREFIX
from tests.support.turns import Turns

#: Each worker starts stacks of its own, of some 1.3 GB.
MOST_WORKERS = 4
_TURNS = pytest.StashKey[Turns]()

for name in [name for name in os.environ if name.startswith(PREFIX)]:
    del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` means."""
    return min(MOST_WORKERS, os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Let a worker of pytest-xdist take turns with the others."""
    if hasattr(config, "workerinput"):
        # Its own folder is inside that of the run.
        config.stash[_TURNS] = Turns(Path(config.option.basetemp).parent)
        config.add_cleanup(config.stash[_TURNS].close)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests that need the machine alone last, so that no worker waits for their end."""
    items.sort(key=_alone)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Run a test, its fixtures included, in its turn."""
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    turns.take(_alone(item))
    try:
        return (yield)
    finally:
        turns.give_back(_alone(nextitem))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Collect a module's garbage whole, when its fixtures are gone.

    Python may otherwise collect an old exception's cycle in parts, in the middle of another module: first a socket,
    which then warns of a reader that is garbage itself. What is really left open warns here.
    """
    if nextitem is None or nextitem.path != item.path:
        gc.collect()


def _alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


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
