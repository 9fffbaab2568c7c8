"""Rate limits per client, counted in Redis for all API processes together."""

import time
from dataclasses import dataclass

import structlog
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis import Redis
from redis.exceptions import RedisError

#: Seconds for which Redis is not tried again after it did not answer.
_AWAY_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Standing:
    """Use of a limit after a call: calls allowed a minute, calls left, seconds until the minute ends."""

    limit: int
    remaining: int
    reset_s: int


class RateLimits:
    """Fixed windows of a minute, per client and endpoint, each beginning with the first call.

    While Redis is away each process counts its own calls, so the API stays up with a limit.

    Parameters
    ----------
    redis : client of its own with a short timeout, since a count is not worth a wait of seconds.
    """

    def __init__(self, redis: Redis, *, posts_per_minute: int, reads_per_minute: int) -> None:
        storage = RedisStorage("redis://", connection_pool=redis.connection_pool, key_prefix="timbre:rate")
        self._shared = FixedWindowRateLimiter(storage)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._posts = RateLimitItemPerMinute(posts_per_minute)
        self._reads = RateLimitItemPerMinute(reads_per_minute)

    def count(self, client_id: str, method: str, endpoint: str) -> tuple[bool, Standing]:
        """Count a call; returns whether it is within the limit, and the use of the limit after it."""
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
