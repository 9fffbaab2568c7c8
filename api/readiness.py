"""Readiness: the parts that requests need, looked at side by side within seconds, and by name what is wrong."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Engine, text

from shared.adapters.dir_media import RESERVE_BYTES
from shared.adapters.media import open_check
from shared.adapters.redis_presence import Seen
from shared.domain.errors import Unavailable
from shared.domain.jobs import Backlog
from shared.job_service import JobService
from shared.settings import Settings

#: Longest that an answer waits for the parts, in seconds: probes themselves wait for four or five.
_WITHIN_S = 3.0
#: Seconds for which the store of uploads is not looked at again: each look may cost a request that is paid for.
_MEDIA_S = 10.0
_REDIS = "Redis does not answer, or takes no writes; check it, and TIMBRE_REDIS_URL."
_DATABASE = "The database does not answer; check it, and TIMBRE_DATABASE_URL."
_MEDIA = "No upload can be stored; check the folder and its rights (TIMBRE_DATA_DIR), or the bucket (TIMBRE_S3_BUCKET)."
DISK = (
    f"The disk of TIMBRE_DATA_DIR cannot be read, or has less than {RESERVE_BYTES >> 20} MiB free: uploads are "
    "refused. Make room on it."
)
_WORKERS = "No worker was seen for 60 s, so that jobs wait; start one, or read its log."
_COURIERS = "No courier was seen for 60 s, so that webhooks wait; start one, or read its log."

log = structlog.get_logger()

Found = TypeVar("Found")


class Look(Generic[Found]):
    """Look at a part, by one thread at a time.

    Parameters
    ----------
    part : its name.
    look : returns what is found; raises where something is wrong.
    told : the sentence for an error that has none of its own.
    recent_s : seconds for which what was found is not looked for again.
    """

    def __init__(self, part: str, look: Callable[[], Found], told: str, recent_s: float = 0.0) -> None:
        self._part = part
        self._look = look
        self._told = told
        self._recent_s = recent_s
        self._lock = threading.Lock()
        self._asked: Future[Found] | None = None
        self._asked_at = 0.0
        self._last_fault = ""

    def begin(self) -> "Future[Found]":
        """Return what will be found, by a look that is under way, recent, or new."""
        with self._lock:
            is_over = time.monotonic() - self._asked_at >= self._recent_s
            if self._asked is None or (self._asked.done() and is_over):
                self._asked = Future()
                self._asked_at = time.monotonic()
                self._start(self._asked)
            return self._asked

    def _start(self, asked: "Future[Found]") -> None:
        try:
            # Not of a pool, whose threads a process waits for when it ends.
            threading.Thread(target=self._find, args=[asked], name=self._part, daemon=True).start()
        except RuntimeError as error:
            # The system has no more threads for us.
            self._log(error)
            asked.set_exception(error)

    def _find(self, asked: "Future[Found]") -> None:
        try:
            found = self._look()
        except Exception as error:
            self._log(error)
            asked.set_exception(error)
        else:
            self._last_fault = ""
            asked.set_result(found)

    def _log(self, error: Exception) -> None:
        """Log an error that is not the same as before."""
        reason = str(error) if isinstance(error, Unavailable) else type(error).__name__
        if reason != self._last_fault:
            log.error("a part is not ready", part=self._part, reason=reason)
        self._last_fault = reason

    def outcome(self, asked: "Future[Found]", ends_at: float) -> "tuple[Found | None, Problem | None]":
        """Return what a look has found until then, or what is wrong."""
        try:
            return asked.result(max(0.0, ends_at - time.monotonic())), None
        except Unavailable as error:
            return None, Problem(self._part, str(error))
        except TimeoutError as error:
            self._log(error)
            return None, Problem(self._part, self._told)
        except Exception:
            return None, Problem(self._part, self._told)


@dataclass(frozen=True)
class Problem:
    """Problem of a part, with a sentence for whoever operates the service."""

    part: str
    message: str


class Readiness:
    """Readiness of an API process."""

    def __init__(self, settings: Settings, jobs: JobService, engine: Engine, seen: Seen) -> None:
        self._settings = settings
        self._jobs = jobs
        self._engine = engine
        self._seen = seen
        self._check_media: Callable[[], None] | None = None
        self._redis = Look("redis", self._ask_redis, _REDIS)
        self._parts: dict[str, Look[bool]] = {
            "database": Look("database", self._ask_database, _DATABASE),
            "media": Look("media", self._ask_media, _MEDIA, _MEDIA_S),
            "disk": Look("disk", self._ask_disk, DISK),
        }

    def begin(self) -> None:
        """Look at all parts, so that the log tells at the start what is wrong."""
        self._redis.begin()
        for look in self._parts.values():
            look.begin()

    def report(self) -> dict[str, Any]:
        """Return whether requests can be served, what is wrong, and how much is waiting."""
        ends_at = time.monotonic() + _WITHIN_S
        # All begin before one is waited for.
        asked_redis = self._redis.begin()
        asked = {name: look.begin() for name, look in self._parts.items()}
        found, fault = self._redis.outcome(asked_redis, ends_at)
        faults = {"redis": fault} | {name: self._parts[name].outcome(asked[name], ends_at)[1] for name in asked}
        lacking = _lacking(found[1]) if found else []
        problems = [fault for fault in faults.values() if fault]
        return {
            "status": "unavailable" if problems else "degraded" if lacking else "ok",
            **{name: fault is None for name, fault in faults.items()},
            **(_told(*found) if found else {}),
            "problems": [asdict(problem) for problem in [*problems, *lacking]],
        }

    def _ask_redis(self) -> tuple[Backlog, Counter[str]]:
        return self._jobs.backlog(), self._seen.count()

    def _ask_database(self) -> bool:
        with self._engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        return True

    def _ask_media(self) -> bool:
        self._check_media = self._check_media or open_check(self._settings)
        self._check_media()
        return True

    def _ask_disk(self) -> bool:
        disk = os.statvfs(self._settings.data_dir)
        if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
            raise Unavailable(DISK)
        return True


def _lacking(seen: Counter[str]) -> list[Problem]:
    needed = {"workers": ("worker", _WORKERS), "couriers": ("courier", _COURIERS)}
    return [Problem(part, message) for part, (role, message) in needed.items() if not seen[role]]


def _told(backlog: Backlog, seen: Counter[str]) -> dict[str, Any]:
    return asdict(backlog) | {"workers": seen["worker"], "couriers": seen["courier"]}
