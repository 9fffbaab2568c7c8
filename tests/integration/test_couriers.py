"""Couriers at work: receivers that hang delay no other client, and what was sent while Redis is away is sent once."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress

import pytest

from shared.adapters import redis_deliveries
from shared.adapters.redis_client import connect
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.dialects.signatures import new_secret
from shared.domain.addresses import AddressRules
from shared.domain.delivery import DeliveryState
from shared.domain.jobs import Status, new_job_id
from shared.local.stack import RedisServer
from tests.support.client import eventually
from tests.support.receiver import receiving, wait_for
from tests.support.records import DIALECTS, ENVELOPE, finish, job_store, submission
from worker import courier as courier_module
from worker.courier import Courier
from worker.egress import Egress, system_resolver
from worker.webhooks.sender import Deliverer

LOOPBACK = AddressRules.parse("1-65535", "127.0.0.0/8,hangs.example")
CLIENTS, WEBHOOKS = 50, 20
SECRET = new_secret()


def end_job(redis, client, url):
    """End a job with a webhook to `url`; returns its id."""
    jobs = job_store(redis, lambda: "", lease_s=600.0, ttl_s=3600, max_unfinished=10**6)
    job = jobs.create(new_job_id(), client, submission("https://x", url))
    assert finish(jobs, jobs.claim(), Status.SUCCEEDED, {"voiceprint": "VE1C"})
    return job.id


@contextmanager
def couriers(redis, number, timeout_s, resolve=system_resolver):
    """Run so many couriers on a Redis until the end of the block."""
    with ExitStack() as running:
        for _ in range(number):
            deliveries = RedisDeliveries(redis, ENVELOPE)
            deliverer = Deliverer(
                deliveries=deliveries,
                secrets=lambda _: [SECRET],
                egress=Egress(rules=LOOPBACK, resolve=resolve),
                dialects=DIALECTS,
                https_only=False,
                timeout_s=timeout_s,
            )
            courier = Courier(deliveries, deliverer)
            thread = threading.Thread(target=courier.run)
            thread.start()
            running.callback(thread.join)
            running.callback(courier.stop)
        yield


class Hanging:
    """One way to hang, for the receivers of many clients, until `over`; `begun` counts those that hang."""

    def __init__(self, way):
        self.over, self.begun, self.ports = threading.Event(), Counter(), []
        self._way, self._started = way, threading.Event()

    def urls(self, client):
        """Return the addresses of a client's receivers."""
        if self._way == "names":
            return [f"http://hangs.example:{1000 + client}/"]
        scheme = "https" if self._way == "handshake" else "http"
        return [f"{scheme}://127.0.0.1:{self.ports[client]}/"]

    def resolve(self, host):
        """Resolve names; that of the receivers hangs."""
        if host == "hangs.example":
            self.begun["names"] += 1
            self.over.wait()
            return []
        return system_resolver(host)

    @contextmanager
    def running(self):
        """Serve until the end of the block."""
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        thread.start()
        self._started.wait()
        try:
            yield
        finally:
            self.over.set()
            thread.join()

    async def _serve(self):
        sockets = [socket.create_server(("127.0.0.1", 0), backlog=100) for _ in range(CLIENTS)]
        self.ports = [each.getsockname()[1] for each in sockets]
        servers = []
        if self._way == "connection":
            # Nobody accepts, and connections that fill the backlog keep others out.
            for each in sockets:
                each.listen(0)
                servers.append(_filled(each))
            self.begun["connection"] = 1
        else:
            servers = [await asyncio.start_server(self._hang, sock=each) for each in sockets]
        self._started.set()
        await asyncio.to_thread(self.over.wait)
        for each in [*servers, *sockets]:
            each.close()

    async def _hang(self, reader, writer):
        self.begun[self._way] += 1
        if self._way == "drip":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        with suppress(OSError, asyncio.CancelledError):
            await self._wait(writer)
        writer.close()

    async def _wait(self, writer):
        while not self.over.is_set():
            if self._way == "drip" and not writer.is_closing():
                writer.write(b"x")
            await asyncio.sleep(0.2)


class _filled:  # noqa: N801
    def __init__(self, listening):
        self._sockets = []
        for _ in range(3):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(listening.getsockname())
            self._sockets.append(each)

    def close(self):
        for each in self._sockets:
            each.close()


@pytest.mark.parametrize("number", [1, 2], ids=["one courier", "two couriers"])
@pytest.mark.parametrize("way", ["answer", "drip", "handshake", "connection", "names"])
def test_receivers_that_hang_of_fifty_clients_hold_no_other_client_up(redis, way, number, monkeypatch):
    # No try of theirs ends within the test, so a webhook that waited for one would not come.
    monkeypatch.setattr("worker.egress._CONNECT_TIMEOUT_S", 120.0)
    monkeypatch.setattr("worker.egress._RESOLVE_TIMEOUT_S", 120.0)
    monkeypatch.setattr(redis_deliveries, "SEND_S", 300.0)
    monkeypatch.setattr(courier_module, "LAST_S", 0.1)
    hanging = Hanging(way)
    with hanging.running(), couriers(redis, number, 120.0, hanging.resolve), receiving("200") as well:
        for _ in range(WEBHOOKS):
            for client in range(CLIENTS):
                for url in hanging.urls(client):
                    end_job(redis, f"client{client}", url)
        eventually(lambda: hanging.begun[way], within_s=60)
        for posts in range(1, 6):
            end_job(redis, "other", well.url)
            wait_for(well, posts, within_s=60)
            time.sleep(0.3)


@pytest.fixture
def server(tmp_path):
    server = RedisServer(tmp_path / "data", tmp_path / "redis.log")
    server.wait()
    yield server
    server.stop()


class _Away:
    """Ways in which Redis is away."""

    def __init__(self, server):
        self._server = server

    @contextmanager
    def frozen(self):
        os.kill(self._server.pid, signal.SIGSTOP)
        yield
        os.kill(self._server.pid, signal.SIGCONT)

    @contextmanager
    def killed(self):
        self._server.kill()
        yield
        self._server.start()
        self._server.wait()

    @contextmanager
    def full(self):
        with connect(self._server.url) as client:
            client.config_set("maxmemory", 1)
            yield
            client.config_set("maxmemory", 0)


@pytest.mark.parametrize("way", ["frozen", "killed", "full"])
@pytest.mark.parametrize("number", [1, 3], ids=["one courier", "three couriers"])
def test_what_was_sent_while_redis_was_away_is_not_sent_again(server, way, number, monkeypatch):
    # A fifth of the real lease; Redis is away for longer than it lasts.
    send_s = 4.0
    monkeypatch.setattr(redis_deliveries, "SEND_S", send_s)
    with connect(server.url) as redis, receiving("gate 200") as receiver, couriers(redis, number, 60.0):
        job_ids = [end_job(redis, f"client{place % 3}", receiver.url) for place in range(8)]
        wait_for(receiver, len(job_ids), within_s=60)
        with getattr(_Away(server), way)():
            receiver.released.set()
            time.sleep(send_s + 2)
        deliveries = RedisDeliveries(redis, ENVELOPE)
        for place, job_id in enumerate(job_ids):
            log = eventually(lambda which=(f"client{place % 3}", job_id): _delivered(deliveries, *which), within_s=60)
            assert [entry.status for entry in log.tries] == [200]
        eventually(lambda: not redis.keys("timbre:due:*:*"), within_s=60)
    assert len(receiver.posts) == len(job_ids)


def _delivered(deliveries, client, job_id):
    log = deliveries.log(client, job_id)
    return log if log.state is DeliveryState.DELIVERED else None
