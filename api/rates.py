"""Rate limits per client, counted in Redis for all API processes together."""

import math
import time
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from redis import Redis
from redis.exceptions import RedisError

from shared.adapters.redis_scripts import Scripts

_MINUTE_MS = 60_000
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
        self._scripts = Scripts(redis)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0
        self._posts_per_minute = posts_per_minute
        self._reads_per_minute = reads_per_minute

    def count(self, client_id: str, method: str, endpoint: str) -> tuple[bool, Standing]:
        """Count a call; returns whether it is within the limit, and the use of the limit after it."""
        limit = self._posts_per_minute if method == "POST" else self._reads_per_minute
        if time.monotonic() < self._away_until:
            return self._count_here(limit, client_id, endpoint)
        try:
            return self._count_together(limit, client_id, endpoint)
        except RedisError as error:
            self._away_until = time.monotonic() + _AWAY_S
            log.warning("rate limits are counted by each process", error=type(error).__name__)
            return self._count_here(limit, client_id, endpoint)

    def _count_together(self, limit: int, client_id: str, endpoint: str) -> tuple[bool, Standing]:
        calls, left_ms = self._scripts("count", _MINUTE_MS, keys=[f"timbre:rate:{limit}:{client_id}:{endpoint}"])
        return calls <= limit, Standing(limit, max(0, limit - calls), max(1, math.ceil(left_ms / 1000)))

    def _count_here(self, limit: int, client_id: str, endpoint: str) -> tuple[bool, Standing]:
        item = RateLimitItemPerMinute(limit)
        passed = self._own.hit(item, client_id, endpoint)
        window = self._own.get_window_stats(item, client_id, endpoint)
        left_s = max(1, math.ceil(window.reset_time - time.time()))
        return passed, Standing(limit, max(0, window.remaining), left_s)
