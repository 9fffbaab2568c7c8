"""Upgrade from the last release: what it left is worked off by this one, on the whole service."""

import socket
from collections.abc import Iterator

import pytest
import requests

from shared.adapters.redis_client import connect
from shared.local.stack import RedisServer
from tests.support.client import Client, eventually
from tests.support.golden import MANIFEST, SETTINGS, load_redis, unpack
from tests.support.release import RECORDINGS, collecting, opus
from tests.support.stacks import LOOPBACK, bugs, running


@pytest.fixture(scope="module")
def posts() -> Iterator[list[tuple[str, bytes]]]:
    """Webhooks that come to the address that old jobs name."""
    try:
        with socket.socket() as probe:
            probe.bind((MANIFEST["hook"][0], 0))
    except OSError:
        pytest.skip("needs all of 127.0.0.0/8, as Linux has it")
    with collecting(tuple(MANIFEST["hook"]), 200) as posts:
        yield posts


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, posts: list[tuple[str, bytes]]) -> Iterator[Client]:
    """Client of this release's service, started on all that the last one left."""
    folder = tmp_path_factory.mktemp("last")
    unpack(folder)
    server = RedisServer(tmp_path_factory.mktemp("redis"), folder / "redis.log")
    server.wait()
    redis = connect(server.url)
    load_redis(redis)
    redis.close()
    try:
        with running(folder, redis_url=server.url, worker_processes=2, **LOOPBACK, **SETTINGS) as stack:
            yield Client(stack.url, MANIFEST["key"])
            assert bugs(stack) == []
    finally:
        server.stop()


@pytest.mark.parametrize("name", MANIFEST["queued"])
def test_a_job_that_the_last_release_accepted_is_done(name: str, client: Client) -> None:
    job = client.wait(MANIFEST["queued"][name], 120)
    assert job["status"] == "succeeded", job


def test_old_webhooks_are_delivered(client: Client, posts: list[tuple[str, bytes]]) -> None:
    ids = [MANIFEST["jobs"]["pending"], MANIFEST["queued"]["voiceprint"]]

    def delivered() -> bool:
        found = [client.send("GET", f"/v1/jobs/{job_id}/deliveries").json()["state"] for job_id in ids]
        return found == ["delivered", "delivered"]

    eventually(delivered, 120)
    assert all(any(job_id.encode() in body for _, body in posts) for job_id in ids)
    assert all(signature for signature, _ in posts)


def test_people_whom_the_last_release_enrolled_are_known(client: Client) -> None:
    client.wait(MANIFEST["queued"]["enrolment"], 120)
    for who, name, decision in (("ann", "ann2", "accept"), ("bob", "ann2", "reject"), ("cec", "ann2", "accept")):
        url = client.upload(f"probe-{name}.opus", opus(RECORDINGS[name]))
        job = client.wait(client.post("/v1/verify", identity=who, url=url).json()["jobId"], 60)
        assert job["output"]["decision"] == decision, job


def test_an_old_result_is_polled_and_an_old_key_of_a_user_group_works(client: Client) -> None:
    path = f"/v1/jobs/{MANIFEST['jobs']['diarize']}"
    assert client.send("GET", path).json()["output"] == MANIFEST["answers"][path]["output"]
    url = f"{client.url}/voice_biometrics/v1/user/exists"
    auth = ("1-2-0/golden@example.org", MANIFEST["group"])
    assert requests.get(url, params={"user_id": "eve"}, auth=auth, timeout=20).status_code == 200
