"""`python -m tests.load.generator JOB`: send one request again and again over kept connections, and time the answers.

A process of its own, so that it shares no lock with what it measures. JOB is the JSON of a `Load`; one line of JSON
comes back.
"""

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from statistics import quantiles
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Load:
    """Request to repeat, over so many connections for so many seconds."""

    url: str
    key: str = ""
    method: str = "GET"
    body: str = ""
    connections: int = 8
    seconds: float = 2.0

    def request(self) -> bytes:
        """Return the bytes of the request."""
        lines = (
            f"{self.method} {urlsplit(self.url).path} HTTP/1.1",
            f"Host: {urlsplit(self.url).netloc}",
            f"Authorization: Bearer {self.key}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        )
        return "\r\n".join([*lines, "", self.body]).encode()


def generate(load: Load) -> dict[str, Any]:
    """Run the load in a process of its own; returns rate (1/s), percentiles (ms), statuses and its processor share."""
    command = [sys.executable, "-m", "tests.load.generator", json.dumps(asdict(load))]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return the percentiles 50, 95 and 99 of some times, in ms."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {f"p{percent}_ms": round(cuts[percent - 1] * 1000, 2) for percent in (50, 95, 99)}


def _repeat(load: Load, ends_at: float, times: list[float], statuses: Counter[str]) -> None:
    where = urlsplit(load.url)
    request = load.request()
    with socket.create_connection((where.hostname, where.port or 80), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.perf_counter() < ends_at:
            started = time.perf_counter()
            connection.sendall(request)
            statuses[_answer(connection)] += 1
            times.append(time.perf_counter() - started)


def _answer(connection: socket.socket) -> str:
    """Read one answer; returns its status."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    missing = length - len(body)
    while missing > 0:
        missing -= len(_more(connection))
    return head[9:12].decode()


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(_CHUNK_BYTES)
    if not data:
        raise ConnectionError("the server hung up")
    return data


def main(load: Load) -> None:
    """Run the load and print what came of it."""
    times: list[float] = []
    statuses: Counter[str] = Counter()
    started = time.perf_counter()
    ends_at = started + load.seconds
    threads = [Thread(target=_repeat, args=[load, ends_at, times, statuses]) for _ in range(load.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - started
    share = {"rate": round(len(times) / wall_s, 1), "generator_share": round(time.process_time() / wall_s, 2)}
    print(json.dumps(share | percentiles(times) | {"statuses": statuses}))


if __name__ == "__main__":
    main(Load(**json.loads(sys.argv[1])))
