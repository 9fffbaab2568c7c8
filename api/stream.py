"""Stream: the process that verifies recordings which arrive over WebSocket, chunk by chunk.

`python -m api.stream`. A thread serves each socket whose client is known; those who are not hold none.
"""

import asyncio
import json
import logging
import re
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from api.dialects.spaces.context import own, read, reference, submission
from api.dialects.spaces.receiving import MAX_BODY_BYTES, discard
from api.dialects.spaces.requests import IdentityOpening, Opening
from api.dialects.spaces.sessions import Sessions
from api.errors import STATUS, InvalidRequest, RateLimited, RequestTimeout, RequestTooLarge, Unauthorized
from api.errors import headers as headers_of
from api.services import Services
from shared import logs
from shared.dialects import spaces
from shared.domain.commands import VerifyIdentity
from shared.domain.errors import (
    InternalError,
    RequestError,
    SettingsError,
    TimbreError,
    TooManyJobs,
    Unavailable,
)
from shared.domain.identities import Actor, NewVerification, Space, VerificationMode
from shared.domain.jobs import new_job_id
from shared.domain.keys import Client
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl
from shared.settings import Settings

#: Sockets at once: of all clients, and of one.
MOST_SOCKETS = 64
MOST_OF_A_CLIENT = 8
#: Seconds for the handshake, between two messages, and for all of a recording.
_HANDSHAKE_S = 5.0
_IDLE_S = 20.0
_RECORDING_S = 300.0
#: Seconds that a client waits for the result; then it is told that the verification goes on.
_VERIFY_S = 60.0
#: Largest message in bytes, and messages that are taken ahead of their use.
_MESSAGE_BYTES = 256 * 1024
_AHEAD = 4
#: Threads for clients who are not known yet.
_DOORKEEPERS = 8
_PATH = re.compile(r"(?:/audiointel/(?:us|eu))?/v1/spaces/([^/]+)/([^/]+)/verify/(identity|authenticity)")
_CLOSE = "close"

Found = TypeVar("Found")

log = structlog.get_logger()


@dataclass(frozen=True)
class Admitted:
    """Client of a socket, with the space and the kind of verification that its path names."""

    client: Client
    space: Space
    kind: str

    @property
    def actor(self) -> Actor:
        """The caller."""
        return Actor(client_id=self.client.id, key_id=self.client.key_id, request_id=str(uuid.uuid4()))


class Socket:
    """Connection as a thread sees it."""

    def __init__(self, connection: ServerConnection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._until = time.monotonic() + _RECORDING_S

    def receive(self) -> str | bytes:
        """Return the next message.

        Raises
        ------
        RequestTimeout, ConnectionClosed
        """
        patience_s = min(_IDLE_S, self._until - time.monotonic())
        try:
            return self._await(asyncio.wait_for(self._connection.recv(), patience_s))
        except TimeoutError:
            raise RequestTimeout(
                f"A message must follow the one before within {_IDLE_S:g} s, and the last within {_RECORDING_S:g} s."
            ) from None

    def send(self, told: dict[str, Any]) -> None:
        """Send a message, the last one, and close."""
        self._await(self._end(json.dumps(told)))

    async def _end(self, message: str) -> None:
        await self._connection.send(message)
        closing = asyncio.create_task(self._connection.close())
        with suppress(ConnectionClosed):
            # A client that sends on is not heard to close before what it sent was taken.
            async for _ in self._connection:
                pass
        await closing

    def _await(self, coming: Awaitable[Found]) -> Found:
        async def result() -> Found:
            return await coming

        return asyncio.run_coroutine_threadsafe(result(), self._loop).result()


class Session:
    """Conversation over one socket: an opening, a recording in chunks, `close`; then the verification is told."""

    def __init__(self, services: Services, admitted: Admitted, socket: Socket) -> None:
        self._services = services
        self._admitted = admitted
        self._socket = socket

    def run(self) -> None:
        """Serve the socket to its end."""
        try:
            self._socket.send(self._answer())
        except ConnectionClosed:
            log.info("a socket was closed by its client", client_id=self._admitted.client.id)

    def _answer(self) -> dict[str, Any]:
        try:
            return self._verify_identity() if self._admitted.kind == "identity" else self._verify_authenticity()
        except RequestError as error:
            return _told(error)
        except (RedisError, SQLAlchemyError) as error:
            return _told(_away(error))
        except ConnectionClosed:
            raise
        except Exception as error:
            log.exception("unhandled error", exc_info=error)
            return _told(InternalError())

    def _verify_identity(self) -> dict[str, Any]:
        opening = self._opening(IdentityOpening)
        admitted = self._admitted
        identity = self._services.identities.identity(admitted.space, reference(opening["identity"]))
        enrolment = self._services.verifications.comparable(identity, reference(opening["voiceprint"]))
        new_id = new_job_id()
        key = job_upload(new_id)
        new = NewVerification(id=new_id, enrolment_id=enrolment.id, mode=VerificationMode.WEBSOCKET)
        command = VerifyIdentity(verification=new_id, source=MediaUrl(key))
        self._services.jobs.save_media(admitted.client.id, key, self._chunks(), 0)
        try:
            asked = submission(command, admitted.client.weight)
            self._services.verifications.verify(admitted.actor, admitted.space, enrolment, new, asked)
            return self._result(new_id)
        finally:
            self._drop(new_id)

    def _result(self, verification_id: str) -> dict[str, Any]:
        self._services.jobs.wait(self._admitted.client.id, verification_id, _VERIFY_S)
        found = self._services.verifications.verification(self._admitted.space, verification_id)
        body = spaces.VerificationBody().dump(found)
        if body["state"] == "error" and found.failure is not None:
            failure = found.failure
            return {"type": "error", "code": failure.code, "message": failure.message, "verification": body}
        return {"type": "verification", "verification": {**body, "chunks": []}}

    def _drop(self, job_id: str) -> None:
        job = self._services.jobs.peek(self._admitted.client.id, job_id)
        if job is None or job.status.terminal:
            discard(self._services.jobs, self._admitted.client.id, job_id)

    def _verify_authenticity(self) -> dict[str, Any]:
        opening = self._opening(Opening)
        for _ in self._chunks():
            """Nobody hears it."""
        unknown: dict[str, Any] = {
            "state": "performedWithoutScore",
            "duration": None,
            "voiceDuration": None,
            "chunks": [],
        }
        body = {"model": opening.get("model"), "mode": "websocket", **unknown, "scores": spaces.scores()}
        return {"type": "verification", "verification": body}

    def _opening(self, schema: type[Opening]) -> dict[str, Any]:
        return read(schema, _json(self._socket.receive()))

    def _chunks(self) -> Iterator[bytes]:
        """Yield the recording, until the client says that it is whole."""
        received = 0
        while isinstance(message := self._socket.receive(), bytes):
            received += len(message)
            if received > MAX_BODY_BYTES:
                raise RequestTooLarge(f"The recording is larger than {MAX_BODY_BYTES} bytes.")
            yield message
        found = _json(message)
        if not isinstance(found, dict) or found.get("type") != _CLOSE:
            raise InvalidRequest(("type", "Send the recording in binary messages, and then {'type': 'close'}."))


def _json(message: str | bytes) -> Any:
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        raise InvalidRequest(("message", "The message is not valid JSON in UTF-8.")) from None


def _told(error: TimbreError) -> dict[str, Any]:
    return {"type": "error", "code": error.code, "message": str(error)}


def _away(error: Exception) -> Unavailable:
    log.error("a dependency is away", error=type(error).__name__)
    return Unavailable("The service cannot reach its storage right now; try again in a few seconds.")


class Stream:
    """Server of the sockets."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._sessions = Sessions(services.clients, services.settings.secret_bytes())
        self._open: Counter[str] = Counter()

    async def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return a refusal, or None for a client that may go on."""
        path = unquote(urlsplit(request.path).path)
        if path == "/healthz":
            return _response(200, {"status": "ok"})
        try:
            admitted = await asyncio.to_thread(self._admitted, path, request.headers.get("Authorization", ""))
            self._require_room(admitted.client)
        except RequestError as error:
            return _refusal(error)
        except (RedisError, SQLAlchemyError) as error:
            return _refusal(_away(error))
        except Exception as error:
            log.exception("unhandled error", exc_info=error)
            return _response(500, spaces.error(InternalError(), str(uuid.uuid4())))
        connection.admitted = admitted  # type: ignore[attr-defined]
        return None

    def _admitted(self, path: str, authorization: str) -> Admitted:
        scheme, _, token = authorization.partition(" ")
        client = self._sessions.client(token.strip()) if scheme.lower() == "bearer" else None
        if client is None:
            raise Unauthorized("Send a valid API key: 'Authorization: Bearer sk_...'.")
        passed, standing = self._services.rates.count(client.id, "POST", "stream")
        if not passed:
            raise RateLimited(f"Too many sockets in a minute; try again in {standing.reset_s} s.")
        found = _PATH.fullmatch(path)
        owner, space, kind = found.groups() if found else ("", "", "")
        own(client, owner)
        by = Actor(client_id=client.id, key_id=client.key_id)
        return Admitted(client, self._services.identities.space(by, reference(space)), kind)

    def _require_room(self, client: Client) -> None:
        if self._open[client.id] >= MOST_OF_A_CLIENT:
            raise TooManyJobs(f"You have {MOST_OF_A_CLIENT} sockets open; close one first.")
        if self._open.total() >= MOST_SOCKETS:
            raise Unavailable("The service takes no more sockets right now; try again in a few seconds.")

    async def serve(self, connection: ServerConnection) -> None:
        """Serve a client that was admitted."""
        admitted = cast("Admitted", connection.admitted)  # type: ignore[attr-defined]
        try:
            # Others may have come while the handshake went on.
            self._require_room(admitted.client)
        except RequestError as error:
            await connection.send(json.dumps(_told(error)))
            return
        self._open[admitted.client.id] += 1
        try:
            socket = Socket(connection, asyncio.get_running_loop())
            await asyncio.to_thread(Session(self._services, admitted, socket).run)
        finally:
            self._open[admitted.client.id] -= 1
            self._open += Counter()

    async def run(self, host: str, port: int) -> None:
        """Serve until SIGTERM or Ctrl-C; sockets that are open then are closed as going away."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(MOST_SOCKETS + _DOORKEEPERS, thread_name_prefix="socket"))
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        async with serve(
            self.serve,
            host,
            port,
            process_request=self.admit,
            # A compressed message could unfold to gigabytes.
            compression=None,
            server_header=None,
            open_timeout=_HANDSHAKE_S,
            max_size=_MESSAGE_BYTES,
            max_queue=_AHEAD,
        ):
            log.info("stream ready")
            await stopped.wait()
            self._services.jobs.stop_waiting()


def _refusal(error: RequestError) -> Response:
    return _response(STATUS[type(error)], spaces.error(error, str(uuid.uuid4())), headers_of(error))


def _response(status: int, body: dict[str, Any], more: dict[str, str] | None = None) -> Response:
    content = json.dumps(body).encode()
    named = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"}
    return Response(status, "", Headers(named | (more or {})), content)


def main() -> None:
    """Run the stream until SIGTERM or Ctrl-C."""
    settings = Settings.from_env()
    logs.configure(settings.log_level)
    # It tells of every handshake that is none, with a traceback.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    if settings.stream_bind is None:
        raise SettingsError("TIMBRE_STREAM_BIND is not set: the address that the stream listens on, HOST:PORT.")
    host, _, port = settings.stream_bind.rpartition(":")
    asyncio.run(Stream(Services.from_settings(settings)).run(host.strip("[]"), int(port)))


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(str(error))
