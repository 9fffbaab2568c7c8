"""A job moves from created to running to its end, and tells how far it is."""

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from tests.support.client import Client, Json, eventually, voiceprint
from tests.support.servers import NAME, AudioHost, gated
from tests.support.sounds import DATA

ORDER = ["created", "running", "succeeded"]
STEPS = ["download", "decode", "vad", "encode", "diarize", "embed"]


def follow(client: Client, job_id: str) -> list[Json]:
    """Return every state of a job that was seen, to its end."""
    seen: list[Json] = []

    def ended() -> bool:
        seen.append(client.job(job_id))
        return seen[-1]["status"] in ("succeeded", "failed")

    eventually(ended)
    return seen


def test_a_post_answers_with_an_id_and_created(client: Client, host: AudioHost) -> None:
    answer = client.post("/v1/voiceprint", url=gated(host))
    assert answer.status_code == 200
    assert answer.json().keys() == {"jobId", "status"}
    assert answer.json()["status"] == "created"
    assert str(uuid.UUID(answer.json()["jobId"])) == answer.json()["jobId"]


def test_a_running_job_shows_its_step_and_no_output(client: Client, host: AudioHost) -> None:
    job_id = client.submit(gated(host))
    job = eventually(lambda: (job := client.job(job_id)).get("step") and job)
    assert (job["status"], job["step"]) == ("running", "download")
    assert job.keys() == {"jobId", "status", "createdAt", "updatedAt", "kind", "name", "step"}
    host.gate.set()
    voiceprint(client.wait(job_id))


def test_a_job_never_moves_backwards(client: Client, host: AudioHost) -> None:
    job_id = client.submit(gated(host))
    eventually(lambda: client.job(job_id)["status"] == "running")
    host.gate.set()
    seen = follow(client, job_id)
    for places in (
        [ORDER.index(job["status"]) for job in seen],
        [STEPS.index(s) for j in seen if (s := j.get("step"))],
    ):
        assert places == sorted(places)
    assert seen[-1]["status"] == "succeeded"


def test_times_are_iso_8601_in_utc_and_in_order(client: Client) -> None:
    for job in follow(client, client.submit("media://nothing")):
        times = [job["createdAt"], job["updatedAt"]]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)
        assert times == sorted(times)
        assert abs((datetime.fromisoformat(times[0]) - datetime.now().astimezone()).total_seconds()) < 60


def test_a_job_that_has_ended_stays_as_it_is(client: Client) -> None:
    job = client.run(client.upload(NAME, (DATA / NAME).read_bytes()))
    assert job.keys() == {"jobId", "status", "createdAt", "updatedAt", "kind", "name", "audioSeconds", "output"}
    assert client.job(job["jobId"]) == job


def test_a_failed_job_gives_its_error_where_the_sdk_looks_for_it(client: Client) -> None:
    job = client.run("media://nothing")
    assert job["status"] == "failed"
    # The vendor's SDK: job.get("output", {}).get("error", "Please contact support.")
    assert job.get("output", {}).get("error", "Please contact support.").startswith("Nothing is stored under")


def test_many_jobs_at_once_all_get_done(client: Client) -> None:
    url = client.upload(NAME, (DATA / NAME).read_bytes())
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(client.run, [url] * 16))
    assert len({job["jobId"] for job in jobs}) == 16
    assert len({job["output"]["voiceprint"] for job in jobs}) == 1


def test_one_request_with_wait_sees_a_job_through_to_its_end(client: Client, host: AudioHost) -> None:
    job_id = client.submit(gated(host))
    with ThreadPoolExecutor(2) as pool:
        by_query = pool.submit(client.send, "GET", f"/v1/jobs/{job_id}?wait=20")
        by_header = pool.submit(client.send, "GET", f"/v1/jobs/{job_id}", headers={"Prefer": "respond-async, wait=20"})
        eventually(lambda: client.job(job_id)["status"] == "running")
        host.gate.set()
    assert by_query.result().json() == by_header.result().json() == client.job(job_id)
    voiceprint(by_query.result().json())


def test_a_wait_that_is_too_short_gives_the_job_as_it_stands(client: Client, host: AudioHost) -> None:
    job_id = client.submit(gated(host))
    assert client.send("GET", f"/v1/jobs/{job_id}?wait=1").json()["status"] in ("created", "running")
    host.gate.set()
    assert client.wait(job_id)["status"] == "succeeded"
