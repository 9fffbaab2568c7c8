"""Which job is next: turns among clients, oldest first within one, and lanes that never wait for each other."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.domain.commands import Diarize, Lane
from shared.domain.errors import JobQuotaExceeded
from shared.domain.jobs import JobSubmission, Status, new_job_id
from shared.domain.sources import parse_source
from tests.support.clock import Clock
from tests.support.records import LEASE_S, claim, finish, job_store, submission

LONG_FIRST = (Lane.LONG, Lane.SHORT)


def post(jobs, client, weight=1):
    return jobs.create(new_job_id(), client, submission("https://a.example/1.wav", weight=weight)).id


def post_long(jobs, client="long"):
    command = Diarize(source=parse_source("https://a.example/1.wav"))
    return jobs.create(new_job_id(), client, JobSubmission(command=command, dialect="pyannoteai")).id


def take(jobs, times, **worker):
    """Return the clients of the next jobs."""
    return [found.client_id for _ in range(times) if (found := jobs.claim(**worker))]


def test_a_client_with_one_job_waits_for_one_of_the_client_with_a_thousand(jobs):
    for _ in range(100):
        post(jobs, "a")
    take(jobs, 5)
    post(jobs, "b")
    assert take(jobs, 2).count("b") == 1


def test_a_clients_own_jobs_come_oldest_first(jobs, clock):
    posted = []
    for _ in range(5):
        posted.append(post(jobs, "a"))
        clock.pass_s(1)
    assert [jobs.claim().job_id for _ in range(5)] == posted


@given(st.lists(st.one_of(st.sampled_from("abcde"), st.just("claim")), max_size=80))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_nobody_waits_for_more_jobs_than_there_are_clients_in_line(redis, events):
    """Whoever comes waits for one job of each in line; a second job waits for those who came meanwhile, too."""
    redis.flushall()
    jobs = job_store(redis, Clock())
    waiting, may_wait_for, came = Counter(), {}, set()
    for event in events:
        if event == "claim":
            found = jobs.claim()
            assert (found is None) == (not waiting.total())
            if found is None:
                continue
            waiting[found.client_id] -= 1
            came.discard(found.client_id)
            del may_wait_for[found.client_id]
            for client in may_wait_for:
                may_wait_for[client] -= 1
            if waiting[found.client_id]:
                may_wait_for[found.client_id] = len(may_wait_for)
        else:
            post(jobs, event)
            waiting[event] += 1
            if event not in may_wait_for:
                for client in may_wait_for.keys() - came:
                    may_wait_for[client] += 1
                may_wait_for[event] = len(may_wait_for)
                came.add(event)
        assert all(jobs_left >= 0 for jobs_left in may_wait_for.values())


def test_who_comes_back_for_each_job_gains_nothing(jobs):
    for _ in range(50):
        post(jobs, "patient")
    served = Counter()
    post(jobs, "eager")
    for _ in range(40):
        (client,) = take(jobs, 1)
        served[client] += 1
        if client == "eager":
            post(jobs, "eager")
    assert abs(served["eager"] - served["patient"]) <= 1


def test_weight_gives_more_turns(jobs):
    for _ in range(50):
        post(jobs, "heavy", weight=4)
        post(jobs, "light")
    served = Counter(take(jobs, 50))
    assert served == {"heavy": 40, "light": 10}


def test_a_job_whose_worker_was_lost_is_next(jobs, clock):
    lost = post(jobs, "a")
    assert jobs.claim().job_id == lost
    for client in "abc":
        for _ in range(10):
            clock.pass_s(0.01)
            post(jobs, client)
    take(jobs, 3)
    clock.pass_s(LEASE_S)
    jobs.reap()
    assert lost in [jobs.claim().job_id for _ in range(4)]


def test_a_canceled_job_and_a_deleted_one_leave_the_line(jobs, redis):
    for job_id in (post(jobs, "a"), post(jobs, "b")):
        assert jobs.delete(jobs.withdraw(owner(redis, job_id), job_id))
    assert jobs.claim() is None
    assert redis.keys("timbre:line:*") == redis.keys("timbre:queue:*") == []


def owner(redis, job_id):
    return redis.hget(f"timbre:job:{job_id}", "client")


def test_long_jobs_hold_no_more_processes_than_they_may(jobs):
    for _ in range(5):
        post_long(jobs)
    post(jobs, "short")
    assert take(jobs, 3, lanes=LONG_FIRST, worker="w", most_long=2) == ["long", "long", "short"]
    assert jobs.claim(LONG_FIRST, "w", 2) is None
    assert jobs.claim(LONG_FIRST, "another", 2).lane is Lane.LONG


@pytest.mark.parametrize("end", ["finish", "release", "lose", "withdraw"])
def test_the_end_of_a_long_job_makes_room_for_another(jobs, clock, redis, end):
    post_long(jobs)
    held = jobs.claim(LONG_FIRST, "w", 1)
    post_long(jobs)
    assert jobs.claim(LONG_FIRST, "w", 1) is None
    if end == "finish":
        finish(jobs, held, Status.SUCCEEDED, {})
    elif end == "release":
        jobs.release(held)
    elif end == "withdraw":
        jobs.withdraw("long", held.job_id)
    else:
        clock.pass_s(LEASE_S)
        jobs.reap()
    assert jobs.claim(LONG_FIRST, "w", 1).lane is Lane.LONG


def test_a_long_job_that_a_release_without_lanes_ended_makes_room_too(jobs, redis):
    post_long(jobs)
    held = jobs.claim(LONG_FIRST, "w", 1)
    redis.hset(f"timbre:job:{held.job_id}", "status", Status.CANCELED)
    redis.zrem("timbre:running", held.job_id)
    post_long(jobs)
    assert jobs.claim(LONG_FIRST, "w", 1).lane is Lane.LONG


def test_a_job_that_rests_is_taken_again_when_it_has_rested(jobs, clock):
    job_id = post(jobs, "a")
    assert jobs.release(jobs.claim(), rest_s=5, counted=True)
    assert (jobs.claim(), jobs.reap().rings) == (None, 0)
    assert jobs.backlog().waiting == 1
    clock.pass_s(5)
    assert jobs.reap().rings == 1
    assert (found := jobs.claim()).attempt == 2
    assert found.job_id == job_id


def test_jobs_that_a_release_without_turns_made_wait_get_in_line(jobs, redis, clock):
    job_id = post(jobs, "a")
    for key in redis.keys("timbre:line:*") + redis.keys("timbre:queue:*"):
        redis.delete(key)
    redis.hdel(f"timbre:job:{job_id}", "lane", "weight", "bytes")
    redis.zadd("timbre:queued", {job_id: clock.now, new_job_id(): clock.now})
    assert jobs.reap().rings == 1
    assert redis.exists("timbre:queued") == 0
    assert finish(jobs, jobs.claim(), Status.SUCCEEDED, {})


def test_a_clients_bytes_are_bounded_until_its_results_expire(redis, clock):
    jobs = job_store(redis, clock, max_bytes=3000, ttl_s=3600)
    done = post(jobs, "a")
    finish(jobs, claim(jobs, done), Status.SUCCEEDED, {"x": "y" * 2000})
    with pytest.raises(JobQuotaExceeded, match="TIMBRE_MAX_JOB_BYTES"):
        for _ in range(10):
            post(jobs, "a")
    post(jobs, "b")
    clock.pass_s(2 * 3600)
    post(jobs, "a")


def test_deleting_a_result_makes_room(redis, clock):
    jobs = job_store(redis, clock, max_bytes=3000)
    done = post(jobs, "a")
    finish(jobs, claim(jobs, done), Status.SUCCEEDED, {"x": "y" * 2500})
    with pytest.raises(JobQuotaExceeded):
        post(jobs, "a")
    jobs.delete(jobs.withdraw("a", done))
    left = post(jobs, "a")
    jobs.delete(jobs.withdraw("a", left))
    assert redis.keys("timbre:bytes:*") == []


def test_bytes_of_jobs_that_a_release_without_the_bound_ended_are_free(redis, clock):
    jobs = job_store(redis, clock, max_bytes=3000)
    redis.hset("timbre:bytes:a", "unfinished", 3000)
    post(jobs, "a")


def test_room_is_the_same_after_any_number_of_jobs(redis, clock):
    jobs = job_store(redis, clock, max_bytes=10**6)
    for _ in range(20):
        finish(jobs, claim(jobs, post(jobs, "a")), Status.SUCCEEDED, {})
    assert redis.hget("timbre:bytes:a", "unfinished") is None
