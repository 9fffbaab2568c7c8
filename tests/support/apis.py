"""API processes without workers: for what happens before a job is worked on."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from shared.local.stack import Process, free_port
from shared.settings import Settings
from tests.support.client import Client, eventually

_COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app"]


@contextmanager
def api(folder: Path, redis_url: str, **settings: Any) -> Iterator[Client]:
    """Run an API process until the end of the block; gives the client whose key it made. Its log is `api-*.log`."""
    with api_process(folder, redis_url, **settings) as (client, _):
        yield client


@contextmanager
def api_process(folder: Path, redis_url: str, **settings: Any) -> Iterator[tuple[Client, Process]]:
    """Run an API process likewise; gives the process too."""
    bind = f"127.0.0.1:{free_port()}"
    given = Settings(data_dir=folder, bind=bind, redis_url=redis_url, **settings)
    process = Process("API", _COMMAND, folder / f"api-{time.time_ns()}.log", given.environment())
    try:
        eventually(lambda: process.check() or _answers(f"http://{bind}/healthz"))
        yield Client(f"http://{bind}", (folder / "first-api-key").read_text().strip()), process
    finally:
        process.stop()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
