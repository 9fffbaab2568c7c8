"""gunicorn worker whose threads never wait for slow clients, and whose errors are this API's.

One thread, the poller, gathers each request and sends what a client does not take at once. A request goes to a thread
when its headers and its small body are there; a large body is read by a thread for uploads alone.
"""

import errno
import json
import os
import selectors
import signal
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from types import FrameType
from typing import Any

import structlog
from gunicorn.http.errors import ParseException, UnsupportedTransferCoding
from gunicorn.workers.gthread import TConn, ThreadWorker

from api.client_sockets import PATIENCE_S, ClientSocket, Pace
from api.counts import count_refused, count_unread
from api.errors import STATUS, body_at, headers, unreadable
from api.presence import attending
from api.request_gathering import Gathering
from api.services import Services
from shared.domain.errors import InternalError, RequestError, Unavailable
from shared.domain.identities import now

#: Seconds that a client has to end a connection that was answered; a reset could destroy the answer (RFC 9112, 9.6).
_LINGER_S = 2.0
#: Seconds between two looks for clients that are late.
_LOOK_S = 0.5
_READ_BYTES = 1 << 16
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_NO_CLIENT = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)

log = structlog.get_logger()


class _Connection(TConn):
    """Client's connection, and what the poller knows of it.

    Attributes
    ----------
    idle : no byte of a request has come.
    continued : the client was told to send its body.
    uploads : a thread for uploads has it.
    due, on_late : until when the poller waits for the client, and what is done then.
    """

    def __init__(self, cfg: Any, sock: ClientSocket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.gathering = Gathering()
        self.idle = True
        self.continued = False
        self.uploads = False
        self.due = 0.0
        self.on_late: Callable[[], None] = sock.close


class Worker(ThreadWorker):
    """Threaded gunicorn worker with deadlines for clients, and JSON errors."""

    def run(self) -> None:
        """Serve until the process is told to stop."""
        self._most_uploads: int = self._services.settings.api_uploads
        self._uploads = ThreadPoolExecutor(self._most_uploads, thread_name_prefix="upload")
        self._health = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._uploading = 0
        self._watched: set[_Connection] = set()
        self._looked_at = 0.0
        with attending(self._services.settings, "api", self._end_service):
            super().run()
        self._uploads.shutdown(wait=False)
        self._health.shutdown(wait=False)

    def _end_service(self) -> None:
        """Tell the master to end, with all its workers."""
        if super().is_parent_alive():
            os.kill(self.ppid, signal.SIGTERM)

    @property
    def _services(self) -> Services:
        found: Services = self.wsgi.extensions["timbre"]
        return found

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on SIGTERM; requests that wait for a job's end are answered at once."""
        self._stop_waiting()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on SIGINT or SIGQUIT, likewise."""
        self._stop_waiting()
        super().handle_quit(sig, frame)

    def _stop_waiting(self) -> None:
        # A signal may come while the application is still loading.
        if hasattr(self, "wsgi"):
            self._services.jobs.stop_waiting()

    def is_parent_alive(self) -> bool:
        """Tell whether the master lives; without it the address is left at once, so that another API can have it."""
        if super().is_parent_alive():
            return True
        self.alive = False
        self.set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()
        self._stop_waiting()
        return False

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and gather its request."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                self.murder_keepalived(force=True)
            elif error.errno not in _NO_CLIENT:
                raise
            return
        self.nr_conns += 1
        self.enqueue_req(_Connection(self.cfg, ClientSocket(accepted), address, listener.getsockname()))

    def enqueue_req(self, conn: _Connection) -> None:
        """Gather the next request of a connection; a thread gets it when it need not wait for the client."""
        conn.continued = False
        conn.gathering = Gathering()
        first = conn.parser.unreader.take_buffered() if conn.parser else b""
        self._on_event(partial(self._gather, first), conn, None)

    def _gather(self, data: bytes | None, conn: _Connection) -> None:
        """Take `data` and what has arrived, until the request can be handed on or nothing is there."""
        gathering = conn.gathering
        try:
            gathering.add(data or b"")
            while not gathering.whole and (data := conn.sock.arrived(_READ_BYTES)):
                gathering.add(data)
        except ParseException as error:
            self._refuse(conn, error)
            return
        if data is None and not gathering.whole:
            self._await_more(conn)
        elif gathering.data:
            self._hand_on(conn)
        else:
            self._drop(conn)

    def _await_more(self, conn: _Connection) -> None:
        if conn not in self._watched:
            self._watch(conn, selectors.EVENT_READ, partial(self._gather, None), partial(self._end_late, conn))
        conn.idle = not conn.gathering.data
        conn.due = conn.gathering.due
        if conn.gathering.invited and not conn.continued:
            conn.continued = True
            conn.sock.sendall(_CONTINUE)

    def _end_late(self, conn: _Connection) -> None:
        if conn.idle:
            self._drop(conn)
        else:
            self._refuse(conn, conn.gathering.late())

    def _hand_on(self, conn: _Connection) -> None:
        """Give a connection to the threads that its request is for."""
        self._unwatch(conn)
        gathering = conn.gathering
        conn.init()
        conn.parser.unreader.unread(gathering.take())
        if not gathering.large:
            self._submit(conn, self._health if gathering.asks_for_health else self.tpool)
        elif self._uploading < self._most_uploads:
            self._uploading += 1
            conn.uploads = True
            conn.sock.pace = Pace()
            self._submit(conn, self._uploads)
        else:
            self._refuse(conn, _too_many_uploads())

    def _submit(self, conn: _Connection, threads: ThreadPoolExecutor) -> None:
        handled = threads.submit(self.handle, conn)
        handled.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def handle_request(self, req: Any, conn: _Connection) -> bool:
        """Answer a request, in a thread."""
        _refuse_codings(req)
        if conn.continued:
            req._expected_100_continue = False
        if conn.uploads:
            # Its rest may be on the way when it is refused, and would have to be waited for.
            req.force_close()
        return bool(super().handle_request(req, conn))

    def finish_request(self, conn: _Connection, done: Future[bool]) -> None:
        """Send what is left of an answer, then keep the connection or end it."""
        if conn.uploads:
            self._uploading -= 1
            conn.uploads = False
        kept = not done.cancelled() and done.exception() is None and done.result()
        self._send(conn, partial(super().finish_request, fs=done) if kept else self._linger)

    def _refuse(self, conn: _Connection, error: Exception) -> None:
        """Answer with an error, without a thread, and end the connection."""
        self._answer_error(conn.sock, error, conn.gathering.path)
        self._unwatch(conn)
        self._send(conn, self._linger)

    def _send(self, conn: _Connection, then: Callable[[_Connection], None]) -> None:
        """Send what is left of an answer, however slowly the client takes it, and go on with `then`."""
        if conn.sock.flushed:
            self._on_event(then, conn, None)
        else:
            self._watch(conn, selectors.EVENT_WRITE, partial(self._flush, Pace(), then), partial(self._drop, conn))

    def _flush(self, pace: Pace, then: Callable[[_Connection], None], conn: _Connection) -> None:
        pace.moved(conn.sock.flush())
        conn.due = pace.due
        if conn.sock.flushed:
            self._unwatch(conn)
            then(conn)

    def _linger(self, conn: _Connection) -> None:
        conn.sock.half_close()
        self._watch(conn, selectors.EVENT_READ, self._discard, partial(self._drop, conn))
        conn.due = time.monotonic() + _LINGER_S

    def _discard(self, conn: _Connection) -> None:
        if conn.sock.arrived(_READ_BYTES) == b"":
            self._drop(conn)

    def _watch(
        self, conn: _Connection, event: int, step: Callable[[_Connection], None], on_late: Callable[[], None]
    ) -> None:
        """Do `step` at each event of a connection, and `on_late` when it is due."""
        self.poller.register(conn.sock, event, partial(self._on_event, step, conn))
        self._watched.add(conn)
        conn.idle = False
        conn.due = time.monotonic() + PATIENCE_S
        conn.on_late = on_late

    def _on_event(self, step: Callable[[_Connection], None], conn: _Connection, _socket: Any) -> None:
        try:
            step(conn)
        except (OSError, ValueError):
            # The client is gone, or its socket was closed after an error.
            self._drop(conn)

    def _unwatch(self, conn: _Connection) -> None:
        if conn in self._watched:
            self._watched.remove(conn)
            self.poller.unregister(conn.sock)

    def _drop(self, conn: _Connection) -> None:
        self._unwatch(conn)
        self.nr_conns -= 1
        conn.sock.close()

    def murder_pending(self) -> None:
        """End the connections whose clients are late; a worker that stops keeps none that is idle."""
        now = time.monotonic()
        if now < self._looked_at + _LOOK_S:
            return
        self._looked_at = now
        for conn in [one for one in self._watched if one.due <= now or (one.idle and not self.alive)]:
            self._unwatch(conn)
            conn.on_late()

    def handle_error(self, _request: Any, client: Any, _address: Any, error: Exception) -> None:
        """Send the error in the API's envelope; gunicorn's answer is HTML, and its log quotes the request."""
        self._answer_error(client, error)

    def _answer_error(self, client: Any, error: Exception, path: str = "") -> None:
        """Send an error in the envelope of a path."""
        request_id = str(uuid.uuid4())
        known = _known(error)
        if known is None:
            log.exception("unhandled error", request_id=request_id, exc_info=error)
        status = HTTPStatus(STATUS[type(known)] if known else 500)
        answer = json.dumps(body_at(path, known or InternalError(), status, request_id, now())).encode()
        log.info("request", request_id=request_id, status=status.value, error=type(error).__name__)
        count_unread(status.value)
        count_refused((known or InternalError()).code, None)
        with suppress(OSError):
            client.sendall(_response(status, request_id, answer, headers(known) if known else {}))


def _known(error: Exception) -> RequestError | None:
    if isinstance(error, RequestError):
        return error
    return unreadable(error) if isinstance(error, ParseException) else None


def _too_many_uploads() -> Unavailable:
    return Unavailable(
        "The service takes no more uploads right now; try again in a few seconds. Its operator may allow more "
        "(TIMBRE_API_UPLOADS)."
    )


def _refuse_codings(request: Any) -> None:
    """Refuse a body that is coded otherwise than in chunks; two servers may see its end in two places."""
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" and value.strip().lower() != "chunked":
            raise UnsupportedTransferCoding(value)


def _response(status: HTTPStatus, request_id: str, content: bytes, more: dict[str, str]) -> bytes:
    named = {
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request_id,
        **more,
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content
