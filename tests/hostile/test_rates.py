"""Limits on how often a client may call, held over API processes and through the loss of Redis."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from shared.local.stack import RedisServer
from tests.support.apis import api
from tests.support.client import Client, eventually

UNKNOWN_JOB = "/v1/jobs/0e2c1a4e-7a4f-4a67-9f43-0123456789ab"
UNREACHABLE = "http://no-such-host.invalid/a.wav"


@pytest.fixture(scope="module")
def apis(tmp_path_factory, redis_server):
    """Two API processes on one Redis and one database."""
    folder = tmp_path_factory.mktemp("apis")
    with ExitStack() as stack:
        yield [stack.enter_context(api(folder, redis_server.url, reads_per_minute=50)) for _ in range(2)]


def test_exactly_a_hundred_posts_a_minute_pass_over_two_processes(apis, redis):
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(apis[i % 2].post, "/v1/voiceprint", url=UNREACHABLE) for i in range(160)]
        answers = [call.result() for call in calls]
    assert Counter(answer.status_code for answer in answers) == {200: 100, 429: 60}
    passed = [answer for answer in answers if answer.status_code == 200]
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"100"}
    assert min(int(answer.headers["X-RateLimit-Remaining"]) for answer in passed) == 0
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "rate_limited"
    wait_s = refused.headers["Retry-After"]
    limit = "at most 100 POST requests a minute to /v1/voiceprint"
    assert refused.json()["message"] == f"Too many requests: {limit}. Try again in {wait_s} s."
    assert refused.headers["X-Request-Id"] == refused.json()["requestId"]
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["Retry-After"] == refused.headers["X-RateLimit-Reset"]


def test_each_address_has_a_count_of_its_own_and_reads_have_another_limit(apis, redis):
    (client, _) = apis
    while client.post("/v1/media/input", url="media://a").status_code == 201:
        pass
    assert client.post("/v1/voiceprint", url=UNREACHABLE).status_code == 200
    answers = [client.send("GET", UNKNOWN_JOB) for _ in range(52)]
    assert [answer.status_code for answer in answers] == [404] * 50 + [429] * 2
    assert "at most 50 GET requests a minute to /v1/jobs/{job_id}." in answers[-1].json()["message"]
    assert client.send("GET", "/v1/test").headers["X-RateLimit-Limit"] == "50"


def test_a_wrong_key_counts_for_nobody_and_probes_are_not_counted(apis, redis):
    (client, _) = apis
    stranger = Client(client.url, "sk_wrong")
    assert all(stranger.send("GET", "/v1/test").status_code == 401 for _ in range(60))
    assert all(stranger.send("GET", "/healthz").status_code == 200 for _ in range(60))
    assert client.send("GET", "/v1/test").headers["X-RateLimit-Remaining"] == "49"


def test_a_new_minute_is_a_new_count(apis, redis):
    (client, _) = apis
    while client.send("GET", "/v1/test").status_code == 200:
        pass
    (key,) = redis.scan_iter("timbre:rate*")
    assert 0 < redis.ttl(key) <= 60
    redis.pexpire(key, 50)
    eventually(lambda: client.send("GET", "/v1/test").status_code == 200)


def test_without_redis_the_api_stays_up_and_limits_go_on_per_process(tmp_path):
    server = RedisServer(tmp_path / "redis", tmp_path / "redis.log")
    server.wait()
    with api(tmp_path, server.url, reads_per_minute=20) as client:
        server.kill()
        codes = Counter(client.send("GET", "/v1/test").status_code for _ in range(25))
        assert codes == {200: 20, 429: 5}
        assert client.post("/v1/media/input", url="media://a").status_code == 201
        answer = client.post("/v1/voiceprint", url=UNREACHABLE)
        assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "5")
    server.stop()
