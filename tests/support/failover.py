"""Two Redis servers, one the replica of the other, with Sentinels that watch them or one address in front of them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.local.stack import Process, free_port, redis_binary
from tests.support.client import eventually

#: Name of the primary, and after how long the Sentinels take a silent one for dead.
NAME = "timbre"
DOWN_AFTER_MS = 1000
_SENTINELS = 3


class Node(Process):
    """Redis server on a port of 127.0.0.1, with an append-only file."""

    def __init__(self, folder: Path, primary: "Node | None" = None) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = f"--port {self.port} --bind 127.0.0.1 --dir {folder} --appendonly yes --repl-diskless-sync-delay 0"
        replica = ["--replicaof", f"127.0.0.1 {primary.port}"] if primary else []
        super().__init__("Redis", [redis_binary(), *options.split(), "--save", "", *replica], folder / "log")
        once = Retry(NoBackoff(), 0)
        self.client: Redis = Redis(port=self.port, decode_responses=True, socket_timeout=1, retry=once)
        eventually(self._answers)

    def _answers(self) -> bool:
        with suppress(RedisError):
            return bool(self.client.ping())
        return False

    def leads(self) -> bool:
        """Return True when this server is the primary."""
        return bool(self.client.info("replication")["role"] == "master")

    def refuses(self) -> bool:
        """Return True when this server takes no writes, or is away."""
        try:
            self.client.set("test:mark", "here")
        except RedisError:
            return True
        return False

    def follows(self, primary: "Node") -> bool:
        """Return True when this server is a replica of `primary` that is in step with it."""
        state = self.client.info("replication")
        return (state["role"], state.get("master_port"), state.get("master_link_status")) == (
            "slave", primary.port, "up",
        )  # fmt: skip

    def offset(self) -> int:
        """Return how many bytes of changes this server has seen."""
        state = self.client.info("replication")
        return int(state["master_repl_offset"])

    def in_step(self, replica: "Node") -> None:
        """Return when everything written so far lies on the replica too."""
        so_far = self.offset()
        eventually(lambda: replica.offset() >= so_far)


@contextmanager
def pair(folder: Path) -> Iterator[tuple[Node, Node]]:
    """Run a primary and its replica until the end of the block."""
    primary = Node(folder / "one")
    try:
        replica = Node(folder / "two", primary)
        try:
            eventually(lambda: replica.follows(primary))
            yield primary, replica
        finally:
            replica.client.close()
            replica.stop()
    finally:
        primary.client.close()
        primary.stop()


class Sentinel(Process):
    """Sentinel that watches a primary."""

    def __init__(self, folder: Path, primary: Node, password: str | None) -> None:
        folder.mkdir()
        self.port = free_port()
        file = folder / "sentinel.conf"
        login = f"requirepass {password}\nsentinel sentinel-pass {password}\n" if password else ""
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n{login}"
            f"sentinel monitor {NAME} 127.0.0.1 {primary.port} {_SENTINELS // 2 + 1}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\nsentinel failover-timeout {NAME} 5000\n"
        )
        super().__init__("Sentinel", [redis_binary(), str(file), "--sentinel"], folder / "log")
        self.client: Redis = Redis(port=self.port, password=password)

    def knows_all(self) -> bool:
        """Return True when this Sentinel knows the replica and the other Sentinels."""
        with suppress(RedisError):
            state = self.client.sentinel_masters()[NAME]
            found: tuple[int, int] = (state["num-slaves"], state["num-other-sentinels"])
            return found == (1, _SENTINELS - 1)
        return False


@contextmanager
def sentinels(folder: Path, primary: Node, password: str | None = None) -> Iterator[list[Sentinel]]:
    """Run three Sentinels, which may ask for a password, until the end of the block."""
    found: list[Sentinel] = []
    try:
        for number in range(_SENTINELS):
            found.append(Sentinel(folder / f"sentinel-{number}", primary, password))
        eventually(lambda: all(sentinel.knows_all() for sentinel in found))
        yield found
    finally:
        for sentinel in found:
            sentinel.client.close()
            sentinel.stop()


def url_by(watching: list[Sentinel]) -> str:
    """Return the address of the service's Redis."""
    return f"sentinel://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in watching)}/0?master={NAME}"


class Address:
    """One address in front of servers, as managed services have: new connections go to `target`, old ones stay."""

    def __init__(self, target: int) -> None:
        self.port, self.target = 0, target

    async def serve(self, started: threading.Event, over: threading.Event) -> None:
        """Pass bytes on until `over`."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await asyncio.to_thread(over.wait)
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, their_writer), _pass(their_reader, writer))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # A line that is hung up is no error.
    with suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def address(target: Node) -> Iterator[Address]:
    """Run an Address until the end of the block."""
    front, started, over = Address(target.port), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(front.serve(started, over)))
    thread.start()
    started.wait()
    try:
        yield front
    finally:
        over.set()
        thread.join()


def switch(front: Address, primary: Node, replica: Node) -> None:
    """Swap the two servers' parts and have new connections go to the new primary."""
    replica.client.replicaof("NO", "ONE")
    front.target = replica.port
    primary.client.replicaof("127.0.0.1", replica.port)
