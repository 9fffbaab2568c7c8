"""Clients that upload more than they may, over HTTP: too many bytes, too often, at once, or until the API is killed."""

import os
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
import requests

from shared.adapters.dir_media import STALLED_S, DirMedia
from tests.support.answers import refused
from tests.support.apis import api, api_process
from tests.support.client import eventually, put

QUOTA = 3_000_000
LIMITS = {"posts_per_minute": 10**6, "reads_per_minute": 10**6, "max_media_bytes": QUOTA}


@pytest.fixture
def client(tmp_path, redis_server):
    with api(tmp_path, redis_server.url, **LIMITS) as client:
        yield client


def begun(client, name, announced, sent):
    """Return the open connection of an upload that has been begun."""
    address = urlsplit(client.address(f"media://{name}"))
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    head = f"PUT {address.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n"
    connection.sendall(head.encode() + bytes(sent))
    return connection


def counted(folder):
    """Return the bytes that stand in the only client's tally."""
    tallies = list((folder / "media").glob("*.bytes"))
    return int(tallies[0].read_text()) if tallies else 0


def full(answer):
    message = refused(answer, 429, "media_quota_exceeded")["message"]
    assert all(words in message for words in (f"of {QUOTA} bytes", "DELETE /v1/media/KEY", "TIMBRE_MAX_MEDIA_BYTES"))
    assert int(answer.headers["Retry-After"]) > 0
    return message


@pytest.mark.parametrize("chunked", [False, True])
def test_more_bytes_than_a_client_may_keep_are_refused_until_some_are_removed(chunked, client):
    def sent(size):
        body = bytes(size)
        return iter([body[i : i + 65_536] for i in range(0, size, 65_536)]) if chunked else body

    assert put(client.address("media://first"), sent(2_000_000)).status_code == 200
    assert "hold 2000000 of" in full(put(client.address("media://second"), bytes(1_000_001)))
    full(put(client.address("media://second"), sent(1_000_001)))
    assert client.post("/v1/media/output", url="media://second").status_code == 404
    assert client.send("DELETE", "/v1/media/first").status_code == 200
    assert put(client.address("media://second"), sent(QUOTA)).status_code == 200


def test_an_announced_upload_is_refused_before_its_body_comes(client):
    with begun(client, "k", QUOTA + 1, 0) as connection:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 429 ")


def test_of_two_uploads_at_once_that_fit_alone_one_is_refused(client, tmp_path):
    addresses = [client.address(f"media://{i}") for i in range(2)]
    answers = []

    def upload(address):
        # Announced, both would be judged before they meet.
        answers.append(put(address, iter([bytes(65_536)] * 40)))

    threads = [threading.Thread(target=upload, args=[address]) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 429 in [answer.status_code for answer in answers]
    assert counted(tmp_path) <= QUOTA


def test_uploads_that_the_death_of_the_api_cut_off_are_counted_and_swept_after_minutes(tmp_path, redis_server):
    with api_process(tmp_path, redis_server.url, **LIMITS) as (client, process):
        client.upload("whole", bytes(500_000))
        cut_off = [begun(client, f"{i}", 1_000_000, 600_000) for i in range(2)]
        eventually(lambda: counted(tmp_path) == 2_500_000)
        process.kill()
        for connection in cut_off:
            connection.close()
    media = DirMedia(tmp_path / "media", ttl_s=3600, quota_bytes=QUOTA)
    with api(tmp_path, redis_server.url, **LIMITS) as client:
        assert media.sweep() == 0
        assert counted(tmp_path) == 2_500_000
        full(put(client.address("media://next"), bytes(1_000_000)))
        for part in (tmp_path / "media").glob("*/part-*"):
            os.utime(part, (time.time() - STALLED_S - 1,) * 2)
        assert media.sweep() == 2
        client.upload("next", bytes(1_000_000))
        items = client.send("GET", "/v1/media").json()["items"]
        assert {item["url"]: item["bytes"] for item in items} == {"media://whole": 500_000, "media://next": 1_000_000}


def test_what_goes_to_signed_addresses_is_counted_for_their_client(tmp_path, redis_server):
    with api(tmp_path, redis_server.url, posts_per_minute=10**6, reads_per_minute=3) as client:
        uploads = [client.address(f"media://{i}") for i in range(4)]
        answers = [put(address, b"x") for address in uploads]
        downloads = [client.post("/v1/media/output", url=f"media://{i % 3}").json()["url"] for i in range(4)]
        answers += [requests.get(address, timeout=30) for address in downloads]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429] * 2
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"] * 2
        for answer, path in ((answers[3], "upload"), (answers[7], "download")):
            assert f"/v1/media/{path}/{{token}}" in refused(answer, 429, "rate_limited")["message"]
            assert int(answer.headers["Retry-After"]) > 0
        # A forged address is nobody's.
        assert put(uploads[0][:-1], b"x").status_code == 404
