"""Metrics of all processes for Prometheus, and the three ways in which they change.

A process and those that it forks write into files of one folder, which is made with the first import. A scrape adds
them up. No label names a client, but in the metrics that begin with `timbre_client_`. These stay empty unless
`TIMBRE_NAME_CLIENTS` asks for them.
"""

import atexit
import fcntl
import os
import shutil
import struct
import tempfile
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import structlog
from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

from shared.settings import share_metrics_folder

log = structlog.get_logger()

_PREFIX = "timbre-metrics-"
#: Folder of this process and of those that it forks, which lock it as long as one of them lives.
FOLDER = tempfile.mkdtemp(prefix=_PREFIX)
_OWNER = os.getpid()
fcntl.flock(os.open(FOLDER, os.O_RDONLY), fcntl.LOCK_EX)
#: Bytes of a file at first, and of a value besides its name.
_FIRST_BYTES = 1 << 16
_MOST_BESIDE_KEY = 28
#: Seconds after which a folder that nobody locks is left over: a new one is locked at once.
_LEFT_OVER_S = 60.0
share_metrics_folder(FOLDER)


class _Reserved(MmapedDict):
    """Mapped file of values that has room on the disk; without it a write would kill the process (SIGBUS)."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _reserve(filename, _FIRST_BYTES)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        if self._used + len(key.encode()) + _MOST_BESIDE_KEY > self._capacity:
            _reserve(self._fname, 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def _reserve(path: str, size: int) -> None:
    """Give a file so many bytes at least; raises OSError where the disk has no room."""
    # macOS has no such call.
    if hasattr(os, "posix_fallocate"):
        with Path(path).open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, size)


values.MmapedDict = _Reserved  # type: ignore[attr-defined]
# The library chooses how values are kept when it is first imported, perhaps by others.
values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]

#: Value of a label that does not apply: the route of an unknown path, the reason of a try that succeeded.
NONE = "none"

#: Seconds of requests, of steps, and of whole jobs.
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STEP_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_JOB_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

REQUESTS = Counter("timbre_requests", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "timbre_request_seconds",
    "Seconds until a request was answered, its body included.",
    ["method", "route"],
    buckets=_REQUEST_S,
)
RATE_LIMITED = Counter("timbre_requests_rate_limited", "Requests refused since their client sent too many.", ["route"])
REFUSED = Counter("timbre_requests_refused", "Requests answered with an error, by its code.", ["code"])
SOCKETS_OPEN = Gauge("timbre_sockets_open", "WebSockets that are open.", multiprocess_mode="livesum")

JOBS_SUBMITTED = Counter("timbre_jobs_submitted", "Jobs accepted.", ["kind", "lane"])
JOBS_ENDED = Counter(
    "timbre_jobs_ended",
    "Jobs ended; the code is that of a failure. One that is deleted before its end is not counted.",
    ["kind", "lane", "status", "code"],
)
JOB_SECONDS = Histogram(
    "timbre_job_seconds", "Seconds from a job's acceptance to its end.", ["kind", "lane"], buckets=_JOB_S
)
JOB_WAIT_SECONDS = Histogram(
    "timbre_job_wait_seconds", "Seconds from a job's acceptance to its first attempt.", ["lane"], buckets=_JOB_S
)
STEP_SECONDS = Histogram(
    "timbre_step_seconds", "Seconds of a step of a job that ended.", ["kind", "step"], buckets=_STEP_S
)
JOBS_HANDED_BACK = Counter("timbre_jobs_handed_back", "Jobs that a worker handed back, to be tried again.", ["reason"])
LEASES_LOST = Counter("timbre_leases_lost", "Leases that ran out, since their workers were silent.")
AUDIO_SECONDS = Counter("timbre_audio_seconds", "Seconds of sound that were decoded for jobs.", ["kind"])
JOBS_IN_HAND = Gauge("timbre_jobs_in_hand", "Jobs that the worker works on.", multiprocess_mode="livesum")
MODEL = Gauge(
    "timbre_model_info", "Model that makes voiceprints; always 1.", ["model", "calibrated"], multiprocess_mode="livemax"
)
WORKER_PROCESSES = Gauge(
    "timbre_worker_processes", "Jobs that the worker may work on at once.", multiprocess_mode="livemax"
)

DELIVERIES = Counter(
    "timbre_deliveries",
    "Tries to deliver a webhook: what state they led to, why they failed, and which try it was.",
    ["state", "reason", "attempt"],
)
DELIVERY_SECONDS = Histogram("timbre_delivery_seconds", "Seconds of a try to deliver a webhook.", buckets=_REQUEST_S)
DELIVERIES_UNDER_WAY = Gauge(
    "timbre_deliveries_under_way", "Tries that the courier waits for.", multiprocess_mode="livesum"
)

REDIS_ERRORS = Counter("timbre_redis_errors", "Commands to Redis that failed for good.", ["error"])
DATABASE_ERRORS = Counter("timbre_database_errors", "Statements that the database failed.", ["error"])

CLIENT_REQUESTS = Counter("timbre_client_requests", "Requests of a client.", ["client", "status"])
CLIENT_JOBS = Counter("timbre_client_jobs_submitted", "Jobs accepted of a client.", ["client", "kind"])

#: Held while a value changes: a fork in that moment would leave its child with locks of the library that nobody opens.
_changing = threading.RLock()
os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_changing.release)
#: Process that counts no more, since the disk had no room.
_given_up = 0
#: Name of the client whose request this thread answers; empty where clients are not named.
client_name: ContextVar[str] = ContextVar("client_name", default="")


def count(metric: Counter, amount: float = 1, /, **labels: str) -> None:
    """Add to a counter."""
    _change(metric, "inc", amount, labels)


def observe(metric: Histogram, seconds: float, **labels: str) -> None:
    """Add a duration to a histogram."""
    _change(metric, "observe", seconds, labels)


def put(metric: Gauge, value: float, **labels: str) -> None:
    """Set a gauge."""
    _change(metric, "set", value, labels)


def _change(metric: Counter | Histogram | Gauge, how: str, value: float, labels: dict[str, str]) -> None:
    """Change a value; telemetry ends no service."""
    global _given_up
    if _given_up == os.getpid():
        return
    try:
        with _changing:
            getattr(metric.labels(**labels) if labels else metric, how)(value)
    except (OSError, ValueError, IndexError, struct.error) as error:
        _given_up = os.getpid()
        log.error("this process counts no more until it is started again", folder=FOLDER, error=str(error))


def mark_dead(pid: int) -> None:
    """Add what a child counted that is dead to the files of the dead, and forget what it was at.

    A scrape may not go on meanwhile, see `exporter.mark_dead`.
    """
    mark_process_dead(pid, FOLDER)  # type: ignore[no-untyped-call]
    for kind in ("counter", "histogram"):
        with suppress(FileNotFoundError):
            path = Path(FOLDER, f"{kind}_{pid}.db")
            _add_up(path, Path(FOLDER, f"{kind}_dead.db"))
            path.unlink()


def _add_up(path: Path, into: Path) -> None:
    """Add the values of a file to those of another one."""
    found = [*MmapedDict.read_all_values_from_file(path)]  # type: ignore[no-untyped-call]
    total = _Reserved(str(into))
    for key, value, *_ in found:
        total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    total.close()  # type: ignore[no-untyped-call]


def remove_left_over() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(FOLDER).parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _LEFT_OVER_S and not _is_locked(folder):
                shutil.rmtree(folder)


def _is_locked(folder: Path) -> bool:
    # What others put there may be no folder.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@atexit.register
def _remove_folder() -> None:
    """Remove the folder with the process that made it; children end before."""
    if os.getpid() == _OWNER:
        shutil.rmtree(FOLDER, ignore_errors=True)
