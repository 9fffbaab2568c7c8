"""Clients of a Redis whose primary changes: what they notice, and when."""

import os
import re
import shutil
import signal
import threading
import time
from contextlib import suppress

import pytest
import trustme
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.adapters.celery_queue import CeleryQueue, celery_app
from shared.adapters.redis_client import connect
from shared.adapters.redis_endings import CHANNEL, RedisEndings
from shared.adapters.redis_sentinels import ASK_S
from shared.local.stack import Process, free_port
from shared.names import QueueNames
from tests.support.apis import api
from tests.support.client import eventually
from tests.support.failover import NAME, address, pair, sentinels, switch, url_by


@pytest.fixture
def servers(tmp_path):
    with pair(tmp_path) as servers:
        yield servers


@pytest.fixture
def front(servers):
    with address(servers[0]) as front:
        yield front


def url_of(front):
    return f"redis://127.0.0.1:{front.port}/0"


def ours(node):
    """Return the connections of our clients to a server."""
    own = str(node.client.client_id())
    return [one for one in node.client.client_list() if one["id"] != own and one["flags"] == "N"]


def test_a_server_that_was_demoted_is_left_by_the_first_write_and_by_every_pooled_connection(front, servers):
    primary, replica = servers
    writer, reader = connect(url_of(front)), connect(url_of(front))
    with reader.client() as one, reader.client() as other:
        one.get("x")
        other.get("x")
    assert len(ours(primary)) == 2
    writer.set("x", "old")
    switch(front, primary, replica)
    assert reader.get("x") == "old"
    writer.set("x", "new")
    assert eventually(lambda: not ours(primary))
    assert (reader.get("x"), replica.client.get("x")) == ("new", "new")
    writer.close()
    reader.close()


def test_a_script_is_loaded_again_by_a_new_primary_that_has_never_seen_it(front, servers):
    client = connect(url_of(front))
    script = client.register_script("return redis.call('INCR', KEYS[1])")
    assert script(keys=["x"]) == 1
    servers[1].client.script_flush()
    switch(front, *servers)
    assert script(keys=["x"]) == 2
    client.close()


def test_who_waits_for_the_end_of_a_job_hears_of_it_on_a_server_that_was_demoted(front, servers):
    client = connect(url_of(front))
    endings = RedisEndings(client)
    with endings.expected("job") as event:
        switch(front, *servers)
        eventually(lambda: servers[0].follows(servers[1]))
        event.clear()
        eventually(lambda: servers[1].client.publish(CHANNEL, "job") >= 0 and event.wait(0.1))
    endings.stop()
    eventually(lambda: "endings" not in {thread.name for thread in threading.enumerate()})
    client.close()


def test_a_worker_that_listens_at_a_server_that_was_demoted_is_told_so(front, servers):
    app = celery_app(url_of(front))
    queue = app.amqp.queues[QueueNames.JOBS]
    with app.connection_for_read() as connection, connection.Consumer([queue], on_message=print):
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)
        switch(front, *servers)
        # Celery makes a new connection after such an error.
        with pytest.raises(connection.channel_errors, match=r"UNBLOCKED|READONLY"):
            connection.drain_events(timeout=30)
        connection.collect()


def test_the_doorbell_rings_at_the_new_primary(front, servers):
    client = connect(url_of(front))
    queue = CeleryQueue(celery_app(url_of(front)), client)
    queue.ring()
    eventually(lambda: servers[0].client.llen(QueueNames.JOBS) == 1)
    switch(front, *servers)
    queue.ring()
    eventually(lambda: servers[1].client.llen(QueueNames.JOBS) == 2)
    client.close()


def test_sentinels_tell_where_the_primary_is_though_the_first_of_them_is_dead(tmp_path, servers):
    primary, replica = servers
    with sentinels(tmp_path, primary) as watching:
        watching[0].kill()
        client = connect(url_by(watching))
        client.set("x", "old")
        primary.in_step(replica)
        primary.kill()
        eventually(lambda: accepts(client, "new"))
        assert replica.client.get("x") == "new"
        client.close()


def test_no_sentinel_that_hangs_is_waited_for_twice(tmp_path, servers):
    with sentinels(tmp_path, servers[0]) as watching:
        client = connect(url_by(watching))
        os.kill(watching[0].pid, signal.SIGSTOP)
        try:
            client.set("x", "first")
            seconds = []
            for _ in range(5):
                client.connection_pool.disconnect()
                started = time.monotonic()
                client.set("x", "again")
                seconds.append(time.monotonic() - started)
        finally:
            os.kill(watching[0].pid, signal.SIGCONT)
        assert min(seconds) < ASK_S
        client.close()


def test_a_request_is_refused_within_five_seconds_though_no_sentinel_answers_and_the_primary_is_dead(tmp_path, servers):
    with sentinels(tmp_path, servers[0]) as watching, api(tmp_path / "api", url_by(watching)) as client:
        assert client.post("/v1/voiceprint", url="media://x").status_code == 200
        for sentinel in watching:
            os.kill(sentinel.pid, signal.SIGSTOP)
        servers[0].kill()
        try:
            answers = [client.post("/v1/voiceprint", url="media://x") for _ in range(3)]
        finally:
            for sentinel in watching:
                os.kill(sentinel.pid, signal.SIGCONT)
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "5")] * 3
    assert min(answer.elapsed.total_seconds() for answer in answers) < 5


def test_primary_and_sentinels_may_each_ask_for_a_password_of_its_own(tmp_path, servers):
    with sentinels(tmp_path, servers[0], "theirs") as watching:
        for node in servers:
            node.client.config_set("masterauth", "p@ss")
            node.client.config_set("requirepass", "p@ss")
        for sentinel in watching:
            sentinel.client.sentinel_set(NAME, "auth-pass", "p@ss")
        url = url_by(watching).replace("//", "//:p%40ss@") + "&sentinel_password=theirs"
        client = connect(url)
        app = celery_app(url)
        CeleryQueue(app, client).ring()
        eventually(lambda: servers[0].client.llen(QueueNames.JOBS) == 1)
        shown = app.connection_for_write().as_uri() + repr(client)
        assert not re.search("p@ss|p%40ss|theirs", shown)
        client.close()


@pytest.fixture
def tls_address(tmp_path):
    """Address of a Sentinel and a primary that speak TLS alone."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("needs a redis-server with TLS")
    authority, files = trustme.CA(), [tmp_path / name for name in ("authority.pem", "key.pem", "chain.pem")]
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    certificate.cert_chain_pems[0].write_to_path(files[2])
    names = ("tls-ca-cert-file", "tls-key-file", "tls-cert-file")
    tls = "".join(f"{name} {file}\n" for name, file in zip(names, files, strict=True))
    ports = free_port(), free_port()
    watch = f"sentinel monitor {NAME} 127.0.0.1 {ports[0]} 1\n"
    servers = []
    for port, more, options in ((ports[0], "", []), (ports[1], watch, ["--sentinel"])):
        file = tmp_path / f"{port}.conf"
        file.write_text(
            f"port 0\ntls-port {port}\ndir {tmp_path}\ntls-auth-clients no\ntls-replication yes\n{tls}{more}"
        )
        servers.append(Process("Redis", [binary, str(file), *options], tmp_path / f"{port}.log"))
    yield f"sentinels://127.0.0.1:{ports[1]}/0?master={NAME}&ssl_ca_certs={files[0]}"
    for server in servers:
        server.stop()


def test_primary_and_sentinels_are_spoken_to_over_tls_and_must_prove_who_they_are(tls_address):
    client = connect(tls_address)
    eventually(lambda: accepts(client, "x"))
    CeleryQueue(celery_app(tls_address), client).ring()
    eventually(lambda: client.llen(QueueNames.JOBS) == 1)
    stranger = tls_address.partition("&")[0]
    assert not accepts(connect(stranger), "y")
    with celery_app(stranger).connection_for_write() as broker, pytest.raises(OperationalError):
        broker.ensure_connection(max_retries=1, interval_start=0)
    client.close()


def accepts(client, value):
    """Say whether a write succeeds."""
    with suppress(RedisError):
        return client.set("x", value)
