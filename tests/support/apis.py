"""API processes without workers: for what happens before a job is worked on."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from redis.exceptions import RedisError

from shared.adapters.redis_client import connect
from shared.local.stack import Process, RedisServer, free_port
from shared.settings import Settings
from tests.support.client import Client, eventually

#: Command that starts an API.
API = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app"]


@contextmanager
def api(folder: Path, redis_url: str, **settings: Any) -> Iterator[Client]:
    """Run an API process until the end of the block; gives the client whose key it made. Its log is `api-*.log`."""
    with api_process(folder, redis_url, **settings) as (client, _):
        yield client


@contextmanager
def api_process(folder: Path, redis_url: str, **settings: Any) -> Iterator[tuple[Client, Process]]:
    """Run an API process likewise; gives the process too."""
    bind = f"127.0.0.1:{free_port()}"
    given = Settings(data_dir=folder, bind=bind, redis_url=redis_url, **{"metrics_bind": "off"} | settings)
    process = Process("API", API, folder / f"api-{time.time_ns()}.log", given.environment())
    try:
        eventually(lambda: process.check() or answers(f"http://{bind}/healthz"))
        yield Client(f"http://{bind}", (folder / "first-api-key").read_text().strip()), process
    finally:
        process.stop()
        forget_killed(redis_url)


def another_database(server: RedisServer) -> str:
    """Return the address of another database of a server, for an API with another folder than those on the first."""
    return f"{server.url}?db=1"


def forget_killed(redis_url: str) -> None:
    """Remove the notes of killed processes of this machine at once, as time does after a minute."""
    with suppress(RedisError), connect(redis_url, retries=0) as redis:
        for process in redis.zrange("timbre:seen", 0, -1):
            if not _runs(int(process.split(":")[1])):
                redis.zrem("timbre:seen", process)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def answers(url: str) -> bool:
    """Tell whether an address answers with 200."""
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False
