import json
import threading

import pytest

from shared.adapters.redis_deliveries import RedisDeliveries
from shared.domain.commands import to_record
from shared.domain.errors import NoSpeech
from shared.domain.jobs import MAX_ATTEMPTS, Reply, Status, WebhookContent, new_job_id
from shared.names import QueueNames
from tests.support.records import ENVELOPE, HOOK, LEASE_S, finish, job_service, output, submission
from worker.jobs.runner import Runner

SUBMISSION = submission("https://example.org/a.wav?X-Amz-Signature=secret", model="ge2e")
RECORD = to_record(SUBMISSION.command)


@pytest.fixture
def job_id(jobs):
    return jobs.create(new_job_id(), "client", SUBMISSION).id


def status(jobs, job_id):
    return jobs.find("client", job_id).status


def test_a_new_job_is_created_and_found_by_its_client_only(jobs, job_id):
    job = jobs.find("client", job_id)
    assert (job.status, job.output, job.step) == (Status.CREATED, None, None)
    assert job.created_at == job.updated_at
    assert jobs.find("stranger", job_id) is None
    assert jobs.find("client", new_job_id()) is None


def test_creating_twice_after_a_lost_reply_changes_nothing(jobs, job_id):
    jobs.claim(job_id)
    again = jobs.create(job_id, "client", SUBMISSION)
    assert again.created_at == jobs.find("client", job_id).created_at
    assert status(jobs, job_id) is Status.RUNNING


def test_only_one_of_many_claims_wins(jobs, job_id):
    claims = []
    threads = [threading.Thread(target=lambda: claims.append(jobs.claim(job_id))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [claim for claim in claims if claim]
    assert [(c.attempt, c.fence, c.record, c.client_id) for c in won] == [(1, 1, RECORD, "client")]


def test_an_unknown_job_cannot_be_claimed(jobs):
    assert jobs.claim(new_job_id()) is None


def test_a_finished_job_keeps_its_output_and_forgets_its_command(jobs, job_id, redis):
    claim = jobs.claim(job_id)
    assert jobs.beat(claim, "decode")
    assert jobs.beat(claim, progress=0)
    assert (jobs.find("client", job_id).step, jobs.find("client", job_id).progress) == ("decode", 0)
    assert finish(jobs, claim, Status.SUCCEEDED, {"voiceprint": "x"})
    job = jobs.find("client", job_id)
    assert (job.status, output(job)) == (Status.SUCCEEDED, {"voiceprint": "x"})
    assert (job.step, job.progress) == (None, None)
    assert redis.hget(f"timbre:job:{job_id}", "command") is None
    assert 0 < redis.ttl(f"timbre:job:{job_id}") <= 60


def test_an_unfinished_job_never_expires(jobs, job_id, redis):
    assert redis.ttl(f"timbre:job:{job_id}") == -1
    jobs.claim(job_id)
    assert redis.ttl(f"timbre:job:{job_id}") == -1


def test_a_terminal_job_can_be_neither_claimed_nor_finished_again(jobs, job_id):
    claim = jobs.claim(job_id)
    finish(jobs, claim, Status.FAILED, {"error": "x"})
    assert jobs.claim(job_id) is None
    assert not jobs.beat(claim)
    assert not finish(jobs, claim, Status.SUCCEEDED, {})
    assert status(jobs, job_id) is Status.FAILED


def test_a_heartbeat_keeps_the_lease(jobs, job_id, clock):
    claim = jobs.claim(job_id)
    for _ in range(4):
        clock.pass_s(LEASE_S / 2)
        assert jobs.beat(claim)
        assert jobs.reap().silent == []
    assert status(jobs, job_id) is Status.RUNNING


def test_an_expired_lease_is_taken_back_and_rung_for(jobs, job_id, clock):
    claim = jobs.claim(job_id)
    jobs.beat(claim, "vad")
    clock.pass_s(LEASE_S)
    assert jobs.reap().silent == [job_id]
    job = jobs.find("client", job_id)
    assert (job.status, job.step) == (Status.CREATED, None)


def test_a_stale_worker_is_refused_after_another_took_over(jobs, job_id, clock):
    stale = jobs.claim(job_id)
    clock.pass_s(LEASE_S)
    jobs.reap()
    fresh = jobs.claim(job_id)
    assert (fresh.attempt, fresh.fence) == (2, 2)
    assert not jobs.beat(stale)
    assert not finish(jobs, stale, Status.SUCCEEDED, {"from": "the dead"})
    assert finish(jobs, fresh, Status.SUCCEEDED, {"from": "the living"})
    assert output(jobs.find("client", job_id)) == {"from": "the living"}


def test_a_job_that_takes_its_workers_with_it_fails_in_the_end(jobs, job_id, redis, clock):
    service = job_service(jobs)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert jobs.claim(job_id).attempt == attempt
        clock.pass_s(LEASE_S)
        service.reap()
    assert len(service.queue.rung) == MAX_ATTEMPTS - 1
    job = jobs.find("client", job_id)
    assert job.status is Status.FAILED
    assert output(job)["code"] == "worker_lost"
    assert redis.ttl(f"timbre:job:{job_id}") > 0


def test_a_job_nobody_heard_of_is_rung_for_once_per_while(jobs, job_id, clock):
    assert jobs.reap().silent == []
    clock.pass_s(LEASE_S)
    assert jobs.reap().silent == [job_id]
    assert jobs.reap().silent == []
    clock.pass_s(LEASE_S)
    assert jobs.reap().silent == [job_id]


def test_no_more_is_rung_than_messages_are_missing(jobs, redis, clock):
    ids = [jobs.create(new_job_id(), "client", SUBMISSION).id for _ in range(3)]
    redis.rpush(QueueNames.JOBS, "a message", "another")
    clock.pass_s(LEASE_S)
    assert len(jobs.reap().silent) == 1
    redis.delete(QueueNames.JOBS)
    clock.pass_s(LEASE_S)
    assert sorted(jobs.reap().silent) == sorted(ids)


def test_a_call_whose_reply_was_lost_gets_the_same_answer_again(jobs, job_id):
    claims = [jobs._scripts("claim", job_id, 60_000, "call-1") for _ in range(2)]
    assert claims[0] == claims[1]
    assert jobs._scripts("claim", job_id, 60_000, "call-2") is None
    end = ["finish", job_id, 1, "succeeded", "{}", 60_000, "{}", 4, 60_000]
    assert [jobs._scripts(*end, call, "channel") for call in ("call-3", "call-3", "call-4")] == [1, 1, 0]
    withdraw = ["withdraw", job_id, "client", "call-5", 60_000, 60_000, "channel"]
    withdrawals = [jobs._scripts(*withdraw) for _ in range(2)]
    assert withdrawals[0] == withdrawals[1] == ["", "{}", 0]


def test_a_record_that_vanished_does_not_stop_the_reaper(jobs, job_id, redis, clock):
    other = jobs.create(new_job_id(), "client", SUBMISSION).id
    jobs.claim(job_id)
    jobs.claim(other)
    redis.delete(f"timbre:job:{job_id}")
    clock.pass_s(LEASE_S)
    assert jobs.reap().silent == [other]


def test_reaping_from_many_sides_rings_once(jobs, redis, clock):
    ids = {jobs.create(new_job_id(), "client", SUBMISSION).id for _ in range(20)}
    for job_id in ids:
        jobs.claim(job_id)
    clock.pass_s(LEASE_S)
    rung = [job_id for _ in range(4) for job_id in jobs.reap().silent]
    assert sorted(rung) == sorted(ids)


def test_a_record_of_the_first_release_names_no_dialect_and_is_ended_as_ever(jobs, redis):
    job_id = jobs.create(new_job_id(), "client", submission("media://a", HOOK)).id
    redis.hdel(f"timbre:job:{job_id}", "dialect")
    claim = jobs.claim(job_id)
    assert claim.reply == jobs.find("client", job_id).reply == Reply("pyannoteai", WebhookContent.RESULT)
    job_service(jobs).finish(claim, NoSpeech("Nobody speaks."))
    redis.hdel(f"timbre:delivery:{job_id}", "dialect", "tries")
    (delivery,) = RedisDeliveries(redis, ENVELOPE, clock=lambda: 2_000_000_000).take(1)
    assert (delivery.dialect, json.loads(delivery.body)["output"]["code"]) == ("pyannoteai", "no_speech")


def test_a_job_in_a_dialect_of_a_newer_release_is_left_to_it_and_holds_nothing_up(jobs, redis, clock):
    strange, late = (jobs.create(new_job_id(), "client", SUBMISSION).id for _ in range(2))
    redis.hset(f"timbre:job:{strange}", "dialect", "klingon")
    service = job_service(jobs)
    Runner(service=service, handle=None, beat_s=60.0).run(strange)
    assert status(jobs, strange) is Status.CREATED
    clock.pass_s(3600)
    service.reap()
    assert (status(jobs, strange), status(jobs, late)) == (Status.CREATED, Status.FAILED)


def test_who_may_not_publish_ends_jobs_all_the_same(jobs, job_id, redis):
    redis.execute_command("ACL SETUSER default resetchannels")
    try:
        finish(jobs, jobs.claim(job_id), Status.SUCCEEDED, {})
        jobs.delete(jobs.withdraw("client", job_id))
    finally:
        redis.execute_command("ACL SETUSER default allchannels")
    assert jobs.find("client", job_id) is None
