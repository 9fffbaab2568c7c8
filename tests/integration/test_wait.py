"""Waiting for a job's end, on a real Redis: woken by its end, not by looking again and again."""

import threading
import time
from contextlib import contextmanager

import pytest

from api.waits import Waits
from shared.domain.errors import NotFound
from shared.domain.jobs import Status, new_job_id
from tests.support.client import eventually
from tests.support.records import cancel, finish, job_service, output, submission

LONG_S = 60.0


@pytest.fixture
def job_id(jobs):
    return jobs.create(new_job_id(), "c", submission()).id


@pytest.fixture
def service(jobs):
    yield job_service(jobs)
    jobs.stop_waiting()
    eventually(lambda: all(thread.name != "endings" for thread in threading.enumerate()))


@contextmanager
def waiting(wait, *arguments):
    """Call `wait` in another thread for as long as the block; yields a list that its outcome comes into."""
    found = []

    def run():
        try:
            found.append(wait(*arguments))
        except NotFound as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(LONG_S)
    assert not thread.is_alive()


def subscribed(redis):
    return redis.pubsub_numsub("timbre:ended")[0][1] == 1


def reads(redis):
    return redis.info("commandstats")["cmdstat_hgetall"]["calls"]


def test_whoever_waits_has_the_job_when_it_ends_and_looks_no_more_than_three_times(service, jobs, job_id, redis):
    redis.config_resetstat()
    with waiting(service.wait, "c", job_id, LONG_S) as found:
        eventually(lambda: subscribed(redis))
        claim = jobs.claim()
        time.sleep(0.5)
        before = reads(redis)
        finish(jobs, claim, Status.SUCCEEDED, {"a": 1})
    assert (found[0].status, output(found[0])) == (Status.SUCCEEDED, {"a": 1})
    assert before <= 3
    assert reads(redis) == before + 1


def test_a_canceled_and_a_deleted_job_end_the_wait_too(service, jobs, redis):
    canceled, deleted = (jobs.create(new_job_id(), "c", submission()).id for _ in range(2))
    with waiting(service.wait, "c", canceled, LONG_S) as one, waiting(service.wait, "c", deleted, LONG_S) as other:
        eventually(lambda: subscribed(redis))
        cancel(jobs, canceled, {})
        jobs.delete(jobs.withdraw("c", deleted))
    assert one[0].status is Status.CANCELED
    assert isinstance(other[0], NotFound)


def test_when_the_time_is_over_the_job_comes_as_it_stands(service, job_id):
    assert service.wait("c", job_id, 0.2).status is Status.CREATED


def test_a_job_that_has_ended_and_one_of_another_client_are_answered_at_once(service, jobs, job_id):
    cancel(jobs, job_id, {})
    assert service.wait("c", job_id, LONG_S).status is Status.CANCELED
    with pytest.raises(NotFound):
        service.wait("stranger", job_id, LONG_S)


def test_a_subscription_that_breaks_off_misses_nothing(service, jobs, job_id, redis):
    with waiting(service.wait, "c", job_id, LONG_S) as found:
        eventually(lambda: subscribed(redis))
        redis.client_kill_filter(_type="pubsub")
        finish(jobs, jobs.claim(), Status.FAILED, {})
    assert found[0].status is Status.FAILED


def test_a_process_that_stops_lets_nobody_wait(service, job_id, redis):
    with waiting(service.wait, "c", job_id, LONG_S) as found:
        eventually(lambda: subscribed(redis))
        service.stop_waiting()
    assert found[0].status is Status.CREATED
    assert service.wait("c", job_id, LONG_S).status is Status.CREATED


def test_no_more_wait_than_their_share_of_the_threads(service, jobs, job_id, redis):
    waits = Waits(service, threads=4, share=0.5)
    with waiting(waits.job, "c", job_id, LONG_S), waiting(waits.job, "c", job_id, LONG_S):
        eventually(lambda: waits._free._value == 0)
        assert waits.job("c", job_id, LONG_S).status is Status.CREATED
        cancel(jobs, job_id, {})
    assert waits._free._value == 2


def test_the_only_thread_of_an_api_never_waits(service, job_id):
    assert Waits(service, threads=1, share=1.0).job("c", job_id, LONG_S).status is Status.CREATED


def test_a_listener_that_met_what_it_cannot_read_goes_on(service, jobs, job_id, redis):
    with waiting(service.wait, "c", job_id, LONG_S) as found:
        eventually(lambda: subscribed(redis))
        redis.publish("timbre:ended", b"\xff\xfe")
        eventually(lambda: subscribed(redis))
        cancel(jobs, job_id, {})
    assert found[0].status is Status.CANCELED
