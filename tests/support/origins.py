"""Hosts on this machine that say exactly what a test tells them to, byte for byte."""

import itertools
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

#: What a host does with a connection: `request` is what came, `send` may be called as often as it likes.
Script = Callable[[bytes, Callable[[bytes], None]], None]


class Origin:
    """Listens on `family`'s loopback address at a free port, and counts who comes."""

    def __init__(self, script: Script, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self._listener.settimeout(0.05)
        self._script, self._tls = script, tls
        self._closing = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        #: Connections taken.
        self.hits = 0
        #: What they sent.
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError, OSError):
                connection, _ = self._listener.accept()
                self.hits += 1
                thread = threading.Thread(target=self._serve, args=[connection])
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with suppress(OSError), connection:
            plain = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with plain:
                request = _request(plain)
                if not request.strip():
                    return
                self.requests.append(request)
                self._script(request, lambda data: self._send(plain, data))

    def _send(self, connection: socket.socket, data: bytes) -> None:
        if self._closing.is_set():
            raise OSError
        connection.sendall(data)

    def close(self) -> None:
        """Stop listening, and talking."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()


def _request(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as lines:
        head = b"".join(itertools.takewhile(lambda line: line.strip(), iter(lines.readline, b""))) + b"\r\n"
        length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
        return head + lines.read(int(length[1]) if length else 0)


@contextmanager
def origin(script: Script, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Origin]:
    """Run an Origin until the end of the block."""
    host = Origin(script, address, tls)
    try:
        yield host
    finally:
        host.close()


def says(*parts: bytes) -> Script:
    """Answer every request with `parts`."""

    def script(_request: bytes, send: Callable[[bytes], None]) -> None:
        for part in parts:
            send(part)

    return script


def drips(head: bytes, drops: Iterable[bytes], every_s: float) -> Script:
    """Answer with `head` at once and then with one of `drops` now and then."""

    def script(_request: bytes, send: Callable[[bytes], None]) -> None:
        send(head)
        for drop in drops:
            threading.Event().wait(every_s)
            send(drop)

    return script


def for_ever(drop: bytes) -> Iterable[bytes]:
    """Repeat `drop` without end."""
    return itertools.repeat(drop)


def redirects_to(where: str, status: int = 302) -> Script:
    """Answer every request with a redirect."""
    return says(b"HTTP/1.1 %d Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, where.encode()))


def ok(body: bytes, *headers: str) -> bytes:
    """Return a complete answer."""
    lines = [f"Content-Length: {len(body)}", *headers]
    return b"HTTP/1.1 200 OK\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + body
