"""How often a client may call: counted in Redis, so that it holds over any number of API processes."""

import time
from dataclasses import dataclass

import structlog
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis import Redis
from redis.exceptions import RedisError

#: Seconds after which a Redis that did not answer is asked again.
_AWAY_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Standing:
    """Where a client stands after a call."""

    limit: int
    remaining: int
    reset_s: int


class RateLimits:
    """Fixed windows of a minute, one per client and endpoint, beginning with the first call.

    While Redis is away each process counts for itself, so the API stays up and the limit never quite disappears.

    Parameters
    ----------
    redis : client of its own, that gives up soon: what is worth seconds to a job is not to a count.
    """

    def __init__(self, redis: Redis, *, posts_per_minute: int, reads_per_minute: int) -> None:
        storage = RedisStorage("redis://", connection_pool=redis.connection_pool, key_prefix="timbre:rate")
        self._shared, self._own = FixedWindowRateLimiter(storage), FixedWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._posts, self._reads = (RateLimitItemPerMinute(n) for n in (posts_per_minute, reads_per_minute))

    def count(self, client_id: str, method: str, endpoint: str) -> tuple[bool, Standing]:
        """Count a call; says whether it may go on, and how the client stands now."""
        item = self._posts if method == "POST" else self._reads
        if time.monotonic() < self._away_until:
            return _count(self._own, item, client_id, endpoint)
        try:
            return _count(self._shared, item, client_id, endpoint)
        except RedisError as error:
            self._away_until = time.monotonic() + _AWAY_S
            log.warning("rate limits are counted by each process", error=type(error).__name__)
            return _count(self._own, item, client_id, endpoint)


def _count(limiter: FixedWindowRateLimiter, item: RateLimitItem, *who: str) -> tuple[bool, Standing]:
    passed = limiter.hit(item, *who)
    window = limiter.get_window_stats(item, *who)
    left_s = max(1, round(window.reset_time - time.time()))
    return passed, Standing(item.amount, max(0, window.remaining), left_s)
