"""A webhook receiver that plays a script: what it answers to each POST, in turn, the last line for ever after."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Post:
    """One request as it came in."""

    path: str
    headers: Message
    body: bytes


@dataclass
class Receiver:
    """A running receiver; `script` holds words of `_Handler`, or statuses with headers in brackets."""

    script: Sequence[str]
    scheme: str = "http"
    posts: list[Post] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        """Where to POST to."""
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    def next_line(self, post: Post) -> str:
        """Note a request and return what to do about it."""
        self.posts.append(post)
        return self.script[min(len(self.posts), len(self.script)) - 1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        line = self.receiver.next_line(Post(self.path, self.headers, body))
        word, _, argument = line.partition(" ")
        if word.isdecimal():
            self._answer(int(word), argument)
        elif word == "echo":
            self._answer(200, "", body)
        else:
            with suppress(OSError):
                getattr(self, word)(argument)

    def _answer(self, status: int, header: str, answer: bytes = b"the receiver's answer") -> None:
        self.send_response(status)
        if header:
            name, _, value = header.partition(":")
            self.send_header(name, value.strip())
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if status != 204:
            self.wfile.write(answer)

    def hang(self, _: str) -> None:
        """Say nothing."""
        self.receiver.released.wait(30)
        self.close_connection = True

    def gate(self, status: str) -> None:
        """Answer when the receiver is released."""
        self.receiver.released.wait(120)
        self._answer(int(status), "")

    def drip(self, _: str) -> None:
        """Answer a byte at a time, for ever."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not self.receiver.released.wait(0.05):
            self.wfile.write(b"x")

    def drip_headers(self, _: str) -> None:
        """Never come to the end of the headers."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not self.receiver.released.wait(0.05):
            self.wfile.write(b"x")

    def cut(self, _: str) -> None:
        """Promise more than is sent."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        self.close_connection = True

    def reset(self, _: str) -> None:
        """Break the connection off without an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(*script: str, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver on a port of its own; with `tls` over https."""
    receiver = Receiver(script, "https" if tls else "http")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": receiver}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wait_for(receiver: Receiver, posts: int, within_s: float = 15.0) -> None:
    """Return once so many POSTs came in."""
    ends_at = time.monotonic() + within_s
    while len(receiver.posts) < posts:
        assert time.monotonic() < ends_at, f"{len(receiver.posts)} of {posts} POSTs after {within_s:g} s"
        time.sleep(0.02)
