"""`python -m tests.bench.webhooks [--clients 2,4,8,50]`: delay of a client's webhook while receivers of others hang.

Real couriers send from a real Redis. So many clients have each twenty webhooks to two receivers that hang: these never
answer, drip their answer, or never end the TLS handshake. Meanwhile another client's jobs end, one after the other. The
time from a job's end to its POST is printed.
"""

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from shared.adapters.redis_client import connect
from shared.adapters.redis_jobs import RedisJobs
from shared.adapters.sealing import Envelope
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database
from shared.domain.jobs import Status, new_job_id
from shared.local.stack import Process, RedisServer
from shared.settings import Settings
from tests.support.client import eventually
from tests.support.receiver import receiving, wait_for
from tests.support.records import finish, submission
from tests.support.stacks import LOOPBACK

#: Webhooks of each client whose receiver hangs, and those of the other client, one every so many seconds.
WEBHOOKS = 20
PROBES = 30
EVERY_S = 0.5


class Hanging:
    """Receivers that hang in the way that `scheme` and `drip` say, each on a port of its own."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self._over = threading.Event()

    async def _never(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            await reader.read()
        writer.close()

    async def _drip(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.2)
        writer.close()

    async def serve(self, most: int, started: threading.Event) -> None:
        """Serve `most` receivers: every third drips, every third is https, where no handshake ends."""
        servers = []
        for number in range(most):
            handler = self._drip if number % 3 == 1 else self._never
            server = await asyncio.start_server(handler, "127.0.0.1", 0)
            servers.append(server)
            scheme = "https" if number % 3 == 2 else "http"
            self.urls.append(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
        started.set()
        await asyncio.to_thread(self._over.wait)

    @classmethod
    @contextmanager
    def running(cls, most: int) -> Iterator["Hanging"]:
        """Run so many receivers until the end of the block."""
        hanging, started = cls(), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(hanging.serve(most, started)), daemon=True)
        thread.start()
        started.wait()
        try:
            yield hanging
        finally:
            hanging._over.set()


class Service:
    """A Redis, a database and couriers in `folder`; jobs are ended here, as workers would."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.settings = Settings(data_dir=folder, redis_url=server.url, metrics_bind="off", **LOOPBACK)
        secret = self.settings.secret_bytes()
        self._clients = SqlClients(open_database(self.settings.sql_url()), secret)
        self._jobs = RedisJobs(
            connect(server.url), envelope=Envelope(secret), lease_s=600, ttl_s=600, deadline_s=600, max_unfinished=10**6
        )

    def client(self, name: str) -> str:
        """Make a client; returns its id."""
        client = self._clients.authenticate(self._clients.create_key(name))
        assert client
        return client.id

    def end_job(self, client: str, url: str) -> None:
        """End a job of a client, with a webhook to `url`."""
        job = self._jobs.create(new_job_id(), client, submission("https://x", url))
        assert finish(self._jobs, self._jobs.claim(job.id), Status.SUCCEEDED, {"voiceprint": "VE1C"})

    def courier(self, number: int) -> Process:
        """Start a courier."""
        folder = self.settings.data_dir
        command = [sys.executable, "-m", "worker.courier"]
        return Process("courier", command, folder / f"courier{number}.log", self.settings.environment())


def delays(service: Service, hanging: Hanging, clients: list[str], other: str) -> list[float]:
    """Return the seconds that each of the other client's webhooks took, from the end of its job."""
    for number in range(WEBHOOKS):
        for place, client in enumerate(clients):
            service.end_job(client, hanging.urls[2 * place + number % 2])
    found = []
    with receiving("200") as receiver:
        for number in range(1, PROBES + 1):
            started = time.monotonic()
            service.end_job(other, receiver.url)
            wait_for(receiver, number, within_s=120)
            found.append(time.monotonic() - started)
            time.sleep(EVERY_S)
    return found


def measured(clients: int, couriers: int) -> dict[str, float]:
    """Return the figures of one run."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Hanging.running(2 * clients) as hanging:
        server = RedisServer(Path(folder) / "redis", Path(folder) / "redis.log")
        server.wait()
        service = Service(Path(folder), server)
        ids = [service.client(f"hanging {number}") for number in range(clients)]
        other = service.client("other")
        processes = [service.courier(number) for number in range(couriers)]
        for process in processes:
            eventually(lambda process=process: "courier ready" in process.log.read_text())
        try:
            found = sorted(delays(service, hanging, ids, other))
        finally:
            for process in processes:
                process.kill()
            server.stop()
    return {"clients": clients, "couriers": couriers, "median_s": found[len(found) // 2], "longest_s": found[-1]}


@click.command()
@click.option("--clients", default="2,4,8,50", help="Clients whose receivers hang, one run for each number.")
@click.option("--couriers", default=1, help="Couriers that send.")
def main(clients: str, couriers: int) -> None:
    """Print a line of JSON for each number of clients whose receivers hang."""
    for number in clients.split(","):
        figures = measured(int(number), couriers)
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
