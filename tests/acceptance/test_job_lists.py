"""Lists of jobs: newest first, page by page, one's own only."""

import pytest

from shared.domain.jobs import new_job_id
from shared.local.stack import Stack
from tests.support.client import Client, eventually
from tests.support.servers import AudioHost, gated
from tests.support.sounds import DATA
from tests.support.stacks import make_client


@pytest.fixture
def newcomer(stack: Stack, request: pytest.FixtureRequest) -> Client:
    return make_client(stack, request.node.name)


def pages(client: Client, limit: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        query = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = client.send("GET", "/v2/jobs", params=query).json()
        found.append([item["id"] for item in page["items"]])
        cursor = page["nextCursor"]
        if cursor is None:
            return found


def test_pages_lead_through_all_jobs_newest_first(newcomer: Client) -> None:
    ids = [newcomer.run("media://nothing")["jobId"] for _ in range(5)][::-1]
    assert pages(newcomer, 2) == [ids[:2], ids[2:4], ids[4:]]
    assert pages(newcomer, 5) == [ids]
    by_number = newcomer.send("GET", "/v1/jobs", params={"take": 2, "skip": 1}).json()
    assert [item["id"] for item in by_number["items"]] == ids[1:3]
    newcomer.send("DELETE", f"/v1/jobs/{ids[0]}")
    assert pages(newcomer, 10) == [ids[1:]]


def test_the_page_behind_a_job_that_was_deleted_meanwhile_is_the_same(newcomer: Client) -> None:
    ids = [newcomer.run("media://nothing")["jobId"] for _ in range(4)][::-1]
    cursor = newcomer.send("GET", "/v2/jobs", params={"limit": 2}).json()["nextCursor"]
    newcomer.send("DELETE", f"/v1/jobs/{ids[1]}")
    page = newcomer.send("GET", "/v2/jobs", params={"limit": 2, "cursor": cursor}).json()
    assert [item["id"] for item in page["items"]] == ids[2:]
    assert pages(newcomer, 10) == [[ids[0], *ids[2:]]]


def test_an_item_has_id_status_and_time_and_can_be_chosen_by_status(newcomer: Client) -> None:
    job = newcomer.run("media://nothing")
    items = newcomer.send("GET", "/v2/jobs", params={"status": "failed"}).json()["items"]
    facts = {"kind": "voiceprint", "name": "nothing"}
    assert items == [{"id": job["jobId"], "status": "failed", "createdAt": job["createdAt"], **facts}]
    assert facts.items() <= job.items()
    for other in ("succeeded", "pending"):
        assert newcomer.send("GET", "/v2/jobs", params={"status": other}).json() == {"items": [], "nextCursor": None}


def test_an_item_tells_the_kind_the_name_and_the_length_of_what_was_heard(newcomer: Client) -> None:
    recording = newcomer.upload("calls/2026/first_call.flac", (DATA / "conversation.flac").read_bytes())
    for path in ("voiceprint", "diarize"):
        job_id = newcomer.post(f"/v1/{path}", url=recording).json()["jobId"]
        job = newcomer.wait(job_id)
        facts = {"kind": path, "name": "first_call.flac", "audioSeconds": job["output"]["audioSeconds"]}
        assert facts.items() <= job.items()
        item = newcomer.send("GET", "/v2/jobs").json()["items"][0]
        assert item == {"id": job_id, "status": "succeeded", "createdAt": job["createdAt"], **facts}


def test_pending_is_another_word_for_created(newcomer: Client, stack: Stack, host: AudioHost) -> None:
    waiting = [newcomer.submit(gated(host)) for _ in range(stack.settings.worker_processes + 1)]
    for word in ("pending", "created"):
        items = eventually(lambda word=word: newcomer.send("GET", f"/v1/jobs?status={word}").json()["items"])
        assert {item["id"] for item in items} <= set(waiting)
        assert {item["status"] for item in items} == {"created"}
    for job_id in waiting:
        newcomer.send("POST", f"/v1/jobs/{job_id}/cancel")


def test_nobody_sees_the_jobs_of_others(newcomer: Client, client: Client) -> None:
    client.run("media://nothing")
    assert pages(newcomer, 10) == [[]]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v2/jobs", {"limit": 0}, "limit"),
        ("/v2/jobs", {"limit": 101}, "limit"),
        ("/v2/jobs", {"limit": "x"}, "limit"),
        ("/v2/jobs", {"status": "pendign"}, "status"),
        ("/v2/jobs", {"cursor": "no-such-job"}, "cursor"),
        ("/v2/jobs", {"cursor": f"{10**15}-{new_job_id()}"}, "cursor"),
        ("/v1/jobs", {"take": -1}, "take"),
        ("/v1/jobs", {"skip": -1}, "skip"),
    ],
)
def test_a_wrong_query_is_told(client: Client, path: str, query: dict[str, object], field: str) -> None:
    answer = client.send("GET", path, params=query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
