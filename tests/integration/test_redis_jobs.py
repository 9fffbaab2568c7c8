import json
import threading

import pytest

from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_jobs import RING_AFTER_S
from shared.domain.audio import Segment
from shared.domain.commands import CreateVoiceprint, Diarize, from_record, record_form, to_record
from shared.domain.errors import NoSpeech
from shared.domain.jobs import (
    MAX_ATTEMPTS,
    RECORD_FORM,
    JobSubmission,
    Reply,
    Status,
    WebhookContent,
    new_job_id,
)
from shared.domain.sources import parse_source
from tests.support.records import ENVELOPE, HOOK, LEASE_S, finish, job_service, output, submission
from worker.jobs import runner
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
    jobs.claim()
    again = jobs.create(job_id, "client", SUBMISSION)
    assert again.created_at == jobs.find("client", job_id).created_at
    assert status(jobs, job_id) is Status.RUNNING


def test_only_one_of_many_claims_wins(jobs, job_id):
    claims = []
    threads = [threading.Thread(target=lambda: claims.append(jobs.claim())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [claim for claim in claims if claim]
    assert [(c.attempt, c.fence, c.record, c.client_id) for c in won] == [(1, 1, RECORD, "client")]


def test_where_no_job_waits_none_is_claimed(jobs):
    assert jobs.claim() is None


def test_a_finished_job_keeps_its_output_and_forgets_its_command(jobs, job_id, redis):
    claim = jobs.claim()
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
    jobs.claim()
    assert redis.ttl(f"timbre:job:{job_id}") == -1


def test_a_terminal_job_can_be_neither_claimed_nor_finished_again(jobs, job_id):
    claim = jobs.claim()
    finish(jobs, claim, Status.FAILED, {"error": "x"})
    assert jobs.claim() is None
    assert not jobs.beat(claim)
    assert not finish(jobs, claim, Status.SUCCEEDED, {})
    assert status(jobs, job_id) is Status.FAILED


def test_a_heartbeat_keeps_the_lease(jobs, job_id, clock):
    claim = jobs.claim()
    for _ in range(4):
        clock.pass_s(LEASE_S / 2)
        assert jobs.beat(claim)
        assert jobs.reap().rings == 0
    assert status(jobs, job_id) is Status.RUNNING


def test_an_expired_lease_is_taken_back_and_rung_for(jobs, job_id, clock):
    claim = jobs.claim()
    jobs.beat(claim, "vad")
    clock.pass_s(LEASE_S)
    assert jobs.reap().rings == 1
    job = jobs.find("client", job_id)
    assert (job.status, job.step) == (Status.CREATED, None)


def test_a_stale_worker_is_refused_after_another_took_over(jobs, job_id, clock):
    stale = jobs.claim()
    clock.pass_s(LEASE_S)
    jobs.reap()
    fresh = jobs.claim()
    assert (fresh.attempt, fresh.fence) == (2, 2)
    assert not jobs.beat(stale)
    assert not finish(jobs, stale, Status.SUCCEEDED, {"from": "the dead"})
    assert finish(jobs, fresh, Status.SUCCEEDED, {"from": "the living"})
    assert output(jobs.find("client", job_id)) == {"from": "the living"}


def test_a_job_that_takes_its_workers_with_it_fails_in_the_end(jobs, job_id, redis, clock):
    service = job_service(jobs)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert jobs.claim().attempt == attempt
        clock.pass_s(LEASE_S)
        service.reap()
    assert service.queue.rung == MAX_ATTEMPTS - 1
    job = jobs.find("client", job_id)
    assert job.status is Status.FAILED
    assert output(job)["code"] == "worker_lost"
    assert redis.ttl(f"timbre:job:{job_id}") > 0


def test_while_jobs_wait_the_doorbell_is_rung_once_in_a_while(jobs, job_id, clock):
    assert [jobs.reap().rings for _ in range(2)] == [1, 0]
    clock.pass_s(RING_AFTER_S)
    assert [jobs.reap().rings for _ in range(2)] == [1, 0]
    jobs.claim()
    clock.pass_s(RING_AFTER_S)
    assert jobs.reap().rings == 0


def test_a_call_whose_reply_was_lost_gets_the_same_answer_again(jobs, job_id):
    claims = [jobs._scripts("claim", 60_000, "call-1", "worker", 1, "short") for _ in range(2)]
    assert claims[0] == claims[1]
    assert jobs._scripts("claim", 60_000, "call-2", "worker", 1, "short") is None
    end = ["finish", job_id, 1, "succeeded", "{}", 60_000, "{}", 4, 60_000]
    assert [jobs._scripts(*end, call, "channel", "") for call in ("call-3", "call-3", "call-4")] == [
        [["voiceprint", "short"], 0],
        [["voiceprint", "short"], 0],
        None,
    ]
    withdraw = ["withdraw", job_id, "client", "call-5", 60_000, 60_000, "channel", "", ""]
    withdrawals = [jobs._scripts(*withdraw) for _ in range(2)]
    assert withdrawals[0] == withdrawals[1] == ["{}", 0]


def test_a_record_that_vanished_does_not_stop_the_reaper(jobs, job_id, redis, clock):
    other = jobs.create(new_job_id(), "client", SUBMISSION).id
    taken = [jobs.claim().job_id for _ in range(2)]
    assert sorted(taken) == sorted([job_id, other])
    redis.delete(f"timbre:job:{job_id}")
    clock.pass_s(LEASE_S)
    assert jobs.reap().rings == 1
    assert jobs.claim().job_id == other


def test_a_record_that_vanished_does_not_stop_the_next_claim(jobs, job_id, redis, clock):
    clock.pass_s(1)
    other = jobs.create(new_job_id(), "client", SUBMISSION).id
    redis.delete(f"timbre:job:{job_id}")
    assert jobs.claim().job_id == other
    assert jobs.claim() is None


def test_reaping_from_many_sides_rings_once(jobs, redis, clock):
    for _ in range(20):
        jobs.create(new_job_id(), "client", SUBMISSION)
        jobs.claim()
    clock.pass_s(LEASE_S)
    assert sum(jobs.reap().rings for _ in range(4)) == 20


def test_a_record_of_the_first_release_names_no_dialect_and_is_ended_as_ever(jobs, redis):
    job_id = jobs.create(new_job_id(), "client", submission("media://a", HOOK)).id
    redis.hdel(f"timbre:job:{job_id}", "dialect")
    claim = jobs.claim()
    assert claim.reply == jobs.find("client", job_id).reply == Reply("pyannoteai", WebhookContent.RESULT)
    job_service(jobs).finish(claim, NoSpeech("Nobody speaks."))
    redis.hdel(f"timbre:delivery:{job_id}", "dialect", "tries")
    (delivery,) = RedisDeliveries(redis, ENVELOPE, clock=lambda: 2_000_000_000).take(1)
    assert (delivery.dialect, json.loads(delivery.body)["output"]["code"]) == ("pyannoteai", "no_speech")


def test_a_job_in_a_dialect_of_a_newer_release_is_left_to_it_and_holds_nothing_up(jobs, redis, clock):
    strange = jobs.create(new_job_id(), "client", SUBMISSION).id
    redis.hset(f"timbre:job:{strange}", "dialect", "klingon")
    service = job_service(jobs)
    Runner(service=service, handle=None, beat_s=60.0).run_all()
    assert status(jobs, strange) is Status.CREATED
    assert jobs.claim() is None
    clock.pass_s(5)
    service.reap()
    assert jobs.release(jobs.claim())
    late = jobs.create(new_job_id(), "client", SUBMISSION).id
    clock.pass_s(3600)
    service.reap()
    assert (status(jobs, strange), status(jobs, late)) == (Status.CREATED, Status.FAILED)


def test_a_job_in_a_form_of_a_newer_release_is_left_to_it(jobs, redis, clock):
    strange = jobs.create(new_job_id(), "client", SUBMISSION).id
    redis.hset(f"timbre:job:{strange}", "form", RECORD_FORM + 1)
    Runner(service=job_service(jobs), handle=None, beat_s=60.0).run_all()
    assert status(jobs, strange) is Status.CREATED
    assert jobs.claim() is None
    clock.pass_s(5)
    job_service(jobs).reap()
    # It was not counted as an attempt.
    assert jobs.claim().attempt == 1


@pytest.mark.parametrize(
    ("new", "form"),
    [
        ({}, 1),
        ({"channel": 0}, 2),
        ({"speaker": "SPEAKER_01"}, 2),
        ({"segments": (Segment(0.5, 2.0),)}, 2),
    ],
)
def test_a_job_is_stored_in_the_oldest_form_whose_workers_can_do_it(new, form, jobs, monkeypatch):
    command = CreateVoiceprint(source=parse_source("https://example.org/a.wav"), **new)
    job_id = jobs.create(new_job_id(), "client", JobSubmission(command=command, dialect="pyannoteai")).id
    claim = jobs.claim()
    assert (claim.form, from_record(claim.record)) == (form, command)
    assert jobs.release(claim)
    monkeypatch.setattr(runner, "RECORD_FORM", 1)
    Runner(service=job_service(jobs), handle=_refuse, beat_s=60.0).run_all()
    assert status(jobs, job_id) is (Status.FAILED if form == 1 else Status.CREATED)


def test_channels_apart_make_a_record_of_the_second_form():
    source = parse_source("https://example.org/a.wav")
    forms = [record_form(to_record(Diarize(source=source, each_channel=each))) for each in (False, True)]
    assert forms == [1, 2]


def _refuse(claim, command, steps):
    raise NoSpeech("Nobody speaks.")


def test_who_may_not_publish_ends_jobs_all_the_same(jobs, job_id, redis):
    redis.execute_command("ACL SETUSER default resetchannels")
    try:
        finish(jobs, jobs.claim(), Status.SUCCEEDED, {})
        jobs.delete(jobs.withdraw("client", job_id))
    finally:
        redis.execute_command("ACL SETUSER default allchannels")
    assert jobs.find("client", job_id) is None
