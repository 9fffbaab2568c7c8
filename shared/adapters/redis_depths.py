"""Depths of queues for metrics, which Redis is asked for at each scrape."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from shared.adapters.redis_client import SCRAPE_TRY_S, connect
from shared.adapters.redis_scripts import Clock, Scripts, redis_clock
from shared.domain.commands import Lane

#: Most receivers of webhooks that one scrape looks at, some 10 ms of Redis.
_MOST = 5000
_OF_ALL = "Of the whole service, whichever process tells it: take the largest."


class RedisDepths(Collector):
    """Collector of what waits in the whole service; it tells nothing while Redis is away."""

    def __init__(self, redis: Redis, clock: Clock = redis_clock) -> None:
        self._scripts = Scripts(redis, clock)

    def collect(self) -> Iterator[Metric]:
        """Ask Redis."""
        try:
            running, webhooks, *lanes = self._scripts("depth", _MOST, *Lane)
        except RedisError:
            return
        jobs = {lane: number for lane, (number, _) in zip(Lane, lanes, strict=True)}
        ages_s = {lane: oldest_ms / 1000 for lane, (_, oldest_ms) in zip(Lane, lanes, strict=True)}
        yield _by_lane("timbre_queue_jobs", "Jobs that wait for a worker.", jobs)
        yield _by_lane("timbre_queue_oldest_seconds", "Age of the oldest job that waits; 0 when none does.", ages_s)
        yield _one("timbre_jobs_running", "Jobs that workers hold.", running)
        yield _one("timbre_webhooks_due", "Webhooks that are due and not on their way.", webhooks[0])
        yield _one(
            "timbre_webhooks_oldest_seconds", "Time for which the first of them has been due.", webhooks[1] / 1000
        )


def open_depths(url: str) -> RedisDepths:
    """Return the collector for the Redis at an address."""
    return RedisDepths(connect(url, retries=0, try_s=SCRAPE_TRY_S))


def _by_lane(name: str, doc: str, values: dict[Lane, float]) -> Metric:
    found = GaugeMetricFamily(name, f"{doc} {_OF_ALL}", labels=["lane"])
    for lane, value in values.items():
        found.add_metric([lane], value)
    return found


def _one(name: str, doc: str, value: float) -> Metric:
    return GaugeMetricFamily(name, f"{doc} {_OF_ALL}", value=value)
