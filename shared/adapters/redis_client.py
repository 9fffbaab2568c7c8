"""Connections to Redis that never hang: every socket has a timeout and is checked before reuse after a pause."""

import threading
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

#: Longest that one try may take. Clients wait for two of them and for the doorbell: 5 s in all.
TRY_S = 1.5


#: For kombu, whose own default is to wait for ever. After a line went dead, a worker notices within three health
#: checks, then loses a try on each of its old connections: with 5 s instead of 2, it was deaf for 26 s.
BROKER_OPTIONS: dict[str, Any] = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 2,
}


class _FlatRetry(Retry):
    """Tries again, but not within each try.

    redis-py also connects and pings through its retries, so that they multiply: against a Redis that hangs, one retry
    took four times as long as a try.
    """

    _inside = threading.local()

    def call_with_retry(self, do: Callable[[], Any], fail: Callable[..., Any], *rest: Any, **options: Any) -> Any:
        """Call `do`, and again where that is allowed and this is the outermost call of its thread."""
        if getattr(self._inside, "yes", False):
            return Retry(NoBackoff(), 0).call_with_retry(do, fail, *rest, **options)
        self._inside.yes = True
        try:
            return super().call_with_retry(do, fail, *rest, **options)
        finally:
            self._inside.yes = False


def connect(url: str, *, retries: int = 1, try_s: float = TRY_S) -> Redis:
    """Return a client for `url` (`redis://`, `rediss://`, `unix://`) that decodes responses.

    Each try fails within `try_s`. Only idempotent scripts may be sent, for a try whose reply was lost is repeated.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=try_s,
        socket_connect_timeout=try_s,
        health_check_interval=5,
        retry=_FlatRetry(ExponentialBackoff(cap=2, base=0.1), retries),
    )


def broker_url(url: str) -> str:
    """Return `url` as Celery writes it: its scheme for unix sockets is another."""
    return url.replace("unix://", "redis+socket://", 1)
