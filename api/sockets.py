"""Sockets: connections as a dialect's conversation sees them, with their caps, their threads and their recording."""

import asyncio
import contextvars
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar
from weakref import WeakValueDictionary

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from api.errors import InvalidRequest, RequestTimeout, RequestTooLarge
from shared.adapters.scratch import scratch_file
from shared.domain.errors import TimbreError, Unavailable

#: Bytes of a recording that are held until they are written, so that a thread is taken for many small messages.
_WRITE_BYTES = 1 << 16
_READ_BYTES = 1 << 20
#: Seconds after which a client that was told of an error has nothing more to send.
_QUIET_S = 0.5

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Caps:
    """Limits of a process's sockets."""

    #: Sockets at once: of all clients, and of one.
    sockets: int = 2000
    of_a_client: int = 500
    #: Seconds for the handshake, between two messages, and for the client to close when it is told to.
    handshake_s: float = 5.0
    idle_s: float = 20.0
    close_s: float = 5.0
    #: Seconds from one ping to the next, and for its pong: a client answers between frames, and one may be a recording.
    ping_s: float = 20.0
    pong_s: float = 75.0
    #: Largest message of text in bytes, and frames that are taken ahead of their use.
    message_bytes: int = 256 * 1024
    ahead: int = 4
    #: Threads for short work (admission, the disk), and for work that waits for results: of all, and of one client.
    threads: int = 16
    waits: int = 64
    waits_of_a_client: int = 16
    #: Seconds that such work waits for its thread.
    queue_s: float = 20.0
    #: Seconds that sockets have to end when the process is stopped.
    grace_s: float = 10.0


class Stopped(Exception):
    """The process is about to end."""


class Threads:
    """Threads of a process for what blocks; waits for results take none of those that admit clients."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._short = ThreadPoolExecutor(caps.threads, thread_name_prefix="short")
        self._waits = ThreadPoolExecutor(caps.waits, thread_name_prefix="wait")
        self._places = asyncio.Semaphore(caps.waits)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def short(self, work: Callable[..., Found], *given: Any) -> Found:
        """Return what short work returns."""
        return await _run_in(self._short, work, *given)

    async def wait(self, client_id: str, work: Callable[..., Found], *given: Any) -> Found:
        """Return what work returns that waits for a result; no client takes all threads of such work.

        Raises
        ------
        Unavailable
            None was free in time.
        """
        turns = self._turns.get(client_id) or asyncio.Semaphore(self._caps.waits_of_a_client)
        self._turns[client_id] = turns
        async with AsyncExitStack() as taken:
            try:
                async with asyncio.timeout(self._caps.queue_s):
                    await taken.enter_async_context(turns)
                    await taken.enter_async_context(self._places)
            except TimeoutError:
                raise Unavailable("Too many others wait for their results; try again in a few seconds.") from None
            return await _run_in(self._waits, work, *given)


async def _run_in(threads: ThreadPoolExecutor, work: Callable[..., Found], *given: Any) -> Found:
    """Return what work returns in a thread, which belongs to the span that is under way here."""
    in_context = partial(contextvars.copy_context().run, work, *given)
    return await asyncio.get_running_loop().run_in_executor(threads, in_context)


class Recording:
    """Recording that arrives in pieces, in a scratch file from the first one on."""

    def __init__(self, folder: Path, most_bytes: int, threads: Threads) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._threads = threads
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self.size = 0

    async def add(self, piece: bytes) -> None:
        """Append a piece; raises RequestTooLarge, Unavailable."""
        self.size += len(piece)
        require_size(self.size, self._most_bytes)
        self._held += piece
        if len(self._held) >= _WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what is held."""
        held = bytes(self._held)
        self._held.clear()
        await self._threads.short(self._write, held)

    def _write(self, held: bytes) -> None:
        self._file = self._file or scratch_file(self._folder)
        self._file.write(held)

    def pieces(self) -> Iterator[bytes]:
        """Yield the recording that was written."""
        assert self._file is not None
        self._file.seek(0)
        while piece := self._file.read(_READ_BYTES):
            yield piece

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()


class Socket:
    """Connection whose handshake is done.

    Parameters
    ----------
    require_share : raises TooManyJobs for a client that has too many sockets.
    """

    def __init__(
        self, connection: ServerConnection, caps: Caps, threads: Threads, require_share: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._caps = caps
        self._patience: asyncio.Timeout | None = None
        self._stopped = False
        self._until = float("inf")
        #: Whether the client has sent all that it wants to.
        self._is_whole = False
        self._require_share = require_share
        self.threads = threads
        self.client_id: str | None = None

    def claim(self, client_id: str) -> None:
        """Count the socket for a client; raises TooManyJobs."""
        self._require_share(client_id)
        self.client_id = client_id

    def allow(self, seconds: float) -> None:
        """Set the time within which the last message must come."""
        self._until = asyncio.get_running_loop().time() + seconds

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises
        ------
        RequestTimeout, ConnectionClosed
        Stopped
        """
        if self._stopped:
            raise Stopped
        due = asyncio.get_running_loop().time() + self._caps.idle_s
        try:
            async with asyncio.timeout_at(min(due, self._until)) as self._patience:
                return await self._connection.recv()
        except TimeoutError:
            raise self._late(due) from None

    def _late(self, due: float) -> Exception:
        if self._stopped:
            return Stopped()
        if due < self._until:
            return RequestTimeout(f"The next message did not come within {self._caps.idle_s:g} s; send without pauses.")
        return RequestTimeout("The recording did not come in time; send it faster.")

    async def record(self, recording: Recording) -> str:
        """Take a recording, in binary messages; return the text that follows it.

        Raises
        ------
        RequestTimeout, RequestTooLarge, Unavailable, ConnectionClosed, Stopped
        """
        while isinstance(message := await self.receive(), bytes):
            await recording.add(message)
        self._is_whole = True
        await recording.flush()
        return message

    async def skip(self, most_bytes: int) -> str:
        """Take a recording that nobody hears; return the text that follows it.

        Raises
        ------
        RequestTimeout, RequestTooLarge, ConnectionClosed, Stopped
        """
        received = 0
        while isinstance(message := await self.receive(), bytes):
            received += len(message)
            require_size(received, most_bytes)
        self._is_whole = True
        return message

    async def _hear_out(self) -> None:
        """Take what the client still sends: most libraries let nobody send, or read, once the other side closes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._caps.close_s):
                while isinstance(await asyncio.wait_for(self._connection.recv(), _QUIET_S), bytes):
                    pass

    def stop(self) -> None:
        """End the wait for a message, now and in future."""
        self._stopped = True
        if self._patience is not None:
            # One that nobody waits by any more cannot be changed.
            with suppress(RuntimeError):
                self._patience.reschedule(asyncio.get_running_loop().time())

    async def end(self, message: dict[str, Any] | None) -> None:
        """Send the last message, and close."""
        if message is not None:
            await self._connection.send(json.dumps(message))
            if not self._is_whole and not self._stopped:
                await self._hear_out()
        closing = asyncio.create_task(self._connection.close(1001 if self._stopped else 1000))
        with suppress(ConnectionClosed):
            # A client that sends on is not heard to close before what it sent was taken.
            async for _ in self._connection:
                pass
        await closing


class Guest(Protocol):
    """Client of a socket, in the words of its dialect."""

    @property
    def client_id(self) -> str | None:
        """Id of the client; None until the conversation finds out."""

    async def converse(self, socket: Socket) -> dict[str, Any]:
        """Return the message that ends the conversation; raises RequestError, ConnectionClosed, Stopped."""

    def told(self, error: TimbreError | Stopped) -> dict[str, Any] | None:
        """Return the message that tells of an error or of the process's end; None: there is none for it."""


class Door(Protocol):
    """Paths of a dialect."""

    def leads(self, path: str) -> bool:
        """Tell whether a path is one of them."""

    def rule(self, path: str) -> str | None:
        """Return the rule that a path matches, with names for its parts; None where it matches none."""

    def admit(self, target: str, authorization: str) -> Guest:
        """Return the client that comes to an address; raises RequestError. It may block."""

    def refusal(self, error: TimbreError) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Return status, body and headers of the answer to a client that is not admitted."""


def require_size(size: int, most_bytes: int) -> None:
    """Refuse a recording that is too large; raises RequestTooLarge."""
    if size > most_bytes:
        raise RequestTooLarge(f"The recording is larger than {most_bytes} bytes.")


def parsed(message: str | bytes) -> Any:
    """Return the value of a JSON message; raises InvalidRequest."""
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        raise InvalidRequest(("message", "The message is not valid JSON in UTF-8.")) from None
