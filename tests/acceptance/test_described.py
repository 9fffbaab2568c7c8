"""Results of real jobs, by polling and by webhook, against the API's description."""

import json
import re

import pytest

from tests.support.client import Client, Json
from tests.support.described import Description
from tests.support.receiver import receiving, wait_for
from tests.support.sounds import DATA, DOMINANT, OTHER


@pytest.fixture(scope="module")
def description(client: Client) -> Description:
    return Description.of(client.url)


@pytest.fixture(scope="module")
def voices(client: Client) -> list[str]:
    """The voiceprints of two people."""
    files = [sorted(DATA.glob(f"{speaker}-*.flac"))[0] for speaker in (DOMINANT, OTHER)]
    jobs = [client.run(client.upload(file.name, file.read_bytes())) for file in files]
    return [job["output"]["voiceprint"] for job in jobs]


@pytest.fixture(scope="module")
def bodies(client: Client, voices: list[str]) -> dict[str, Json]:
    """A request of each kind, which asks for all there is."""
    url = client.upload("conversation.flac", (DATA / "conversation.flac").read_bytes())
    everything = {"url": url, "confidence": True, "turnLevelConfidence": True, "exclusive": True}
    named = [{"label": label, "voiceprint": voice} for label, voice in zip("AB", voices, strict=True)]
    return {
        "/v1/voiceprint": {"url": url},
        "/v1/verify": {"url": url, "voiceprint": voices[0]},
        "/v1/diarize": everything,
        "/v1/identify": everything | {"voiceprints": named},
    }


def kinds(description: Description) -> list[str]:
    """Return the path of each kind of job."""
    made = ((one.path, description.answers(one).get("200")) for one in description.operations())
    return [path for path, answer in made if "JobCreated" in str(answer)]


def test_every_kind_of_job_gives_what_is_described(
    client: Client, description: Description, bodies: dict[str, Json]
) -> None:
    get_job = description.operation("GET", "/v1/jobs/{job_id}")
    for path in kinds(description):
        created = client.post(path, **bodies[path])
        description.check(description.operation("POST", path), created)
        assert client.wait(created.json()["jobId"])["status"] == "succeeded"
        state = client.send("GET", f"/v1/jobs/{created.json()['jobId']}")
        description.check(get_job, state)
        link = description.answers(description.operation("POST", path))["200"]["links"]["job"]
        (output,) = re.findall(r"`(\w+Output)`", link["description"])
        assert not description.errors(description.schema(output), state.json()["output"])


def test_every_kind_of_job_fails_as_is_described(
    client: Client, description: Description, bodies: dict[str, Json]
) -> None:
    get_job = description.operation("GET", "/v1/jobs/{job_id}")
    for path in kinds(description):
        created = client.post(path, **bodies[path] | {"url": "media://never-uploaded"})
        assert client.wait(created.json()["jobId"])["output"]["code"] == "media_not_found"
        description.check(get_job, client.send("GET", f"/v1/jobs/{created.json()['jobId']}"))


@pytest.mark.parametrize("name", ["conversation.flac", "never-uploaded"])
@pytest.mark.parametrize("status_only", [True, False])
def test_a_webhook_is_what_is_described_on_every_try(
    name: str, status_only: bool, client: Client, description: Description, bodies: dict[str, Json]
) -> None:
    hook = description.document["webhooks"]["jobEnded"]["post"]
    body = hook["requestBody"]["content"]["application/json"]["schema"]
    with receiving("500", "200") as receiver:
        client.run(f"media://{name}", webhook=receiver.url, webhookStatusOnly=status_only)
        wait_for(receiver, 2)
    for post in receiver.posts:
        description.check_headers({one["name"]: one for one in hook["parameters"]}, post.headers)
        assert not description.errors(body, json.loads(post.body))
    assert "x-retry-num" not in receiver.posts[0].headers
    assert receiver.posts[1].headers["x-retry-reason"] == "http_error"
