"""How jobs end: delivered, canceled, repeated, deleted."""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from standardwebhooks import Webhook, WebhookVerificationError

from shared.dialects.signatures import vendor_signature
from shared.local.stack import Stack
from tests.support.client import Client, Json, eventually, voiceprint
from tests.support.receiver import Post, Receiver, receiving, wait_for
from tests.support.servers import NAME, AudioHost, gated
from tests.support.sounds import DATA

CLIP = (DATA / NAME).read_bytes()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving("200") as receiver:
        yield receiver


def new_secret(client: Client, overlap_s: int = 0) -> str:
    answer = client.post("/v1/webhook-secret", overlapSeconds=overlap_s)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


def delivered(receiver: Receiver) -> Post:
    wait_for(receiver, 1)
    return receiver.posts[0]


def test_a_webhook_brings_what_polling_gives_and_its_signatures_verify(client: Client, receiver: Receiver) -> None:
    secret = new_secret(client)
    job = client.run(client.upload("hook", CLIP), webhook=receiver.url)
    post = delivered(receiver)
    body = Webhook(secret).verify(post.body, dict(post.headers))
    assert body == {"jobId": job["jobId"], "status": "succeeded", "output": job["output"]}
    assert post.body.decode() == json.dumps(body, separators=(",", ":"))
    timestamp = int(post.headers["X-Request-Timestamp"])
    assert post.headers["X-Signature"] == vendor_signature(secret, timestamp, post.body, "hex")


def test_a_status_only_webhook_keeps_the_voice_at_home(client: Client, receiver: Receiver) -> None:
    job = client.run(client.upload("hook", CLIP), webhook=receiver.url, webhookStatusOnly=True)
    assert json.loads(delivered(receiver).body) == {"jobId": job["jobId"], "status": "succeeded"}


def test_failures_are_delivered_too(client: Client, receiver: Receiver) -> None:
    job = client.run("media://never-uploaded", webhook=receiver.url)
    assert json.loads(delivered(receiver).body) == {"jobId": job["jobId"], "status": "failed", "output": job["output"]}


def test_during_the_overlap_both_secrets_verify_and_a_third_is_refused(stranger: Client, receiver: Receiver) -> None:
    old = new_secret(stranger)
    new = new_secret(stranger, overlap_s=60)
    refused = stranger.post("/v1/webhook-secret")
    assert (refused.status_code, refused.json()["code"]) == (409, "secret_rotating")
    assert re.search(r"until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", refused.json()["message"])
    stranger.run("media://nothing", webhook=receiver.url)
    post = delivered(receiver)
    assert Webhook(old).verify(post.body, dict(post.headers)) == Webhook(new).verify(post.body, dict(post.headers))


def test_a_client_that_lost_its_secrets_ends_them_at_once(stranger: Client) -> None:
    new_secret(stranger)
    new_secret(stranger, overlap_s=60)
    lost = [new_secret(stranger), new_secret(stranger)]
    with receiving("200") as receiver:
        stranger.run("media://nothing", webhook=receiver.url)
        post = delivered(receiver)
    assert Webhook(lost[1]).verify(post.body, dict(post.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook(lost[0]).verify(post.body, dict(post.headers))


def test_the_delivery_log_is_kept_and_a_webhook_can_be_sent_again(client: Client, stranger: Client) -> None:
    with receiving("500", "200") as receiver:
        job_id = client.submit("media://nothing", webhook=receiver.url)
        path = f"/v1/jobs/{job_id}/deliveries"
        log = eventually(lambda: delivery_log(client, path, "delivered"))
        assert [(t["attempt"], t["status"], t["reason"]) for t in log["tries"]] == [
            (1, 500, "http_error"),
            (2, 200, None),
        ]
        assert log["tries"][0]["answer"] == "the receiver's answer"
        assert stranger.send("GET", path).status_code == 404
        assert stranger.send("POST", f"/v1/jobs/{job_id}/redeliver").status_code == 404
        assert client.send("POST", f"/v1/jobs/{job_id}/redeliver").status_code == 202
        wait_for(receiver, 3)
        assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1


def delivery_log(client: Client, path: str, state: str) -> Json | None:
    answer = client.send("GET", path)
    return answer.json() if answer.status_code == 200 and answer.json()["state"] == state else None


@pytest.mark.parametrize("webhook", ["ftp://x/", "https://user:pw@x/", "x", "http://a b/", 5])
def test_a_webhook_that_is_no_address_is_refused(client: Client, webhook: object) -> None:
    answer = client.post("/v1/voiceprint", url="media://x", webhook=webhook)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "webhook"


def test_a_plain_http_webhook_is_refused_in_production(strict: Client) -> None:
    answer = strict.post("/v1/voiceprint", url="media://x", webhook="http://receiver.example/")
    assert answer.status_code == 400
    assert "must be https://; the setting TIMBRE_ALLOW_HTTP_WEBHOOKS" in answer.json()["errors"][0]["message"]


def test_nulls_mean_no_webhook(client: Client) -> None:
    assert client.post("/v1/voiceprint", url="media://x", webhook=None, webhookStatusOnly=None).status_code == 200


def test_a_canceled_job_stops_its_worker_at_once_and_says_so(
    small: Client, host: AudioHost, receiver: Receiver
) -> None:
    job_id = small.submit(gated(host), webhook=receiver.url)
    eventually(lambda: small.job(job_id).get("step") == "download")
    canceled = small.send("POST", f"/v1/jobs/{job_id}/cancel")
    assert canceled.status_code == 200
    expected = {"error": "The job was canceled.", "code": "canceled"}
    assert (canceled.json()["status"], canceled.json()["output"]) == ("canceled", expected)
    assert json.loads(delivered(receiver).body) == {"jobId": job_id, "status": "canceled", "output": expected}
    # The one worker process is free again although the host never answers.
    assert small.run("media://nothing")["output"]["code"] == "media_not_found"
    assert small.job(job_id)["status"] == "canceled"


def test_what_has_ended_or_is_unknown_cannot_be_canceled(client: Client, stranger: Client) -> None:
    job_id = client.run("media://nothing")["jobId"]
    refused = client.send("POST", f"/v1/jobs/{job_id}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "job_ended")
    assert client.send("POST", "/v1/jobs/nothing/cancel").status_code == 404
    assert stranger.send("POST", f"/v1/jobs/{job_id}/cancel").status_code == 404


def test_deleting_a_job_removes_everything_and_gives_a_receipt(client: Client, stranger: Client) -> None:
    source = client.upload("to-be-deleted", CLIP)
    job = client.run(source)
    path = f"/v1/jobs/{job['jobId']}"
    assert stranger.send("DELETE", path).status_code == 404
    receipt = client.send("DELETE", path).json()
    compact = json.dumps(job["output"], separators=(",", ":")).encode()
    assert receipt["removed"] == {
        "output": hashlib.sha256(compact).hexdigest(),
        "media": hashlib.sha256(CLIP).hexdigest(),
    }
    assert receipt["jobId"] == job["jobId"]
    assert client.send("GET", path).status_code == 404
    assert client.send("DELETE", path).status_code == 404
    assert client.run(source)["output"]["code"] == "media_not_found"


def test_of_many_who_delete_a_job_at_once_one_gets_the_receipt(client: Client) -> None:
    job_id = client.run(client.upload("deleted-by-many", CLIP))["jobId"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.send("DELETE", f"/v1/jobs/{job_id}"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + 7 * [404]
    receipt = next(answer.json() for answer in answers if answer.status_code == 200)
    assert sorted(receipt["removed"]) == ["media", "output"]


def test_a_deletion_that_the_media_store_broke_off_can_be_repeated(client: Client, stack: Stack) -> None:
    job_id = client.run(client.upload("stuck", CLIP))["jobId"]
    path, name = f"/v1/jobs/{job_id}", hashlib.sha256(b"stuck").hexdigest()
    upload = next((stack.settings.data_dir / "media").rglob(name))
    aside = upload.rename(upload.with_name("aside"))
    upload.mkdir()  # nobody can read that
    assert [client.send("DELETE", path).status_code for _ in range(2)] == [503, 503]
    assert client.send("GET", path).status_code == 404
    upload.rmdir()
    aside.rename(upload)
    assert sorted(client.send("DELETE", path).json()["removed"]) == ["media", "output"]
    assert client.send("DELETE", path).status_code == 404


def test_a_running_job_can_be_deleted(small: Client, host: AudioHost) -> None:
    job_id = small.submit(gated(host))
    eventually(lambda: small.job(job_id).get("step") == "download")
    assert small.send("DELETE", f"/v1/jobs/{job_id}").json()["removed"] == {}
    assert small.send("GET", f"/v1/jobs/{job_id}").status_code == 404
    assert small.run("media://nothing")["output"]["code"] == "media_not_found"


def test_a_deleted_result_is_gone_from_every_file_too(client: Client, stack: Stack) -> None:
    job_id = client.run(client.upload("to-be-forgotten", CLIP))["jobId"]
    with Redis.from_url(stack.settings.redis_url) as redis:
        sealed = redis.hget(f"timbre:job:{job_id}", "output")
        assert isinstance(sealed, bytes)
        wrapped_key, voice = sealed[:80], sealed[80:160]
        eventually(lambda: on_disk(stack, voice) and on_disk(stack, wrapped_key))
        client.send("DELETE", f"/v1/jobs/{job_id}")
        # Other tests have deleted jobs a moment ago, and the file is not rewritten for each.
        redis.delete("timbre:forgetting")
    eventually(lambda: not on_disk(stack, voice) and not on_disk(stack, wrapped_key))


def on_disk(stack: Stack, needle: bytes) -> list[Path]:
    files = [path for path in stack.settings.data_dir.rglob("*") if path.is_file()]
    with suppress(FileNotFoundError):
        return [path for path in files if needle in path.read_bytes()]
    return [stack.settings.data_dir]


def keyed(client: Client, key: str, **body: object) -> Json:
    answer = client.send("POST", "/v1/voiceprint", json=body, headers={"Idempotency-Key": key})
    return {"httpStatus": answer.status_code, **answer.json()}


def test_a_repeated_request_gives_the_same_job_and_answer(client: Client, stranger: Client) -> None:
    body = {"url": client.upload("again", CLIP), "surplus": 1}
    first = keyed(client, "key-1", **body)
    voiceprint(client.wait(first["jobId"]))
    assert keyed(client, "key-1", **body) == first
    assert keyed(client, '"key-1"', **body) == first
    assert keyed(client, "key-2", **body)["jobId"] != first["jobId"]
    assert keyed(stranger, "key-1", **body)["jobId"] != first["jobId"]


def test_another_request_under_a_used_key_is_refused(client: Client) -> None:
    keyed(client, "key-3", url="media://a")
    refused = keyed(client, "key-3", url="media://b")
    assert (refused["httpStatus"], refused["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("key", ["", "x" * 256, '""'])
def test_a_key_of_no_use_is_refused(client: Client, key: str) -> None:
    refused = keyed(client, key, url="media://a")
    assert (refused["httpStatus"], refused["errors"][0]["field"]) == (400, "Idempotency-Key")


def test_parallel_repeats_make_one_job(client: Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: keyed(client, "key-4", url="media://nothing"), range(32)))
    assert len({answer["jobId"] for answer in answers}) == 1


def test_a_client_with_too_many_unfinished_jobs_must_wait(small: Client, small_stack: Stack, host: AudioHost) -> None:
    most = small_stack.settings.max_unfinished_jobs
    jobs = [small.submit(gated(host)) for _ in range(most)]
    refused = small.post("/v1/voiceprint", url="media://a")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_jobs")
    assert int(refused.headers["Retry-After"]) > 0
    for job_id in jobs:
        small.send("POST", f"/v1/jobs/{job_id}/cancel")
    assert small.post("/v1/voiceprint", url="media://a").status_code == 200


def test_how_much_is_waiting_can_be_seen(small: Client, host: AudioHost) -> None:
    job_id = small.submit(gated(host))
    eventually(lambda: small.job(job_id)["status"] == "running")
    ready = small.send("GET", "/readyz").json()
    assert (ready["jobsWaiting"], ready["jobsRunning"]) == (0, 1)
    assert ready["oldestJobSeconds"] >= 0
    small.send("POST", f"/v1/jobs/{job_id}/cancel")
