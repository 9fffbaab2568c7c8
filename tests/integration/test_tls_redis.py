"""Redis over TLS: the client and Celery's broker, from the one address of the settings."""

from collections.abc import Iterator

import pytest
from kombu import pools
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError

from shared.adapters.celery_queue import celery_app
from shared.adapters.redis_client import broker_url, connect
from shared.names import QueueNames, TaskNames
from shared.settings import Settings
from tests.support.tls_redis import TlsRedis, tls_redis

PASSWORD = "p of/redis?#@:%"


@pytest.fixture(scope="module")
def server() -> Iterator[TlsRedis]:
    with tls_redis(PASSWORD) as server:
        yield server


def url(server: TlsRedis, query: str, host: str = "127.0.0.1") -> str:
    """Return the address as the settings give it to all who connect."""
    given = {"TIMBRE_REDIS_URL": f"rediss://{host}:{server.port}/0{query}", "TIMBRE_REDIS_PASSWORD": PASSWORD}
    return Settings.from_env(given).redis_url


def ring(redis_url: str) -> None:
    # A connection of an address that differs in its query alone would be taken again.
    pools.reset()
    with celery_app(redis_url) as app:
        app.send_task(TaskNames.WORK, queue=QueueNames.JOBS, retry=False)


@pytest.mark.parametrize("more", ["", "&ssl_cert_reqs=required"])
def test_one_address_with_the_authority_serves_client_and_broker(server: TlsRedis, more: str) -> None:
    found = url(server, f"?ssl_ca_certs={server.authority}{more}")
    with connect(found) as redis:
        redis.flushall()
        ring(found)
        assert redis.llen(QueueNames.JOBS) == 1


def test_neither_tells_the_password_to_a_server_of_an_unknown_authority(server: TlsRedis) -> None:
    found = url(server, "")
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"), connect(found, retries=0) as redis:
        redis.ping()
    with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
        ring(found)


def test_neither_takes_the_certificate_of_another_host(server: TlsRedis) -> None:
    found = url(server, f"?ssl_ca_certs={server.authority}", "localhost")
    with pytest.raises(ConnectionError, match="Hostname mismatch"), connect(found, retries=0) as redis:
        redis.ping()
    with pytest.raises(OperationalError, match="Hostname mismatch"):
        ring(found)


def test_the_authority_may_be_that_of_the_system(server: TlsRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    with connect(url(server, "")) as redis:
        assert redis.ping()
    ring(url(server, ""))


def test_an_address_that_names_its_own_check_is_left_alone() -> None:
    assert broker_url("rediss://h/0?ssl_cert_reqs=none") == "rediss://h/0?ssl_cert_reqs=none"
    assert broker_url("redis://h/0") == "redis://h/0"
