"""A file host on this machine whose addresses misbehave in named ways."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FileServer(ThreadingHTTPServer):
    """Serves one file at `/file`, `/breaks-once`, `/breaks`, `/breaks-then-forgets`, `/tagged`, `/moved`; else 404."""

    def __init__(self, path: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = path.read_bytes()
        #: Of `/tagged`: its tag, and how much of what is asked for it sends.
        self.tag, self.share = '"first"', 1.0
        #: Path and Range header of each request, in order.
        self.requests: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        """Return the address of one of the names above."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


@contextmanager
def serving(path: Path) -> Iterator[FileServer]:
    """Serve `path` until the end of the block."""
    with FileServer(path) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Range"]))
        first = len([path for path, _ in self.server.requests if path == self.path]) == 1
        if self.path == "/file" or (self.path == "/breaks-once" and not first):
            self._send(self._start())
        elif self.path in ("/breaks", "/breaks-once") or (self.path == "/breaks-then-forgets" and first):
            self._send(self._start(), share=0.5)
        elif self.path == "/breaks-then-forgets":
            self._send(0)
        elif self.path == "/tagged":
            same = self.headers["If-Range"] in (None, self.server.tag)
            self._send(self._start() if same else 0, share=self.server.share, tag=self.server.tag)
        elif self.path == "/moved":
            self._redirect("/file")
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _start(self) -> int:
        return int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def _send(self, start: int, share: float = 1.0, tag: str | None = None) -> None:
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body[: int(len(body) * share)])

    def _redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()
