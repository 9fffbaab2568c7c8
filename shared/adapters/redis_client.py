"""Redis connections with timeouts on every socket, and a health check before reuse after a pause."""

import threading
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

#: Seconds that one try may take. A request waits for two tries and for the doorbell: 5 s in all.
TRY_S = 1.5


#: Timeouts for kombu, which has none by default: a worker notices a dead connection within three health checks.
BROKER_OPTIONS: dict[str, Any] = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 2,
    # A message may be lost, so none needs an acknowledgement. With each that fails, kombu would count one message as
    # in hand for ever. A worker of one process then got no more.
    "ack_emulation": False,
}


class _FlatRetry(Retry):
    """Retry policy whose retries do not nest.

    redis-py also connects and pings with retries, so that they multiply. Against a Redis that hangs, one retry took
    four times as long as a try.
    """

    _inside = threading.local()

    def call_with_retry(self, do: Callable[[], Any], fail: Callable[..., Any], *rest: Any, **options: Any) -> Any:
        """Call `do`, with retries only in the outermost call of the thread."""
        if getattr(self._inside, "yes", False):
            return Retry(NoBackoff(), 0).call_with_retry(do, fail, *rest, **options)
        self._inside.yes = True
        try:
            return super().call_with_retry(do, fail, *rest, **options)
        finally:
            self._inside.yes = False


def connect(url: str, *, retries: int = 1, try_s: float = TRY_S) -> Redis:
    """Return a client for `url` (`redis://`, `rediss://`, `unix://`) that decodes responses.

    Each try fails within `try_s`. Only idempotent scripts may be sent: a try whose reply was lost is repeated.
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
    """Return `url` with Celery's scheme for Unix sockets."""
    return url.replace("unix://", "redis+socket://", 1)
