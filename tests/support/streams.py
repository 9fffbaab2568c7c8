"""Streams in the test's own process, with caps of the test's choice."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from structlog.testing import capture_logs
from structlog.typing import EventDict

from api.dialects.voisentry.calls import Call
from api.dialects.voisentry.tickets import issue
from api.services import Services
from api.sockets import Caps, Door
from api.stream import Stream, doors
from shared.dialects.voisentry import Operation
from shared.domain.errors import NotFound
from shared.domain.identities import Actor, Space
from shared.domain.keys import Client
from shared.settings import Settings
from tests.support.client import eventually

#: A frame's first byte: its end, and its kind (RFC 6455, 5.2).
FIN, TEXT, BINARY, CONTINUATION, CLOSE, PING = 0x80, 1, 2, 0, 8, 9


@dataclass(frozen=True)
class Caller:
    """Client with a space."""

    client: Client
    key: str
    space: Space

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def raw_headers(self) -> str:
        return f"Authorization: Bearer {self.key}\r\n"

    @property
    def authenticity(self) -> str:
        """Path at which a recording is taken and nothing is done with it."""
        return f"/v1/spaces/{self.client.name}/{self.space.handle}/verify/authenticity"


@dataclass
class Streaming:
    """Stream that runs, and its services."""

    services: Services
    stream: Stream
    port: int
    logs: Sequence[EventDict]
    _stopped: Callable[[], None]
    _ended: threading.Event

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def caller(self, name: str) -> Caller:
        """Return a client with a space of the same name; both are made if they are new."""
        key = self.services.clients.create_key(name)
        client = self.services.clients.authenticate(key)
        assert client is not None
        by = Actor(client_id=client.id, key_id=client.key_id)
        try:
            space = self.services.identities.space(by, name)
        except NotFound:
            space = self.services.identities.add_space(by, name)
        return Caller(client, key, space)

    def ticket(
        self, caller: Caller, operation: Operation = Operation.REGISTER, user_id: str = "Bob", **more: Any
    ) -> str:
        """Return path and query of a socket for a call."""
        call = Call(client=caller.client, space=caller.space, operation=operation, user_id=user_id, **more)
        _, slash, rest = issue(self.services, call).partition("/wss/")
        return slash + rest

    def stop(self) -> None:
        """Stop the stream, as SIGTERM does; returns at once."""
        self._stopped()

    def ended(self, within_s: float) -> bool:
        """Tell whether it has stopped within so many seconds."""
        return self._ended.wait(within_s)

    def errors(self) -> list[EventDict]:
        """Return what was logged as an error."""
        return [event for event in self.logs if event["log_level"] == "error"]

    def is_idle(self) -> bool:
        """Tell whether no connection is left."""
        return self.stream.num_connections == 0 and not self.stream._sockets

    def until_idle(self, within_s: float = 60.0) -> None:
        """Wait until no connection is left; raises AssertionError."""
        eventually(self.is_idle, within_s)


@contextmanager
def streaming(
    settings: Settings,
    caps: Caps | None = None,
    doors_of: Callable[[Services], Sequence[Door]] = doors,
) -> Iterator[Streaming]:
    """Run a stream until the end of the block."""
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    services = Services.from_settings(settings)
    stream = Stream(services, doors_of(services), caps)
    ready, ended = threading.Event(), threading.Event()
    found: dict[str, Any] = {}

    async def run() -> None:
        stopped = asyncio.Event()
        async with stream.serving("127.0.0.1", 0) as server:
            loop = asyncio.get_running_loop()
            found["port"] = server.sockets[0].getsockname()[1]
            found["stop"] = lambda: loop.is_closed() or loop.call_soon_threadsafe(stopped.set)
            ready.set()
            await stopped.wait()
        ended.set()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    # Kept, not printed: pytest changes where to while the thread prints.
    with capture_logs() as logs:
        thread.start()
        assert ready.wait(60)
        try:
            yield Streaming(services, stream, found["port"], logs, found["stop"], ended)
        finally:
            found["stop"]()
            thread.join(60)
            services.engine.dispose()
            services.redis.close()


def frame(kind: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, bits: int = 0) -> bytes:
    """Return a frame of a client, masked by zeros."""
    first = bytes([(FIN if fin else 0) | bits | kind])
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        size = bytes([mask | len(payload)])
    elif len(payload) < 1 << 16:
        size = bytes([mask | 126]) + len(payload).to_bytes(2, "big")
    else:
        size = bytes([mask | 127]) + len(payload).to_bytes(8, "big")
    return first + size + (bytes(4) if masked else b"") + payload


def opened_raw(port: int, path: str, headers: str = "", read_bytes: int | None = None) -> socket.socket:
    """Return a raw connection whose handshake is done.

    Parameters
    ----------
    read_bytes : of the kernel's buffer for what the server sends.
    """
    raw = socket.socket()
    if read_bytes:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, read_bytes)
    raw.settimeout(60)
    raw.connect(("127.0.0.1", port))
    lines = [
        f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
    ]  # fmt: skip
    raw.sendall(("\r\n".join(lines) + "\r\n" + headers + "\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        piece = raw.recv(1)
        assert piece, answer
        answer += piece
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return raw


def received(raw: socket.socket) -> bytes:
    """Return what the server sends until it ends the connection."""
    found = b""
    try:
        while piece := raw.recv(1 << 16):
            found += piece
    except ConnectionError:
        pass
    return found


def text_of(found: bytes) -> Any:
    """Return the JSON of the first text frame in what the server sent."""
    start = found.index(b"{")
    value, _ = json.JSONDecoder().raw_decode(found[start:].decode(errors="replace"))
    return value
