"""Machines of one service: each has a folder and settings of its own, and shares servers and a secret with others."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.local.stack import Process, free_port
from tests.support.apis import answers
from tests.support.client import Client, eventually
from tests.support.images import image_of, lay_out, services
from tests.support.object_store import ObjectStore, object_store
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.stacks import LOOPBACK
from tests.support.tls_redis import TlsRedis, tls_redis

#: With what must be percent-encoded in an address.
REDIS_PASSWORD, DATABASE_PASSWORD = "canary of/redis?#@:%", "canary of/sql?#@:%"
SECRET = "canary-secret-of-all-the-machines-there-are"
#: Make the database and the bucket, one independently of the other.
STEPS = {"migrate", "bucket"}
_READY_WITHIN_S = 90.0


@dataclass(frozen=True)
class Servers:
    """Servers that machines share."""

    redis: TlsRedis
    database: PostgresServer
    store: ObjectStore


@contextmanager
def servers(bucket: str) -> Iterator[Servers]:
    """Run PostgreSQL and Redis with passwords, Redis over TLS, and an S3 server."""
    with ExitStack() as stack:
        redis = stack.enter_context(tls_redis(REDIS_PASSWORD))
        database = stack.enter_context(postgres_server(DATABASE_PASSWORD))
        yield Servers(redis, database, stack.enter_context(object_store(bucket)))


@dataclass
class Machine:
    """Machine with the files of its operator, a data folder, and processes started as images start them."""

    folder: Path
    servers: Servers
    settings: dict[str, object]
    processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        self.api_url = f"http://127.0.0.1:{free_port()}"
        self._begun: Counter[str] = Counter()
        self.stream_url = f"ws://127.0.0.1:{free_port()}"
        secrets = {"redis": REDIS_PASSWORD, "database": DATABASE_PASSWORD, "secret": SECRET}
        for name, text in secrets.items():
            self._secret(name).write_text(f"{text}\n")
        self.servers.store.write_credentials(self._secret("aws"))
        self._secret("authority").write_text(self.servers.redis.authority.read_text())

    def _secret(self, name: str) -> Path:
        folder = self.folder / "secrets"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def environment(self) -> dict[str, str]:
        """Return the variables of the machine's processes."""
        own = {
            "redis_url": f"rediss://127.0.0.1:{self.servers.redis.port}/0?ssl_ca_certs={self._secret('authority')}",
            "redis_password_file": self._secret("redis"),
            "database_url": self.servers.database.url,
            "database_password_file": self._secret("database"),
            "secret_file": self._secret("secret"),
            "s3_bucket": self.servers.store.bucket,
            "s3_endpoint_url": self.servers.store.endpoint,
            "data_dir": self.data,
            # Only what is bundled: a desk may have large models installed.
            "weights_dir": self.folder / "weights",
            "public_url": self.api_url,
            "stream_url": self.stream_url,
            "bind": self.api_url.removeprefix("http://"),
            "stream_bind": self.stream_url.removeprefix("ws://"),
            "worker_processes": 1,
            "lease_s": 3.0,
            "posts_per_minute": 10**6,
            "reads_per_minute": 10**6,
            "metrics_bind": "off",
        }
        named = {f"TIMBRE_{name.upper()}": str(value) for name, value in (own | LOOPBACK | self.settings).items()}
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return named | {
            "AWS_SHARED_CREDENTIALS_FILE": str(self._secret("aws")),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PATH": programs,
        }

    def start(self, service: str) -> Process:
        """Start a service of compose.yaml by the command of its image, in a working directory like the image's."""
        dockerfile, image = image_of(service)
        place = self.folder / "images" / dockerfile.split("/")[0]
        lay_out(image, place)
        log = self.folder / "logs" / f"{service}.log"
        # The child's own directory, which `Process` has no name for.
        command = ["env", "-C", str(place), *image.command]
        process = Process(service, command, log, image.environment | self.environment())
        self.processes.append(process)
        return process

    def run(self, *command: str) -> str:
        """Run a command as in the image of the API; returns what it prints."""
        _, image = image_of("api")
        place = self.folder / "images" / "api"
        lay_out(image, place)
        environment = os.environ | image.environment | self.environment()
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def prepare(self) -> None:
        """Run the steps of compose.yaml that end before others start."""
        for step in STEPS & services().keys():
            self.run(*image_of(step)[1].command)

    def keys(self, *arguments: str) -> str:
        """Run a command of `python -m api.keys`."""
        return self.run("python", "-m", "api.keys", *arguments)

    def client(self, name: str, url: str = "") -> Client:
        """Make a client at this machine's command line, which speaks to the API of this or another machine."""
        return Client(url or self.api_url, self.keys("create", name))

    def restart(self, process: Process) -> None:
        """Tell a process to stop, start it anew, and wait until it is ready."""
        process.stop()
        self._begun[process.name] = process.log.stat().st_size
        process.start()
        self.until_ready(process)

    def until_ready(self, process: Process) -> None:
        """Wait until a process does its work; one that has ended fails."""

        def look() -> bool:
            process.check()
            if process.name == "api":
                return answers(f"{self.api_url}/healthz")
            return f"{process.name} ready" in process.log.read_text()[self._begun[process.name] :]

        eventually(look, _READY_WITHIN_S)

    def is_ready(self) -> bool:
        """Tell whether the API of this machine takes jobs."""
        return answers(f"{self.api_url}/readyz")

    def logs(self) -> str:
        """Return the logs of all processes."""
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.folder / "logs").iterdir()))

    def scratch(self) -> list[Path]:
        """Return the files that are left in the scratch folder."""
        return [path for path in (self.data / "scratch").rglob("*") if path.is_file()]


def stop(machines: list[Machine]) -> None:
    """Stop all processes of all machines, side by side."""
    processes = [process for machine in machines for process in machine.processes]
    for process in processes:
        process.terminate()
    for process in processes:
        process.stop()


def finished(process: Process) -> set[str]:
    """Return the ids of the jobs that a worker has ended."""
    lines = [line for line in process.log.read_text(errors="replace").splitlines() if '"job finished"' in line]
    return {json.loads(line)["job_id"] for line in lines}
