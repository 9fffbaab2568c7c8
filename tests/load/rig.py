"""Parts of the service, each started alone: a Redis server, workers, job services."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from redis import Redis

from shared.adapters.redis_client import connect
from shared.adapters.sql.database import open_database
from shared.domain.commands import CreateVoiceprint
from shared.domain.jobs import JobSubmission
from shared.domain.sources import parse_source
from shared.job_service import JobService
from shared.local.stack import RedisServer
from shared.settings import Settings
from worker.bootstrap import make_service

#: An upload that does not exist: its job ends at once.
NOTHING = "media://nothing"
_LOOK_S = 0.01
_QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat"]


class Rig:
    """A Redis server and the job service on it, without limits on a client."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.settings = Settings(
            data_dir=folder / "data",
            redis_url=redis_url,
            max_unfinished_jobs=10**9,
            max_job_bytes=10**15,
            posts_per_minute=10**9,
            reads_per_minute=10**9,
            metrics_bind="off",
        )
        self.redis: Redis = connect(redis_url)
        open_database(self.settings.sql_url()).dispose()
        self.service: JobService = make_service(self.settings)

    def submit(self, jobs: int, url: str = NOTHING, clients: int = 1) -> None:
        """Post so many jobs, of so many clients in turn."""
        submission = JobSubmission(command=CreateVoiceprint(source=parse_source(url)), dialect="pyannoteai")
        for number in range(jobs):
            self.service.submit(f"client {number % clients}", submission)

    @contextmanager
    def worker(self, app: str, processes: int) -> Iterator[None]:
        """Run a worker of a Celery application until the end of the block."""
        environment = replace(self.settings, worker_processes=processes).environment()
        command = [sys.executable, "-m", "celery", "-A", app, "worker", *_QUIET]
        with (self.settings.data_dir / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | environment | {"OPENBLAS_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    def drain(self, app: str, processes: int, left: Callable[[], int]) -> float:
        """Have a worker do everything that is `left`; returns how much it did in a second, its start not counted."""
        with self.worker(app, processes):
            before = left()
            while (begun := left()) == before:
                time.sleep(_LOOK_S)
            started = time.perf_counter()
            while left():
                time.sleep(_LOOK_S)
            return begun / (time.perf_counter() - started)

    def unfinished(self) -> int:
        """Return how many jobs wait or run."""
        backlog = self.service.backlog()
        return backlog.waiting + backlog.running


@contextmanager
def rig() -> Iterator[Rig]:
    """Run a Redis server of its own until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="timbre-load-") as folder:
        server = RedisServer(Path(folder) / "redis", Path(folder) / "redis.log")
        try:
            server.wait()
            yield Rig(Path(folder), server.url)
        finally:
            server.stop()
