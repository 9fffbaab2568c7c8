"""Receivers of webhooks: what came in, and when; some never answer."""

import hashlib
import json
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: First characters of the ids of jobs, one in eight, whose webhook is refused the first time.
_REFUSED = "01"
_LOOK_S = 0.1


@dataclass(frozen=True)
class Arrival:
    """A webhook as it came in."""

    job_id: str
    webhook_id: str
    attempt: int
    digest: str
    status: int
    #: Seconds since the epoch.
    at: float


@dataclass
class Mailbox:
    """What all receivers got; the first try for one job in eight is answered with 500, everything else with 200."""

    arrivals: list[Arrival] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, headers: Any, body: bytes) -> int:
        """Note a webhook; returns the status to answer with."""
        job_id = json.loads(body)["jobId"]
        attempt = 1 + int(headers.get("x-retry-num", 0))
        with self.lock:
            status = 500 if attempt == 1 and job_id[0] in _REFUSED else 200
            digest = hashlib.sha256(body).hexdigest()
            self.arrivals.append(Arrival(job_id, headers["webhook-id"], attempt, digest, status, time.time()))
        return status

    def by_job(self) -> dict[str, list[Arrival]]:
        """Return the webhooks of each job, in order."""
        found = defaultdict(list)
        for arrival in list(self.arrivals):
            found[arrival.job_id].append(arrival)
        return found

    def delivered(self) -> set[str]:
        """Return the jobs whose webhook was answered with 200."""
        return {arrival.job_id for arrival in list(self.arrivals) if arrival.status == 200}


class _Receiver(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.mailbox = mailbox

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: couriers are killed while they send."""


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.mailbox.put(self.headers, body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiver(mailbox: Mailbox) -> Iterator[str]:
    """Take webhooks until the end of the block; gives the address to send them to."""
    with _Receiver(mailbox) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()


@contextmanager
def silent_receiver() -> Iterator[str]:
    """Accept connections and never answer, until the end of the block; gives the address."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/hook"


def await_webhooks(mailbox: Mailbox, most: int, within_s: float = 120.0) -> None:
    """Return when so many jobs' webhooks were delivered, or when the time is over."""
    ends_at = time.monotonic() + within_s
    while len(mailbox.delivered()) < most and time.monotonic() < ends_at:
        time.sleep(_LOOK_S)
