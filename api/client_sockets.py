"""Connections to clients that hold no thread: reads take what is there, and writes never wait."""

import os
import select
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from api.errors import RequestTimeout

#: Seconds that a client may be behind `RATE_BYTES_S`, with an upload and with reading an answer.
PATIENCE_S = 20.0
#: Least rate of both, in bytes a second: some 32 kbit/s.
RATE_BYTES_S = 4096
#: Most that is sent to one client before others have their turn.
_TURN_BYTES = 1 << 18


class Pace:
    """Least rate of a transfer; a fast beginning earns no pause longer than `PATIENCE_S`."""

    def __init__(self) -> None:
        self.due = time.monotonic() + PATIENCE_S

    def moved(self, size: int) -> None:
        """Count bytes that were moved."""
        self.due = min(self.due + size / RATE_BYTES_S, time.monotonic() + PATIENCE_S)

    def left_s(self) -> float:
        """Return the seconds until the transfer is too slow."""
        return self.due - time.monotonic()


@dataclass
class _FilePart:
    """Part of a file that is still to be sent."""

    descriptor: int
    offset: int
    left: int


class ClientSocket(socket.socket):
    """Accepted connection; only its poller sends, and only uploads wait for the client.

    Attributes
    ----------
    pace : of the upload that a thread reads. None: what has not arrived raises RequestTimeout.
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self.pace: Pace | None = None
        self._outgoing: deque[memoryview | _FilePart] = deque()

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what has arrived, at least a byte unless the client has ended.

        Raises
        ------
        RequestTimeout
            Nothing is there, and the upload has been slower than its pace, or has none.
        """
        while (data := self.arrived(size, flags)) is None:
            self._wait()
        if self.pace is not None:
            self.pace.moved(len(data))
        return data

    def arrived(self, size: int, flags: int = 0) -> bytes | None:
        """Return what has arrived; empty when the client has ended, None when nothing is there."""
        try:
            return super().recv(size, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def _wait(self) -> None:
        left_s = self.pace.left_s() if self.pace is not None else 0.0
        if left_s <= 0:
            raise _too_slow()
        readable = select.poll()
        readable.register(self, select.POLLIN)
        readable.poll(left_s * 1000)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Keep what the client does not take at once."""
        rest = memoryview(data)
        if not self._outgoing:
            rest = rest[self._sent(rest) :]
        if rest:
            self._outgoing.append(rest)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Keep a part of a file to be sent; the caller may close it."""
        size = os.fstat(file.fileno()).st_size - offset
        part = _FilePart(os.dup(file.fileno()), offset, size if count is None else min(count, size))
        self._outgoing.append(part)
        return part.left

    def flush(self) -> int:
        """Send some of what was kept; returns how many bytes the client took."""
        first = self._outgoing[0]
        if isinstance(first, _FilePart):
            return self._flush_file(first)
        sent = self._sent(first)
        self._outgoing[0] = first[sent:]
        if sent == len(first):
            self._outgoing.popleft()
        return sent

    def _flush_file(self, part: _FilePart) -> int:
        data = os.pread(part.descriptor, min(_TURN_BYTES, part.left), part.offset)
        if not data and part.left:
            raise ConnectionAbortedError("the file has become shorter")
        sent = self._sent(memoryview(data))
        part.offset += sent
        part.left -= sent
        if not part.left:
            os.close(part.descriptor)
            self._outgoing.popleft()
        return sent

    def _sent(self, data: memoryview) -> int:
        try:
            return self.send(data[:_TURN_BYTES], socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    @property
    def flushed(self) -> bool:
        """True when nothing is kept."""
        return not self._outgoing

    def half_close(self) -> None:
        """Tell the client that nothing more comes."""
        with suppress(OSError):
            self.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection and the files that were still to be sent."""
        while self._outgoing:
            part = self._outgoing.popleft()
            if isinstance(part, _FilePart):
                os.close(part.descriptor)
        super().close()


def _too_slow() -> RequestTimeout:
    return RequestTimeout(
        f"The body came too slowly: send it without pauses of {PATIENCE_S:g} s, and at {RATE_BYTES_S} bytes a second "
        "or faster."
    )
