"""Exporter: the address at which a process tells Prometheus its metrics and those of its children."""

import json
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from socket import AF_INET, AF_INET6
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from shared import __version__
from shared.telemetry import metrics

#: Roles of processes, by how far their port lies behind that of `TIMBRE_METRICS_BIND`.
ROLES = ("api", "stream", "worker", "courier")
#: Seconds that a scraper may stay silent.
_PATIENCE_S = 10.0
#: Pause before another try to take an address: a process that was killed leaves children, which leave it soon.
_BIND_AGAIN_S = 1.0

log = structlog.get_logger()

#: Held while a scrape is made up: a fork in that moment would leave its child with locks that nobody opens.
_making_up = threading.RLock()
os.register_at_fork(before=_making_up.acquire, after_in_parent=_making_up.release, after_in_child=_making_up.release)


def serve(bind: str | None, role: str, collectors: Sequence[Collector] = ()) -> None:
    """Serve the metrics of this process and its children, in a thread that ends with the process.

    An address that is in use is tried again and again: telemetry ends no service.

    Parameters
    ----------
    bind : HOST:PORT of the first role; None: nothing is served.
    role : one of `ROLES`.
    collectors : of what is asked for at each scrape, such as the depth of queues.
    """
    metrics.remove_left_over()
    if bind is None:
        return
    host, _, first = bind.rpartition(":")
    port = int(first) + ROLES.index(role)
    registry = CollectorRegistry()
    for collector in (_Counted(), _Build(role), *collectors):
        registry.register(collector)
    address = (host.strip("[]"), port)
    # It imports a codec of host names: a fork during a thread's import leaves the child with the module locked.
    server = _bound(address, registry)
    if server is None:
        log.error("metrics are not served yet: TIMBRE_METRICS_BIND is in use, or no address of this machine", port=port)
    threading.Thread(target=_serve, args=(server, address, registry), name="metrics", daemon=True).start()


def mark_dead(pid: int) -> None:
    """Keep what a child of this process counted, which is dead, and forget what it was at."""
    with _making_up:
        try:
            metrics.mark_dead(pid)
        except (OSError, ValueError, RuntimeError, struct.error) as error:
            log.warning("what a dead process counted stays in its own file", error=type(error).__name__)


def _serve(server: WSGIServer | None, address: tuple[str, int], registry: CollectorRegistry) -> None:
    while server is None:
        time.sleep(_BIND_AGAIN_S)
        server = _bound(address, registry)
    # A child would keep the address when its parent is killed.
    os.register_at_fork(after_in_child=server.socket.close)
    server.serve_forever()


def _bound(address: tuple[str, int], registry: CollectorRegistry) -> WSGIServer | None:
    """Return the server; None while its address is in use, or is none of this machine."""
    host, port = address
    try:
        return make_server(host, port, _app(registry), _Server6 if ":" in host else _Server, _Handler)
    except OSError:
        return None


def _app(registry: CollectorRegistry) -> Any:
    """Return the WSGI application, during whose answers nobody forks."""
    app = make_wsgi_app(registry)

    def answer(environ: Any, start_response: Any) -> Iterable[bytes]:
        with _making_up:
            found: Iterable[bytes] = app(environ, start_response)
        return found

    return answer


class _Counted(Collector):
    """Collector of what this process and its children have counted."""

    def collect(self) -> Iterable[Metric]:
        files = [str(path) for path in Path(metrics.FOLDER).glob("*.db") if _is_whole(path)]
        found: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return found


def _is_whole(path: Path) -> bool:
    """Tell whether a file of values can be read; its process may have been killed while it made it."""
    try:
        for key, *_ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
            json.loads(key)
    except (OSError, ValueError, RuntimeError, struct.error):
        return False
    return True


class _Build(Collector):
    """Collector of the release and the role of this process."""

    def __init__(self, role: str) -> None:
        self._role = role

    def collect(self) -> Iterator[Metric]:
        found = GaugeMetricFamily(
            "timbre_build_info", "Release and role of the process; always 1.", labels=["version", "role"]
        )
        found.add_metric([__version__, self._role], 1)
        yield found


class _Server(ThreadingMixIn, WSGIServer):
    address_family = AF_INET
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of scrapers that are slow, or leave."""


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of scrapes."""
