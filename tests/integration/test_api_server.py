"""The API's server: odd but proper HTTP, its stop, its processes, and what the death of its master leaves."""

import http.client
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from redis import Redis

from tests.support.answers import refused
from tests.support.apis import another_database, api, api_process
from tests.support.client import eventually, put
from tests.support.stacks import LOOPBACK, first_client, running

MANY = {"posts_per_minute": 10**6, "reads_per_minute": 10**6}
WITHIN_S = 20
#: Largest JSON body. Smaller bodies are gathered before a thread sees them.
SMALL = 1 << 16
FILE = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def client(tmp_path_factory, redis_server):
    with api(tmp_path_factory.mktemp("server"), redis_server.url, **MANY) as client:
        yield client


@contextmanager
def connected(client):
    """Open a connection, and a file to read its answers from."""
    place = urlsplit(client.url)
    with (
        socket.create_connection((place.hostname, place.port), WITHIN_S) as connection,
        connection.makefile("rb") as answers,
    ):
        yield connection, answers


def head(client, method, path, *more):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {client.key}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def json_head(client, body, *more):
    more = ("Content-Type: application/json", f"Content-Length: {len(body)}", *more)
    return head(client, "POST", "/v1/voiceprint", *more)


def path_of(address):
    return urlsplit(address).path


def stored(client, name):
    address = client.post("/v1/media/output", url=f"media://{name}").json()["url"]
    return requests.get(address, timeout=WITHIN_S).content


def test_requests_that_are_sent_in_one_go_are_answered_one_by_one(client):
    body = b'{"url":"media://x"}'
    refused = head(client, "PUT", "/v1/media/upload/forged", "Content-Length: 5") + b"GET /"
    with connected(client) as (connection, answers):
        parts = [json_head(client, body) + body, refused, head(client, "GET", "/healthz"), head(client, "GET", "/docs")]
        connection.sendall(b"".join(parts) + head(client, "GET", "/v1/test", "Connection: close"))
        found = answers.read()
    assert [part[:3] for part in found.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200", b"200", b"200"]


@pytest.mark.parametrize("size", [1000, SMALL, SMALL + 1, len(FILE)])
def test_a_client_that_waits_to_be_invited_is_told_to_go_on_once(client, size):
    path = path_of(client.address("media://invited"))
    with connected(client) as (connection, answers):
        more = ("Expect: 100-continue", f"Content-Length: {size}", "Connection: close")
        connection.sendall(head(client, "PUT", path, *more))
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        connection.sendall(FILE[:size])
        assert answers.read().startswith(b"\r\nHTTP/1.1 200 ")
    assert stored(client, "invited") == FILE[:size]


@pytest.mark.parametrize("size", [1, SMALL - 1, SMALL, SMALL + 1, len(FILE)])
def test_uploads_of_every_size_are_whole_chunked_or_not(client, size):
    address = client.address("media://sized")
    for body in (FILE[:size], iter([FILE[:1], FILE[1:size]]) if size > 1 else iter([FILE[:1]])):
        assert put(address, body).status_code == 200
        assert stored(client, "sized") == FILE[:size]


def test_json_of_exactly_the_limit_is_read_and_a_byte_more_is_not(client):
    with requests.Session() as session:
        for size, status in ((SMALL, 200), (SMALL + 1, 413), (SMALL, 200)):
            body = b'{"url":"media://x"}'.ljust(size)
            headers = {"Authorization": f"Bearer {client.key}", "Content-Type": "application/json"}
            answer = session.post(f"{client.url}/v1/voiceprint", data=body, headers=headers, timeout=WITHIN_S)
            assert answer.status_code == status


def test_head_gives_the_headers_alone_and_the_connection_goes_on(client):
    client.upload("headed", FILE)
    download = path_of(client.post("/v1/media/output", url="media://headed").json()["url"])
    place = urlsplit(client.url)
    with closing(http.client.HTTPConnection(place.hostname, place.port, timeout=WITHIN_S)) as connection:
        for path in ("/healthz", "/docs", download):
            connection.request("HEAD", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
            connection.request("GET", path)
            assert len(connection.getresponse().read()) == int(answer.headers["Content-Length"])


def test_http_1_0_is_answered_and_its_connection_ended(client):
    with connected(client) as (connection, answers):
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 " in answers.readline()
        assert answers.read().endswith(b"}\n")


def test_a_request_that_comes_byte_by_byte_is_read_whole(client):
    body = b'{"url":"media://x"}'
    with connected(client) as (connection, answers):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in json_head(client, body, "Connection: close") + body:
            connection.sendall(bytes([byte]))
        assert b" 200 " in answers.readline()


def test_an_upload_beyond_those_at_once_is_refused_until_one_has_ended(tmp_path, redis_server):
    with (
        api(tmp_path, another_database(redis_server), api_uploads=1, **MANY) as client,
        begun_upload(client, tmp_path) as (connection, answers),
    ):
        address = client.address("media://another")
        refusal = refused(put(address, FILE), 503, "unavailable")
        assert "TIMBRE_API_UPLOADS" in refusal["message"]
        assert put(address, FILE[:1000]).status_code == 200
        connection.sendall(FILE[1:])
        assert b" 200 " in answers.readline()
        eventually(lambda: put(address, FILE).status_code == 200)


@contextmanager
def begun_upload(client, folder):
    """Begin an upload of FILE; gives the connection that the rest is to be sent on, and its answers."""
    path = path_of(client.address("media://begun"))
    with connected(client) as (connection, answers):
        connection.sendall(head(client, "PUT", path, f"Content-Length: {len(FILE)}") + FILE[:1])
        eventually(lambda: tallied(folder) == len(FILE))
        yield connection, answers


@contextmanager
def begun_wait(client, redis_url):
    """Begin to wait for a job's end; gives the answer to come."""
    job_id = client.submit("media://x")
    with ThreadPoolExecutor(1) as threads, Redis.from_url(redis_url) as redis:
        before = waits(redis)
        waiting = threads.submit(client.send, "GET", f"/v1/jobs/{job_id}?wait=60")
        eventually(lambda: waits(redis) > before)
        yield waiting


def waits(redis):
    return redis.pubsub_numsub("timbre:ended")[0][1]


def tallied(folder):
    """Return the bytes that the uploads of all clients hold, those under way included."""
    return sum(int(tally.read_text() or 0) for tally in (folder / "media").glob("*.bytes"))


def test_a_stop_ends_waits_at_once_and_lets_uploads_finish(tmp_path, redis_server):
    with (
        api_process(tmp_path, another_database(redis_server), **MANY) as (client, process),
        begun_wait(client, redis_server.url) as waiting,
        begun_upload(client, tmp_path) as (connection, answers),
    ):
        process.terminate()
        assert waiting.result().json()["status"] == "created"
        connection.sendall(FILE[1:])
        assert b" 200 " in answers.readline()
        eventually(lambda: not process.alive)
    assert FILE in [path.read_bytes() for path in (tmp_path / "media").rglob("*") if path.is_file()]


def test_two_processes_serve_posts_waits_and_uploads(tmp_path):
    with running(tmp_path, api_processes=2, worker_processes=1, **LOOPBACK) as stack:
        client, master = first_client(stack), stack.processes[1].pid
        assert len(Path(f"/proc/{master}/task/{master}/children").read_text().split()) == 2

        def work(number):
            url = client.upload(f"file-{number}", FILE)
            job_id = client.submit(url)
            job = eventually(lambda: _ended(client.send("GET", f"/v1/jobs/{job_id}?wait=30").json()))
            return job["output"]["code"], stored(client, f"file-{number}") == FILE

        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(work, range(24))) == {("not_audio", True)}


def _ended(job):
    return job if job["status"] == "failed" else None


def test_a_master_that_is_killed_alone_leaves_its_address_at_once(tmp_path, redis_server):
    with (
        api_process(tmp_path, another_database(redis_server), **MANY) as (client, process),
        begun_wait(client, redis_server.url) as waiting,
        begun_upload(client, tmp_path) as (connection, answers),
    ):
        os.kill(process.pid, signal.SIGKILL)
        bind = urlsplit(client.url).netloc
        with running(tmp_path, bind=bind, redis_url=another_database(redis_server), worker_processes=1) as stack:
            assert requests.get(f"{stack.url}/readyz", timeout=WITHIN_S).status_code == 200
            assert waiting.result().json()["jobId"]
            connection.sendall(FILE[1:])
            assert b" 200 " in answers.readline()
