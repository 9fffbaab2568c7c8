"""Redis whose primary is told by Sentinels: each new connection asks them where it is."""

import copy
import ssl
from typing import Any
from urllib.parse import quote

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from shared.domain.sentinels import Sentinels

#: Seconds that a Sentinel may take. Three that hang, asked twice, leave a request its 5 s.
ASK_S = 0.4


class _Sentinel(Sentinel):
    """Sentinels, of which the one that answered is asked first the next time.

    redis-py changes the order of its list in place. Two threads that do so at once would lose a Sentinel.
    """

    def discover_master(self, service_name: str) -> Any:
        """Return host and port of the primary."""
        asked = copy.copy(self)
        asked.sentinels = list(self.sentinels)
        found = super(_Sentinel, asked).discover_master(service_name)  # type: ignore[no-untyped-call]
        self.sentinels = asked.sentinels
        return found


def primary_client(sentinels: Sentinels, options: dict[str, Any]) -> Redis:
    """Return a client of the primary with redis-py's `options`."""
    primary = _primary_options(sentinels)
    # min_other_sentinels stays 0: the Sentinels' own quorum decides.
    asked = _Sentinel(sentinels.hosts, sentinel_kwargs=_sentinel_options(sentinels, primary))  # type: ignore[no-untyped-call]
    client: Redis = asked.master_for(sentinels.master, **primary, **options)  # type: ignore[no-untyped-call]
    return client


def disconnect(pool: ConnectionPool) -> None:
    """Close a client's connections, those to Sentinels too, of which redis-py closes none."""
    pool.disconnect()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            sentinel.close()


def broker_by_sentinels(sentinels: Sentinels) -> dict[str, Any]:
    """Return Celery's settings for a broker whose primary the Sentinels tell."""
    primary = _primary_options(sentinels)
    user, password = (quote(primary.get(name, ""), safe="") for name in ("username", "password"))
    login = f"{user}:{password}@" if password else ""
    hosts = (f"[{host}]" if ":" in host else host for host, _ in sentinels.hosts)
    ports = (port for _, port in sentinels.hosts)
    return {
        "broker_url": ";".join(
            f"sentinel://{login}{host}:{port}/{primary['db']}" for host, port in zip(hosts, ports, strict=True)
        ),
        "broker_use_ssl": _tls(primary) or None,
        "broker_transport_options": {
            "master_name": sentinels.master,
            "sentinel_kwargs": _sentinel_options(sentinels, primary),
        },
    }


def _primary_options(sentinels: Sentinels) -> dict[str, Any]:
    """Return redis-py's options for the primary, less its host."""
    options: dict[str, Any] = parse_url(sentinels.primary_url)  # type: ignore[no-untyped-call]
    del options["host"]
    if options.pop("connection_class", None) is SSLConnection:
        return {"ssl": True, "ssl_cert_reqs": ssl.CERT_REQUIRED} | options
    return options


def _tls(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.startswith("ssl_")}


def _sentinel_options(sentinels: Sentinels, primary: dict[str, Any]) -> dict[str, Any]:
    login = {"username": sentinels.username, "password": sentinels.password}
    tls = _tls(primary)
    return {
        "socket_timeout": ASK_S,
        "socket_connect_timeout": ASK_S,
        "retry": Retry(NoBackoff(), 0),
        **login,
        **({"ssl": True} | tls if tls else {}),
    }
