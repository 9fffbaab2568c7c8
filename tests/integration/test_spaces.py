"""Audios of the spaces API while no worker hears them: nothing of one is left when it is deleted."""

import base64
import threading

import pytest

from shared.adapters.redis_client import connect
from shared.domain.commands import Lane
from shared.domain.errors import NotAudio
from shared.domain.jobs import Status
from shared.settings import Settings
from tests.support.apis import api
from worker.bootstrap import make_service

#: One thread, of which none may wait: answers come at once.
AT_ONCE = {"api_threads": 1, "posts_per_minute": 10**6, "reads_per_minute": 10**6}
MAIN = "/v1/spaces/default/main"
FILE = base64.b64encode(b"a recording").decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spaces")


@pytest.fixture(scope="module")
def client(folder, redis_server):
    with connect(redis_server.url) as redis:
        # Jobs of other tests were sealed under another secret.
        redis.flushall()
    with api(folder, redis_server.url, **AT_ONCE) as client:
        assert client.post("/v1/spaces/default", handle="main").status_code == 201
        yield client


def uploads(client):
    return client.send("GET", "/v1/media").json()["items"]


def unfinished(client):
    return client.send("GET", "/v1/jobs?status=pending").json()["items"]


def test_an_audio_that_waits_for_a_worker_awaits_its_file_as_far_as_clients_see(client):
    made = client.post(f"{MAIN}/audios", handle="waits", file=FILE)
    assert (made.status_code, made.json()["state"]) == (201, "avaitingFile")
    assert client.send("POST", f"{MAIN}/audios/waits/file", data=b"another").status_code == 409
    assert len(uploads(client)) == len(unfinished(client)) == 1
    assert client.send("DELETE", f"{MAIN}/audios/waits").status_code == 204
    assert uploads(client) == unfinished(client) == []


@pytest.mark.parametrize("path", [f"{MAIN}/identities/ada", MAIN])
def test_what_is_above_an_audio_takes_it_along(path, client):
    client.post("/v1/spaces/default", handle="main")
    client.send("DELETE", f"{MAIN}/identities/ada")
    assert client.post(f"{MAIN}/identities", handle="ada").status_code == 201
    assert client.post(f"{MAIN}/audios", identity="ada").status_code == 201
    assert client.post(f"{MAIN}/audios", identity="ada", file=FILE).status_code == 201
    handle = client.post(f"{MAIN}/audios", identity="ada").json()["handle"]
    assert client.send("POST", f"{MAIN}/audios/{handle}/file", data=b"a recording").status_code == 200
    assert len(uploads(client)) == len(unfinished(client)) == 2
    assert client.send("DELETE", path).status_code == 204
    assert uploads(client) == unfinished(client) == []


def test_of_uploads_at_once_one_is_the_audios_and_no_other_is_left(client):
    client.post("/v1/spaces/default", handle="main")
    client.post(f"{MAIN}/audios", handle="raced")
    found = []

    def upload():
        found.append(client.send("POST", f"{MAIN}/audios/raced/file", data=b"a recording" * 10_000).status_code)

    threads = [threading.Thread(target=upload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, *[409] * 7]
    assert len(uploads(client)) == len(unfinished(client)) == 1


def test_a_handle_that_is_taken_leaves_no_upload(client):
    client.post("/v1/spaces/default", handle="main")
    client.post(f"{MAIN}/audios", handle="taken")
    before = uploads(client)
    assert client.post(f"{MAIN}/audios", handle="taken", file=FILE).status_code == 409
    assert client.post(f"{MAIN}/audios", identity="nobody", file=FILE).status_code == 404
    assert uploads(client) == before


def test_the_end_of_its_job_takes_the_upload_along_though_nobody_waits(client, folder, redis_server):
    client.send("DELETE", MAIN)
    client.post("/v1/spaces/default", handle="main")
    service = make_service(Settings(data_dir=folder, redis_url=redis_server.url))
    for _ in range(2):
        client.post(f"{MAIN}/audios", file=FILE)
    assert len(uploads(client)) == 2
    (canceled, *_) = unfinished(client)
    assert client.send("POST", f"/v1/jobs/{canceled['id']}/cancel").status_code == 200
    assert len(uploads(client)) == 1
    claim = service.jobs.claim([Lane.SHORT], "worker", 1)
    assert service.finish(claim, NotAudio("It is no recording.")) is Status.FAILED
    assert uploads(client) == []


def test_a_body_of_nothing_but_small_values_is_not_read(client):
    refused = client.post(f"{MAIN}/audios", handle="bomb", others=[0] * 20_000)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert client.send("GET", f"{MAIN}/audios/bomb").status_code == 404


def test_the_character_0_in_a_query_is_refused_since_one_of_the_databases_takes_none(client):
    assert client.send("GET", "/v1/identities?withoutModel=%00").status_code == 400
