"""`python -m tests.bench.sockets [--sockets N]`: what idle sockets cost the stream, beside a thread for each of them.

Each server runs in a process of its own. The sockets have done their handshake, and send nothing. Meanwhile a further
client has a whole conversation. Memory is that of the process (RSS), counted from before the first socket.
"""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import click
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from api.services import Services
from api.sockets import Caps
from api.stream import Stream, allow_descriptors, doors
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database
from shared.domain.identities import Actor
from shared.local.stack import RedisServer, free_port
from shared.settings import Settings
from tests.support.client import eventually

_IDLE_S = 600.0
#: Handshakes at once.
_AT_ONCE = 20
_PATH = "/v1/spaces/bench/main/verify/authenticity"


def _serve_stream(port: int) -> None:
    services = Services.from_settings(Settings.from_env())
    caps = Caps(sockets=10_000, of_a_client=10_000, idle_s=_IDLE_S)
    allow_descriptors(caps)
    asyncio.run(Stream(services, doors(services), caps).run("127.0.0.1", port))


def _serve_threads(port: int) -> None:
    """Serve each socket in a thread, which asks the loop for each message."""

    async def converse(connection: ServerConnection) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionClosed):
            await connection.send(await asyncio.to_thread(_in_a_thread, connection, loop))

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(10_000))
        async with serve(converse, "127.0.0.1", port, compression=None):
            await asyncio.Event().wait()

    asyncio.run(run())


def _in_a_thread(connection: ServerConnection, loop: asyncio.AbstractEventLoop) -> str:
    message: str | bytes = b""
    while isinstance(message, bytes) or "close" not in message:
        message = asyncio.run_coroutine_threadsafe(connection.recv(), loop).result()
    return json.dumps({"type": "verification"})


_SERVERS = {"stream": _serve_stream, "threads": _serve_threads}


def _status(pid: int) -> dict[str, int]:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"threads": int(lines["Threads"]), "rss_kb": int(lines["VmRSS"].split()[0])}


async def _conversation(connection: ClientConnection) -> None:
    await connection.send("{}")
    await connection.send(bytes(1 << 16))
    await connection.send('{"type": "close"}')
    assert json.loads(await connection.recv())["type"] == "verification"


async def _measure(pid: int, url: str, key: str, count: int) -> dict[str, Any]:
    options: Any = {
        "additional_headers": {"Authorization": f"Bearer {key}"},
        "ping_interval": None,
        "compression": None,
    }
    async with connect(url, **options) as first:
        await _conversation(first)
    before = _status(pid)
    turns = asyncio.Semaphore(_AT_ONCE)
    async with AsyncExitStack() as held:

        async def hold() -> None:
            async with turns:
                await held.enter_async_context(connect(url, **options))

        started = time.perf_counter()
        await asyncio.gather(*(hold() for _ in range(count)))
        opened_s = time.perf_counter() - started
        after = _status(pid)
        started = time.perf_counter()
        async with connect(url, **options) as further:
            await _conversation(further)
        served_s = time.perf_counter() - started
    return {
        "threads": after["threads"] - before["threads"],
        "kb_per_socket": (after["rss_kb"] - before["rss_kb"]) / count,
        "opened_s": opened_s,
        "further_s": served_s,
    }


def _run(kind: str, settings: Settings, key: str, count: int) -> dict[str, Any]:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.sockets", "--serve", kind, "--port", str(port)]
    process = subprocess.Popen(command, env=settings.environment())
    try:
        eventually(lambda: _listens(port))
        return asyncio.run(_measure(process.pid, f"ws://127.0.0.1:{port}{_PATH}", key, count))
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measured(folder: Path, count: int) -> dict[str, dict[str, Any]]:
    """Return the figures of both servers, with so many idle sockets."""
    server = RedisServer(folder / "redis", folder / "redis.log")
    server.wait()
    try:
        settings = Settings(data_dir=folder, redis_url=server.url, posts_per_minute=10**6, log_level="error")
        engine = open_database(settings.sql_url())
        clients = SqlClients(engine, settings.secret_bytes())
        key = clients.create_key("bench")
        client = clients.authenticate(key)
        assert client
        Services.from_settings(settings).identities.add_space(Actor(client_id=client.id, key_id=client.key_id), "main")
        engine.dispose()
        return {kind: _run(kind, settings, key, count) for kind in _SERVERS}
    finally:
        server.stop()


@click.command()
@click.option("--sockets", "count", default=1000, show_default=True)
@click.option("--serve", "kind", type=click.Choice(list(_SERVERS)), hidden=True)
@click.option("--port", default=0, hidden=True)
def main(count: int, kind: str | None, port: int) -> None:
    """Print the figures."""
    if kind:
        _SERVERS[kind](port)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), count)
    for name, figures in found.items():
        print(
            f"{name}: {count} idle sockets, opened in {figures['opened_s']:.1f} s, take {figures['threads']} threads "
            f"and {figures['kb_per_socket']:.0f} kB each; a further conversation {figures['further_s'] * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
