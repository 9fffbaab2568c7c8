"""Servers that tests talk to, each on a port of its own choosing."""

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat

from tests.support.sounds import DATA

#: Recording that most tests use: one person, some 7 s.
NAME = "1688-142285-0005.flac"
_DRIP_S = 0.05
_SLOW_S = 0.1
_LATE_S = 3.0
_BLOCK = b"\0" * 65536


class AudioHost(ThreadingHTTPServer):
    """Serves the files it was given, and misbehaves in named ways.

    ====================  =====================================================================
    `/file/NAME`          the file
    `/slow/NAME`          the file, after a tenth of a second
    `/late/NAME`          the file, after three seconds
    `/gated/NAME`         half of the file, and the rest when `gate` is set
    `/gzip/NAME`          the file, compressed in transfer
    `/truncated/NAME`     half of the file, although all of it was announced
    `/status/N`           nothing, with status N
    `/redirect/N/NAME`    N redirects, then the file
    `/redirect-loop`      a redirect to itself
    `/elsewhere/TARGET`   a redirect to TARGET, whatever that is
    `/declared/N`         an announcement of N bytes, and no body
    `/endless`            a chunked body without end
    `/drip`               a byte now and then, of very many
    `/drip-close`         the same on a connection that ends with the answer
    `/drip-headers`       a header now and then, without end
    `/hang-up`            nothing at all
    ====================  =====================================================================
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        #: Paths asked for, without their queries.
        self.hits: Counter[str] = Counter()
        self.gate = threading.Event()
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        """Return the address of one of the paths above."""
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def serve(self, name: str, body: bytes) -> str:
        """Serve `body` as `/file/NAME`; returns its address."""
        self.files[name] = body
        return self.url(f"file/{name}")

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients may leave when they like."""


@contextmanager
def audio_host() -> Iterator[AudioHost]:
    """Run an AudioHost until the end of the block."""
    with AudioHost() as host:
        thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield host
        finally:
            host.closing.set()
            host.gate.set()
            host.shutdown()
            thread.join()


def gated(host: AudioHost) -> str:
    """Serve a recording whose second half waits for the gate; returns its address."""
    host.serve(NAME, (DATA / NAME).read_bytes())
    return host.url(f"gated/{NAME}")


class Link:
    """A line to a server's unix socket that can go dead without a word, as when a cable is pulled."""

    def __init__(self, path: str) -> None:
        self._path, self._cuts, self._dead = path, 0, False
        self.port = 0

    def cut(self) -> None:
        """Swallow everything; connections stay open, and those of now and of meanwhile never work again."""
        self._cuts, self._dead = self._cuts + 1, True

    def heal(self) -> None:
        """Let new connections work."""
        self._dead = False

    async def serve(self, started: threading.Event, over: threading.Event) -> None:
        """Pass bytes on until `over`."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await asyncio.to_thread(over.wait)
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        born = -1 if self._dead else self._cuts
        their_reader, their_writer = await asyncio.open_unix_connection(self._path)
        await asyncio.gather(self._pass(reader, their_writer, born), self._pass(their_reader, writer, born))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, born: int) -> None:
        # A line that is being hung up at the end is no error.
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(65536):
                if born == self._cuts:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@contextmanager
def link(path: str) -> Iterator[Link]:
    """Run a Link to a unix socket until the end of the block."""
    line, started, over = Link(path), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(line.serve(started, over)))
    thread.start()
    started.wait()
    try:
        yield line
    finally:
        over.set()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AudioHost

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.hits[path] += 1
        action, _, argument = path.lstrip("/").partition("/")
        getattr(self, "_" + action.replace("-", "_"))(argument)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def _file(self, name: str) -> None:
        body = self.server.files[name]
        self._head(Content_Length=len(body))
        self.wfile.write(body)

    def _slow(self, name: str) -> None:
        self.server.closing.wait(_SLOW_S)
        self._file(name)

    def _late(self, name: str) -> None:
        self.server.closing.wait(_LATE_S)
        self._file(name)

    def _gated(self, name: str) -> None:
        body = self.server.files[name]
        self._head(Content_Length=len(body))
        self.wfile.write(body[: len(body) // 2])
        self.server.gate.wait()
        self.wfile.write(body[len(body) // 2 :])

    def _gzip(self, name: str) -> None:
        body = gzip.compress(self.server.files[name])
        self._head(Content_Length=len(body), Content_Encoding="gzip")
        self.wfile.write(body)

    def _truncated(self, name: str) -> None:
        body = self.server.files[name]
        self._head(Content_Length=len(body), Connection="close")
        self.wfile.write(body[: len(body) // 2])

    def _status(self, status: str) -> None:
        self._head(int(status), Content_Length=0)

    def _redirect(self, argument: str) -> None:
        count, _, name = argument.partition("/")
        self._move(f"/redirect/{int(count) - 1}/{name}" if int(count) > 1 else f"/file/{name}")

    def _redirect_loop(self, _: str) -> None:
        self._move("/redirect-loop")

    def _elsewhere(self, target: str) -> None:
        self._move(target)

    def _move(self, where: str) -> None:
        self._head(302, Location=where, Content_Length=0)

    def _declared(self, size: str) -> None:
        self._head(Content_Length=size, Connection="close")

    def _endless(self, _: str) -> None:
        self._head(Transfer_Encoding="chunked")
        for block in repeat(_BLOCK):
            if self.server.closing.is_set():
                return
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))

    def _drip(self, _: str) -> None:
        self._head(Content_Length=100_000)
        self._drip_for_ever(b"\0")

    def _drip_close(self, _: str) -> None:
        self._head(Connection="close")
        self._drip_for_ever(b"\0")

    def _drip_headers(self, _: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self._drip_for_ever(b"X: y\r\n")

    def _drip_for_ever(self, drop: bytes) -> None:
        while not self.server.closing.wait(_DRIP_S):
            self.wfile.write(drop)

    def _hang_up(self, _: str) -> None:
        self.close_connection = True
