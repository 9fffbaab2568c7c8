"""Redis connections with timeouts on every socket, and a health check before reuse after a pause."""

import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakSet, finalize

from redis import ConnectionPool, Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from shared.adapters.redis_sentinels import broker_by_sentinels, disconnect, primary_client
from shared.domain.sentinels import Sentinels, names_sentinels
from shared.telemetry import metrics

#: Seconds that one try may take. A request waits for two tries and for the doorbell: 5 s in all.
TRY_S = 1.5
#: Likewise at a scrape of metrics: all that is told without Redis must not wait for a Redis that is away.
SCRAPE_TRY_S = 0.5


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


#: Answers of a server that is the primary no more: as a replica, as one whose primary is away, and as one whose
#: replicas have left it, for a new primary perhaps.
_DEMOTED = ("READONLY", "MASTERDOWN", "NOREPLICAS")
#: Seconds between two times that all connections are made anew.
_RENEW_EVERY_S = 1.0
_renewed_at = float("-inf")
#: Connections of this process, by client.
_pools = WeakSet[ConnectionPool]()


class _FlatRetry(Retry):
    """Retry policy whose retries do not nest, and which leaves a server that is the primary no more.

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
            return super().call_with_retry(lambda: _noticing(do), fail, *rest, **options)
        except NoScriptError:
            # The script is sent next.
            raise
        except RedisError as error:
            metrics.count(metrics.REDIS_ERRORS, error=type(error).__name__)
            raise
        finally:
            self._inside.yes = False


def _noticing(do: Callable[[], Any]) -> Any:
    """Call `do`; where a server was demoted, all connections of the process are made anew, and `do` is tried again.

    The server would go on to answer those who only read, and what it knows may be old.
    """
    try:
        return do()
    except ResponseError as error:
        # Codes that redis-py knows it takes off the message.
        if not (error.status_code or str(error)).startswith(_DEMOTED):
            raise
        _renew_connections()
        raise RedisConnectionError("Redis is not the primary, or has lost its replicas.") from error


def _renew_connections() -> None:
    """Make all connections of the process anew, once in a while: each write may be answered so."""
    global _renewed_at
    if time.monotonic() - _renewed_at < _RENEW_EVERY_S:
        return
    _renewed_at = time.monotonic()
    for pool in list(_pools):
        pool.update_active_connections_for_reconnect()
        pool.disconnect_free_connections()


def connect(url: str, *, retries: int = 1, try_s: float = TRY_S) -> Redis:
    """Return a client for `url` (`redis://`, `rediss://`, `unix://`, `sentinel://`) that decodes responses.

    Each try fails within `try_s`. Only idempotent scripts may be sent: a try whose reply was lost is repeated.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": try_s,
        "socket_connect_timeout": try_s,
        "health_check_interval": 5,
        "retry": _FlatRetry(ExponentialBackoff(cap=2, base=0.1), retries),
    }
    client = primary_client(Sentinels.parse(url), options) if names_sentinels(url) else Redis.from_url(url, **options)
    _pools.add(client.connection_pool)
    # Of a client in a cycle of garbage, the sockets may be finalized first, while they are open.
    finalize(client, disconnect, client.connection_pool).atexit = False
    return client


def broker_settings(url: str) -> dict[str, Any]:
    """Return Celery's settings for its broker at `url`."""
    if names_sentinels(url):
        settings = broker_by_sentinels(Sentinels.parse(url))
        return settings | {"broker_transport_options": BROKER_OPTIONS | settings["broker_transport_options"]}
    return {"broker_url": broker_url(url), "broker_transport_options": BROKER_OPTIONS}


def broker_url(url: str) -> str:
    """Return `url` as Celery takes it: with its scheme for Unix sockets, and with certificates verified.

    Without `ssl_cert_reqs` Celery would send the password to any server that answers.
    """
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"
    return url.replace("unix://", "redis+socket://", 1)
