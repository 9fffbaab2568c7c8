"""Single calls whose API is killed, or whose Redis is away: what is left, and for how long."""

import base64
import json
import socket
import threading
from contextlib import ExitStack, suppress
from http.client import HTTPResponse

import requests

from shared.domain.commands import CreateVoiceprint, Lane, from_record
from shared.domain.errors import NotAudio
from shared.domain.jobs import Status
from shared.settings import Settings
from tests.support.apis import api, api_process
from tests.support.client import eventually
from worker.bootstrap import make_service

ENROL = "/voice/v1/enroll_voice"
RESULT_TTL_S = 600


def enrol(client, **fields):
    body = {"audio": base64.b64encode(b"a recording" * 10_000).decode(), "api_key": client.key, "method": "text_indep"}
    return requests.post(client.url + ENROL, json=body | fields, timeout=120)


def unfinished(client):
    return client.send("GET", "/v1/jobs?status=pending").json()["items"]


def uploads(client):
    return client.send("GET", "/v1/media").json()["items"]


def test_a_call_whose_api_is_killed_leaves_nothing_beyond_the_life_of_a_result(tmp_path, redis_server, redis):
    settings = {"redis_url": redis_server.url, "data_dir": tmp_path, "result_ttl_s": RESULT_TTL_S}
    with api_process(tmp_path, redis_server.url, result_ttl_s=RESULT_TTL_S) as (client, process):

        def call():
            with suppress(requests.RequestException):
                enrol(client, ref="canary-ref")

        calling = threading.Thread(target=call)
        calling.start()
        (job,) = eventually(lambda: unfinished(client))
        process.kill()
        calling.join()
    # What had arrived of the body has no name on the disk.
    assert not [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()]
    with api(tmp_path, redis_server.url, result_ttl_s=RESULT_TTL_S) as client:
        assert len(uploads(client)) == 1
        service = make_service(Settings(**settings))
        claim = service.jobs.claim([Lane.SHORT], "worker", 1)
        assert claim.job_id == job["id"]
        assert isinstance(from_record(claim.record), CreateVoiceprint)
        assert "canary-ref" not in json.dumps(claim.record)
        assert service.finish(claim, NotAudio("It is no recording.")) is Status.FAILED
        assert uploads(client) == []
        assert client.send("GET", "/v1/usage").json()["items"] == []
        named = [key for key in redis.scan_iter() if job["id"] in key]
        assert named and all(0 < redis.ttl(key) <= RESULT_TTL_S for key in named)


def test_a_call_that_is_refused_stores_nothing(tmp_path, redis_server):
    with api(tmp_path, redis_server.url, posts_per_minute=10**6) as client:
        for fields in ({"audio": "%%%"}, {"method": "x"}, {"vector": [1.0]}, {"api_key": "sk_x"}):
            assert enrol(client, **fields).json()["result"] == "Err"
            assert uploads(client) == unfinished(client) == []


def test_without_redis_a_call_is_told_to_come_again(tmp_path):
    with api(tmp_path, "redis://127.0.0.1:1/0") as client:
        answer = enrol(client, ref="r")
        assert (answer.status_code, answer.json()["code"], answer.json()["data"]) == (200, 99, {"ref": "r"})
        assert int(answer.headers["Retry-After"]) > 0
        assert uploads(client) == []


def test_a_body_that_never_arrives_is_answered_in_the_envelope_large_or_small(tmp_path, redis_server):
    with api(tmp_path, redis_server.url) as client, ExitStack() as sockets:
        host, port = client.url.removeprefix("http://").split(":")
        slow = [sockets.enter_context(socket.create_connection((host, int(port)), timeout=120)) for _ in range(2)]
        for one, length in zip(slow, (1000, 1_000_000), strict=True):
            one.sendall(f"POST {ENROL} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{{".encode())
        for one in slow:
            answer = HTTPResponse(one)
            answer.begin()
            assert answer.status == 408
            found = json.loads(answer.read())
            assert (list(found), found["code"]) == (["result", "code", "message", "data"], 99)
            answer.close()
