"""gunicorn worker that answers malformed HTTP, which never reaches the application, with this API's errors."""

import json
import uuid
from contextlib import suppress
from http import HTTPStatus
from types import FrameType
from typing import Any

import structlog
from gunicorn.http.errors import ParseException
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from api.errors import STATUS, body, unreadable
from shared.domain.errors import InternalError

log = structlog.get_logger()


class Worker(ThreadWorker):
    """Threaded gunicorn worker with JSON errors."""

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
        app = getattr(self, "wsgi", None)
        if app is not None:
            app.extensions["timbre"].jobs.stop_waiting()

    def handle_error(self, _request: Any, client: Any, _address: Any, error: Exception) -> None:
        """Send the error in the API's envelope; gunicorn's answer is HTML, and its log quotes the request."""
        request_id = str(uuid.uuid4())
        if isinstance(error, ParseException):
            known = unreadable(error)
            answer = body(known, request_id)
            status = HTTPStatus(STATUS[type(known)])
        else:
            log.exception("unhandled error", request_id=request_id, exc_info=error)
            answer = body(InternalError(), request_id)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        log.info("request", request_id=request_id, status=status.value, error=type(error).__name__)
        with suppress(OSError):
            write_nonblock(client, _response(status, request_id, json.dumps(answer).encode()))


def _response(status: HTTPStatus, request_id: str, content: bytes) -> bytes:
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        f"X-Request-Id: {request_id}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + content
