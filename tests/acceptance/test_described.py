"""Results of real jobs, by polling and by webhook, against the API's description."""

import json
import re

import pytest
import requests

from tests.support.client import Client, Json
from tests.support.described import Description
from tests.support.receiver import receiving, wait_for
from tests.support.sounds import DATA, DOMINANT, OTHER

#: Space of the person whom jobs are about.
SPACE = "described"


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
    clip = client.upload("clip.flac", sorted(DATA.glob(f"{DOMINANT}-*.flac"))[0].read_bytes())
    client.send("PATCH", f"/v1/space?space={SPACE}", json={"keepRecordingsSeconds": 3600})
    enrol = {"url": clip, "identity": "ada", "space": SPACE}
    assert client.wait(client.post("/v1/enrol", **enrol).json()["jobId"])["status"] == "succeeded"
    of_ada = "/v1/identities/{identity}"
    return {
        "/v1/enrol": enrol,
        "/v1/search": {"url": clip, "space": SPACE},
        f"{of_ada}/samples": {"url": clip},
        f"{of_ada}/verify": {"url": clip},
        f"{of_ada}/enrolments": {"samples": "all", "handle": "second"},
        f"{of_ada}/enrolments/{{enrolment}}/recompute": {},
        "/v1/voiceprint": {"url": url},
        "/v1/verify": {"url": url, "voiceprint": voices[0]},
        "/v1/diarize": everything,
        "/v1/identify": everything | {"voiceprints": named},
    }


def kinds(description: Description) -> list[tuple[str, Json]]:
    """Return the path of each kind of job, and the response that tells of it."""
    made = [(one.path, description.answers(one)) for one in description.operations()]
    found = [(path, answers[max(status for status in answers if status < "3")]) for path, answers in made]
    return [(path, answer) for path, answer in found if "JobCreated" in str(answer)]


def post(client: Client, path: str, body: Json) -> requests.Response:
    """Ask for a job, of Ada where the path names an identity."""
    place = f"?space={SPACE}" if "{identity}" in path else ""
    return client.post(path.format(identity="ada", enrolment="main") + place, **body)


def test_every_kind_of_job_gives_what_is_described(
    client: Client, description: Description, bodies: dict[str, Json]
) -> None:
    get_job = description.operation("GET", "/v1/jobs/{job_id}")
    for path, answer in kinds(description):
        created = post(client, path, bodies[path])
        description.check(description.operation("POST", path), created)
        assert client.wait(created.json()["jobId"])["status"] == "succeeded"
        state = client.send("GET", f"/v1/jobs/{created.json()['jobId']}")
        description.check(get_job, state)
        (output,) = re.findall(r"`(\w+Output)`", answer["links"]["job"]["description"])
        assert not description.errors(description.schema(output), state.json()["output"])


def test_every_kind_of_job_fails_as_is_described(
    client: Client, description: Description, bodies: dict[str, Json]
) -> None:
    get_job = description.operation("GET", "/v1/jobs/{job_id}")
    heard = [path for path, _ in kinds(description) if "url" in bodies[path]]
    assert len(heard) > 6
    for path in heard:
        created = post(client, path, bodies[path] | {"url": "media://never-uploaded"})
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
