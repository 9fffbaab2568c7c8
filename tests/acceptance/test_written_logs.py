"""Logs tell what happened and no secrets."""

import json
import uuid

from shared.local.stack import Stack
from tests.support.client import Client, put
from tests.support.servers import AudioHost
from tests.support.sounds import DATA
from tests.support.stacks import logs

NAME = "1688-142285-0005.flac"


def test_logs_hold_no_key_no_signature_no_upload_token_and_no_voiceprint(
    client: Client, stranger: Client, stack: Stack, host: AudioHost
) -> None:
    canary = f"canary{uuid.uuid4().hex}"
    query = f"?X-Amz-Signature={canary}"
    host.serve(NAME, (DATA / NAME).read_bytes())
    paths = [
        f"file/{NAME}",
        f"redirect/1/{NAME}",
        "redirect-loop",
        "status/404",
        "hang-up",
        f"gzip/{NAME}",
        f"truncated/{NAME}",
    ]
    urls = [host.url(path) for path in paths] + [
        "https://no-such-host.invalid/a.wav",
        host.url("").replace("http", "https"),
    ]
    jobs = [client.run(url + query) for url in urls]
    address = client.address(f"media://{canary}.wav")
    put(address, b"x")
    put(address[:-1], b"x")
    client.send("GET", f"/v1/test?{canary}", headers={"Authorization": f"Bearer {canary}"})
    client.post("/v1/voiceprint", url=f"ftp://{canary}/", model=3)

    text = logs(stack)
    assert jobs[0]["status"] == "succeeded"
    for secret in (client.key, stranger.key, canary, address.rpartition("/")[2], jobs[0]["output"]["voiceprint"]):
        assert secret not in text
    assert canary not in json.dumps([job["output"] for job in jobs])


def test_every_event_is_one_line_of_json(stack: Stack) -> None:
    lines = logs(stack, "api.log", "worker.log").splitlines()
    # Celery greets in plain text before it begins to log.
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(events) > 10
    assert all(event.keys() >= {"message", "level", "timestamp"} for event in events)


def test_requests_and_jobs_can_be_followed_in_the_logs(client: Client, stack: Stack) -> None:
    job_id = client.submit("media://nothing")
    client.wait(job_id)
    request_id = client.send("GET", "/v1/test").headers["X-Request-Id"]
    assert job_id in logs(stack, "worker.log")
    assert request_id in logs(stack, "api.log")
