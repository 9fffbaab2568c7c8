"""Presence of the service's processes in Redis, and their agreement on what they must have in common."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import make_url

from shared.adapters.redis_client import SCRAPE_TRY_S, connect
from shared.adapters.redis_scripts import NEWCOMER_MS, Clock, Scripts, redis_clock
from shared.adapters.sealing import Tagger
from shared.domain.errors import SettingsError
from shared.names import process_name
from shared.settings import Settings, kept_name
from shared.telemetry.exporter import ROLES

#: Seconds for which a process that was silent since counts as alive, and holds the others to the agreement.
SEEN_S = 60.0
#: Seconds between two notes of a process: each is written to Redis's append-only file.
_EVERY_S = 10.0
_LIFE_MS = round(SEEN_S * 1000)
_SEEN = "timbre:seen"
#: For each term of an agreement: what is otherwise, and the settings that decide it.
_TERMS = {
    "uploads": ("keep uploads elsewhere", "TIMBRE_S3_BUCKET and TIMBRE_S3_ENDPOINT_URL"),
    "database": ("use another database", "TIMBRE_DATABASE_URL"),
    "secret": ("have another server secret", "TIMBRE_SECRET or TIMBRE_SECRET_FILE"),
}


class RedisPresence:
    """Presence of this process.

    Parameters
    ----------
    role : one of the roles of processes, `worker` say.
    terms : what this process must have in common with all others on this Redis, by the names of `agreed`.
    """

    def __init__(self, redis: Redis, role: str, terms: dict[str, str], clock: Clock = redis_clock) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._process = f"{role}/{process_name()}"
        self._terms = terms
        self._marked_at = float("-inf")
        self._agreed = False
        self._left = False
        self._lock = threading.Lock()

    def mark(self) -> bool:
        """Note that this process lives, unless it did so within the last seconds; a note that Redis lost is renewed.

        Returns False while a process that has not agreed before finds no agreement. Others may renew theirs after Redis
        was away, so that it must ask again.

        Raises
        ------
        SettingsError
            Those that live do not agree with this process.
        """
        with self._lock:
            if not self._left and not self._is_noted():
                self._mark()
            return self._agreed

    def _is_noted(self) -> bool:
        is_recent = time.monotonic() - self._marked_at < _EVERY_S
        return is_recent and self._redis.zscore(_SEEN, self._process) is not None

    def _mark(self) -> None:
        terms = [part for term in self._terms.items() for part in term]
        found = self._scripts("present", self._process, _LIFE_MS, 0 if self._agreed else NEWCOMER_MS, *terms)
        if found is None:
            return
        if found:
            raise SettingsError(_disagreement(self._terms, dict(zip(found[::2], found[1::2], strict=True))))
        self._agreed = True
        self._marked_at = time.monotonic()

    def leave(self) -> None:
        """Note that this process ends; the last one takes the agreement along."""
        with self._lock, suppress(RedisError):
            self._left = True
            self._redis.zrem(_SEEN, self._process)
        self._redis.close()


class Seen(Collector):
    """Counts of processes that were alive within the last minute, also as a metric."""

    def __init__(self, redis: Redis, clock: Clock = redis_clock) -> None:
        self._scripts = Scripts(redis, clock)

    def count(self) -> Counter[str]:
        """Return how many processes of each role were."""
        return Counter(process.partition("/")[0] for process in self._scripts("seen", _LIFE_MS))

    def collect(self) -> Iterator[Metric]:
        """Yield the metric, unless Redis is away."""
        found = GaugeMetricFamily(
            "timbre_processes_seen", "Processes that were alive within the last 60 s.", labels=["role"]
        )
        try:
            seen = self.count()
        except RedisError:
            return
        for role in ROLES:
            found.add_metric([role], seen[role])
        yield found


def open_presence(settings: Settings, role: str) -> RedisPresence:
    """Return the presence of this process on a connection of its own."""
    return RedisPresence(connect(settings.redis_url), role, agreed(settings))


def open_seen(url: str) -> Seen:
    """Return the collector of how many processes live, for the Redis at an address."""
    return Seen(connect(url, retries=0, try_s=SCRAPE_TRY_S))


def agreed(settings: Settings) -> dict[str, str]:
    """Return what all processes of one service must have in common; nothing of it is secret."""
    return {
        "uploads": _bucket(settings) or _folder(settings.data_dir),
        "database": _database(settings.sql_url()),
        "secret": Tagger(settings.secret_bytes(), "agreement").tag(b"", "secret").hex()[:16],
    }


def _bucket(settings: Settings) -> str | None:
    if settings.s3_bucket is None:
        return None
    url = urlsplit(settings.s3_endpoint_url or "")
    # Without user and password.
    return f"bucket {settings.s3_bucket} at {url.netloc.rpartition('@')[2].lower() or 'AWS'}{url.path.rstrip('/')}"


def _folder(path: Path) -> str:
    return f"folder {kept_name(path / 'folder-name')}"


def _database(url: str) -> str:
    """Return the kind of database; of a file also its folder. Servers may have several addresses."""
    where = make_url(url)
    if where.get_backend_name() != "sqlite":
        return "server"
    path = Path(where.database or "")
    return f"{path.name} in {_folder(path.parent)}"


def _disagreement(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """Return the sentences for an operator whose process has other terms than those that live; tags are left out."""
    told = {term: f" ({theirs[term]}; here {ours[term]})" for term in theirs if term != "secret"}
    what = ", and ".join(f"{_TERMS[term][0]}{told.get(term, '')}" for term in theirs)
    settings = "; ".join(_TERMS[term][1] for term in theirs)
    return (
        f"Other processes of the service on this Redis (TIMBRE_REDIS_URL) {what}. Let all share one folder, "
        f"TIMBRE_DATA_DIR, or set alike for all: {settings}. If the service was moved, stop all its processes, and "
        "start it again after a minute."
    )
