"""Stream: the process that takes recordings over WebSocket, piece by piece, for the dialects that have sockets.

`python -m api.stream`. One loop receives for all sockets; threads are taken for short work, and to wait for results.
"""

import asyncio
import json
import logging
import os
import resource
import signal
import socket as sockets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from api.counts import count_refused, count_request
from api.dialects.spaces.socket import SpacesDoor
from api.dialects.voisentry.socket import VoisentryDoor
from api.errors import away
from api.frames import Cutter
from api.presence import attending, require_agreement
from api.services import Services
from api.sockets import Caps, Door, Guest, Socket, Stopped, Threads
from shared import logs
from shared.domain.errors import InternalError, RequestError, SettingsError, TimbreError, TooManyJobs, Unavailable
from shared.settings import Settings
from shared.telemetry import exporter, metrics, tracing

#: Bytes that a socket's buffer in the kernel may hold: all that one turn of the loop reads of a client.
_TURN_BYTES = 1 << 16
#: Connections beyond the sockets: those whose handshake goes on, and those that are refused.
_AT_THE_DOOR = 500
_HEALTH = "/healthz"

log = structlog.get_logger()


class Connection(ServerConnection):
    """Connection with a bound on what it is sent, and on how many there are."""

    guest: Guest
    #: Rule that its path matches, see `Door.rule`.
    route: str | None = None
    #: Span of the client that the conversation belongs to, as its header `traceparent`.
    trace: str

    def __init__(self, stream: "Stream", *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._stream = stream
        self._cutter = Cutter()
        self.came_at = time.perf_counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, or close where too many connections are open."""
        super().connection_made(transport)
        self._stream.num_connections += 1
        if self._stream.num_connections > self._stream.caps.sockets + _AT_THE_DOOR:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what the client sends, binary messages in pieces."""
        # Frames come once the handshake was answered.
        is_open = self.protocol.state is not State.CONNECTING
        super().data_received(self._cutter.cut(data) if is_open else data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stream.num_connections -= 1
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Break off: an answer is small, so that the client sends pings and does not read."""
        super().pause_writing()
        self.transport.abort()


class Stream:
    """Server of the sockets.

    Parameters
    ----------
    doors : of the dialects; the first one that a path leads to is taken.
    """

    def __init__(self, services: Services, doors: Sequence[Door], caps: Caps | None = None) -> None:
        self._services = services
        self._doors = doors
        self.caps = caps or Caps()
        self.num_connections = 0
        self._threads = Threads(self.caps)
        self._sockets: set[Socket] = set()
        self._is_stopping = False

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return a refusal, or None for a client that may go on."""
        assert isinstance(connection, Connection)
        path = unquote(urlsplit(request.path).path)
        if path == _HEALTH:
            connection.route = _HEALTH
            return _response(200, {"status": "ok", "sockets": len(self._sockets)}, {})
        door = next(door for door in self._doors if door.leads(path))
        connection.route = door.rule(path)
        authorization = request.headers.get("Authorization", "")
        connection.trace = next(iter(request.headers.get_all("traceparent")), "")
        try:
            connection.guest = await self._threads.short(door.admit, request.path, authorization)
            self._require_room()
            self._require_share(connection.guest.client_id)
        except Exception as error:
            return _response(*door.refusal(self._refused(error, connection)))
        return None

    @staticmethod
    def count(connection: ServerConnection, _request: Request, response: Response) -> None:
        """Count an answer to a handshake."""
        assert isinstance(connection, Connection)
        seconds = time.perf_counter() - connection.came_at
        count_request("GET", connection.route, response.status_code, seconds)

    def _refused(self, error: Exception, connection: "Connection") -> TimbreError:
        """Count an error that a client is told; returns it as clients may hear of it."""
        known = _known(error)
        count_refused(known.code, connection.route)
        return known

    def _require_room(self) -> None:
        if len(self._sockets) >= self.caps.sockets:
            raise Unavailable("The service takes no more sockets right now; try again in a few seconds.")

    def _require_share(self, client_id: str | None) -> None:
        if client_id is not None and self._num_sockets(client_id) >= self.caps.of_a_client:
            raise TooManyJobs(f"You have {self.caps.of_a_client} sockets open; close one first.")

    def _num_sockets(self, client_id: str) -> int:
        return sum(socket.client_id == client_id for socket in self._sockets)

    async def serve(self, connection: ServerConnection) -> None:
        """Serve a client that was admitted."""
        assert isinstance(connection, Connection)
        socket = Socket(connection, self.caps, self._threads, self._require_share)
        try:
            await socket.end(await self._answer(connection, socket))
        except ConnectionClosed:
            log.info("a socket was closed by its client", client_id=socket.client_id)
        finally:
            self._sockets.discard(socket)
            metrics.put(metrics.SOCKETS_OPEN, len(self._sockets))

    async def _answer(self, connection: Connection, socket: Socket) -> dict[str, Any] | None:
        guest = connection.guest
        try:
            # Others may have come while the handshake went on.
            self._require_room()
            self._sockets.add(socket)
            metrics.put(metrics.SOCKETS_OPEN, len(self._sockets))
            if self._is_stopping:
                socket.stop()
            with tracing.span("socket", "server", parent=connection.trace):
                return await _conversation(guest, socket)
        except ConnectionClosed:
            raise
        except Stopped as stopped:
            return guest.told(stopped)
        except Exception as error:
            return guest.told(self._refused(error, connection))

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[Server]:
        """Serve until the end of the block; sockets that are open then are told so, and closed as going away."""
        server = await serve(
            self.serve,
            host,
            port,
            process_request=self.admit,
            process_response=self.count,
            create_connection=partial(Connection, self),  # type: ignore[arg-type]
            # A compressed message could unfold to gigabytes.
            compression=None,
            server_header=None,
            open_timeout=self.caps.handshake_s,
            close_timeout=self.caps.close_s,
            ping_interval=self.caps.ping_s,
            ping_timeout=self.caps.pong_s,
            max_size=self.caps.message_bytes,
            max_queue=self.caps.ahead,
        )
        for listening in server.sockets:
            listening.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, _TURN_BYTES)
        try:
            yield server
        finally:
            await self._stop(server)

    async def _stop(self, server: Server) -> None:
        self._is_stopping = True
        server.close(close_connections=False)
        self._services.jobs.stop_waiting()
        for socket in self._sockets:
            socket.stop()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), self.caps.grace_s)

    async def run(self, host: str, port: int) -> None:
        """Serve until SIGTERM or Ctrl-C."""
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with self.serving(host, port):
            log.info("stream ready")
            await stopped.wait()


async def _conversation(guest: Guest, socket: Socket) -> dict[str, Any]:
    try:
        return await guest.converse(socket)
    finally:
        tracing.note({"client.id": socket.client_id})


def _known(error: Exception) -> TimbreError:
    """Return an error as clients may hear of it."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, RedisError | SQLAlchemyError | OSError):
        return away(error)
    log.exception("unhandled error", exc_info=error)
    return InternalError()


def _response(status: int, body: dict[str, Any], more: dict[str, str]) -> Response:
    content = json.dumps(body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"}
    return Response(status, "", Headers(named | more), content)


def doors(services: Services) -> list[Door]:
    """Return the doors of all dialects that have sockets."""
    return [VoisentryDoor(services), SpacesDoor(services)]


def allow_descriptors(caps: Caps) -> None:
    """Let the process open the files and connections that its caps permit, as far as the system does."""
    # A socket may have a scratch file, and an upload that is stored.
    needed = 3 * caps.sockets + _AT_THE_DOOR
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(needed, hard)), hard))


def main() -> None:
    """Run the stream until SIGTERM or Ctrl-C."""
    settings = Settings.from_env()
    logs.configure(settings.log_level)
    # It tells of every handshake that is none, with a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    if settings.stream_bind is None:
        raise SettingsError("TIMBRE_STREAM_BIND is not set: the address that the stream listens on, HOST:PORT.")
    host, _, port = settings.stream_bind.rpartition(":")
    require_agreement(settings, "stream")
    services = Services.from_settings(settings)
    stream = Stream(services, doors(services))
    allow_descriptors(stream.caps)
    exporter.serve(settings.metrics_address(), "stream")
    tracing.start("timbre-stream")
    with attending(settings, "stream", lambda: os.kill(os.getpid(), signal.SIGTERM)):
        asyncio.run(stream.run(host.strip("[]"), int(port)))
    tracing.stop()


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(str(error))
