import threading

import pytest

from shared.adapters.redis_jobs import MAX_ATTEMPTS
from shared.domain.commands import CreateVoiceprint
from shared.domain.jobs import Order, Status, new_job_id
from shared.names import QueueNames
from tests.support.records import LEASE_S

COMMAND = CreateVoiceprint(url="https://example.org/a.wav?X-Amz-Signature=secret", model="ge2e")
ORDER = Order(command=COMMAND)


@pytest.fixture
def job_id(jobs):
    return jobs.create(new_job_id(), "client", ORDER).id


def status(jobs, job_id):
    return jobs.find("client", job_id).status


def test_a_new_job_is_created_and_found_by_its_client_only(jobs, job_id):
    job = jobs.find("client", job_id)
    assert (job.status, job.command, job.output, job.step) == (Status.CREATED, COMMAND, None, None)
    assert job.created_at == job.updated_at
    assert jobs.find("stranger", job_id) is None
    assert jobs.find("client", new_job_id()) is None


def test_creating_twice_after_a_lost_reply_changes_nothing(jobs, job_id):
    jobs.claim(job_id)
    again = jobs.create(job_id, "client", ORDER)
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
    assert [(c.attempt, c.fence, c.command, c.client_id) for c in won] == [(1, 1, COMMAND, "client")]


def test_an_unknown_job_cannot_be_claimed(jobs):
    assert jobs.claim(new_job_id()) is None


def test_a_finished_job_keeps_its_output_and_forgets_its_command(jobs, job_id, redis):
    claim = jobs.claim(job_id)
    assert jobs.beat(claim, "decode")
    assert jobs.beat(claim, progress=0)
    assert (jobs.find("client", job_id).step, jobs.find("client", job_id).progress) == ("decode", 0)
    assert jobs.finish(claim, Status.SUCCEEDED, {"voiceprint": "x"})
    job = jobs.find("client", job_id)
    assert (job.status, job.output) == (Status.SUCCEEDED, {"voiceprint": "x"})
    assert (job.step, job.progress, job.command) == (None, None, None)
    assert 0 < redis.ttl(f"timbre:job:{job_id}") <= 60


def test_an_unfinished_job_never_expires(jobs, job_id, redis):
    assert redis.ttl(f"timbre:job:{job_id}") == -1
    jobs.claim(job_id)
    assert redis.ttl(f"timbre:job:{job_id}") == -1


def test_a_terminal_job_can_be_neither_claimed_nor_finished_again(jobs, job_id):
    claim = jobs.claim(job_id)
    jobs.finish(claim, Status.FAILED, {"error": "x"})
    assert jobs.claim(job_id) is None
    assert not jobs.beat(claim)
    assert not jobs.finish(claim, Status.SUCCEEDED, {})
    assert status(jobs, job_id) is Status.FAILED


def test_a_heartbeat_keeps_the_lease(jobs, job_id, clock):
    claim = jobs.claim(job_id)
    for _ in range(4):
        clock.pass_s(LEASE_S / 2)
        assert jobs.beat(claim)
        assert jobs.reap() == []
    assert status(jobs, job_id) is Status.RUNNING


def test_an_expired_lease_is_taken_back_and_rung_for(jobs, job_id, clock):
    claim = jobs.claim(job_id)
    jobs.beat(claim, "vad")
    clock.pass_s(LEASE_S)
    assert jobs.reap() == [job_id]
    job = jobs.find("client", job_id)
    assert (job.status, job.step) == (Status.CREATED, None)


def test_a_stale_worker_is_refused_after_another_took_over(jobs, job_id, clock):
    stale = jobs.claim(job_id)
    clock.pass_s(LEASE_S)
    jobs.reap()
    fresh = jobs.claim(job_id)
    assert (fresh.attempt, fresh.fence) == (2, 2)
    assert not jobs.beat(stale)
    assert not jobs.finish(stale, Status.SUCCEEDED, {"from": "the dead"})
    assert jobs.finish(fresh, Status.SUCCEEDED, {"from": "the living"})
    assert jobs.find("client", job_id).output == {"from": "the living"}


def test_a_job_that_takes_its_workers_with_it_fails_in_the_end(jobs, job_id, redis, clock):
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert jobs.claim(job_id).attempt == attempt
        clock.pass_s(LEASE_S)
        rung = jobs.reap()
    assert rung == []
    job = jobs.find("client", job_id)
    assert job.status is Status.FAILED
    assert job.output["code"] == "worker_lost"
    assert redis.ttl(f"timbre:job:{job_id}") > 0


def test_a_job_nobody_heard_of_is_rung_for_once_per_while(jobs, job_id, clock):
    assert jobs.reap() == []
    clock.pass_s(LEASE_S)
    assert jobs.reap() == [job_id]
    assert jobs.reap() == []
    clock.pass_s(LEASE_S)
    assert jobs.reap() == [job_id]


def test_no_more_is_rung_than_messages_are_missing(jobs, redis, clock):
    ids = [jobs.create(new_job_id(), "client", ORDER).id for _ in range(3)]
    redis.rpush(QueueNames.JOBS, "a message", "another")
    clock.pass_s(LEASE_S)
    assert len(jobs.reap()) == 1
    redis.delete(QueueNames.JOBS)
    clock.pass_s(LEASE_S)
    assert sorted(jobs.reap()) == sorted(ids)


def test_a_call_whose_reply_was_lost_gets_the_same_answer_again(jobs, job_id):
    claims = [jobs._scripts("claim", job_id, 60_000, "call-1") for _ in range(2)]
    assert claims[0] == claims[1]
    assert jobs._scripts("claim", job_id, 60_000, "call-2") is None
    end = ["finish", job_id, 1, "succeeded", "{}", 60_000, "{}", "{}", 60_000]
    assert [jobs._scripts(*end, call) for call in ("call-3", "call-3", "call-4")] == [1, 1, 0]
    withdrawals = [jobs._scripts("withdraw", job_id, "client", call, 60_000, 60_000) for call in ("call-5",) * 2]
    assert withdrawals[0] == withdrawals[1] == ["", "{}"]


def test_a_record_that_vanished_does_not_stop_the_reaper(jobs, job_id, redis, clock):
    other = jobs.create(new_job_id(), "client", ORDER).id
    jobs.claim(job_id)
    jobs.claim(other)
    redis.delete(f"timbre:job:{job_id}")
    clock.pass_s(LEASE_S)
    assert jobs.reap() == [other]


def test_reaping_from_many_sides_rings_once(jobs, redis, clock):
    ids = {jobs.create(new_job_id(), "client", ORDER).id for _ in range(20)}
    for job_id in ids:
        jobs.claim(job_id)
    clock.pass_s(LEASE_S)
    rung = [job_id for _ in range(4) for job_id in jobs.reap()]
    assert sorted(rung) == sorted(ids)
