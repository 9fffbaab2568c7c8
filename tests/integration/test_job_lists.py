"""Walks through long lists of jobs, most of which are not looked for, while jobs come and go."""

import random
import time
from dataclasses import replace

import pytest

from shared.adapters.sealing import Envelope
from shared.domain.jobs import MOST_LOOKED_AT, JobFacts, PageQuery, Status, new_job_id
from tests.support.apis import api
from tests.support.clock import Clock
from tests.support.records import ending, job_store, submission

#: More than any one request looks at.
MANY = MOST_LOOKED_AT + 500
SUBMISSION = submission("https://example.org")


@pytest.fixture
def clock():
    return Clock(now=round(time.time() * 1000))


@pytest.fixture
def jobs(redis, clock):
    return job_store(redis, clock, ttl_s=3600, max_unfinished=10**6)


@pytest.fixture
def store(redis, clock):
    """Store so many jobs that stand so, as bare records; returns their ids, newest first."""

    def store(count, status, client="c"):
        ids = [new_job_id() for _ in range(count)]
        with redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                clock.pass_s(0.001)
                pipe.hset(f"timbre:job:{job_id}", mapping={"client": client, "status": status, "created": clock.now})
                pipe.zadd(f"timbre:jobs:{client}", {job_id: clock.now})
            pipe.execute()
        return ids[::-1]

    return store


def walk(jobs, take, status=None, between=lambda: None):
    """Return the ids on each page of a walk to the end; something may happen between pages."""
    pages, cursor = [], None
    while True:
        page = jobs.page("c", status, PageQuery(take=take, cursor=cursor))
        pages.append([job.id for job in page.jobs])
        cursor = page.cursor
        if cursor is None:
            return pages
        between()


def test_jobs_are_found_behind_any_number_that_stand_otherwise(jobs, store):
    failed = store(5, Status.FAILED)
    store(MANY, Status.CANCELED)
    assert walk(jobs, 100, Status.FAILED) == [[], failed]
    assert walk(jobs, 2, Status.FAILED) == [[], failed[:2], failed[2:4], failed[4:]]
    assert walk(jobs, 100, Status.RUNNING) == [[], []]


def test_no_request_looks_at_more_jobs_than_its_share(jobs, store, redis):
    store(2 * MANY, Status.CANCELED)
    for which in (PageQuery(take=10), PageQuery(take=10, skip=2 * MANY)):
        redis.config_resetstat()
        page = jobs.page("c", Status.FAILED, which)
        assert (page.jobs, page.cursor is None) == ([], False)
        assert redis.info("commandstats")["cmdstat_hmget"]["calls"] == MOST_LOOKED_AT


def test_jobs_are_skipped_as_far_as_a_request_looks_and_a_cursor_leads_on_from_there(jobs, store):
    ids = store(MANY, Status.FAILED)

    def skipping(skip):
        page = jobs.page("c", None, PageQuery(take=100, skip=skip))
        return [job.id for job in page.jobs], page.cursor

    assert skipping(MOST_LOOKED_AT - 500)[0] == ids[-1000:-900]
    found, cursor = skipping(MOST_LOOKED_AT - 50)
    assert found == ids[-550:-500]
    assert skipping(MANY) == ([], cursor)
    assert [job.id for job in jobs.page("c", None, PageQuery(take=1000, cursor=cursor)).jobs] == ids[-500:]


def test_a_list_by_offset_that_ends_early_says_where_to_go_on(store, clock, redis, redis_server, tmp_path):
    with api(tmp_path, redis_server.url) as client:
        oldest = client.submit("https://example.org/a.wav")
        client_id = redis.hget(f"timbre:job:{oldest}", "client")
        clock.pass_s(60)
        store(MANY, Status.CANCELED, client_id)
        found = client.send("GET", "/v1/jobs", params={"status": "created"}).json()
        assert found["items"] == []
        behind = client.send("GET", "/v2/jobs", params={"status": "created", "cursor": found["nextCursor"]}).json()
        assert ([item["id"] for item in behind["items"]], behind["nextCursor"]) == ([oldest], None)
        assert list(client.send("GET", "/v1/jobs").json()) == ["items"]


def test_jobs_are_found_behind_any_number_of_expired_ones(jobs, store, redis):
    kept, expired = store(3, Status.FAILED), store(MANY, Status.FAILED)
    redis.delete(*[f"timbre:job:{job_id}" for job_id in expired])
    assert [job_id for page in walk(jobs, 2) for job_id in page] == kept


NAMED = "https://example.org/calls/Zo%C3%AB%20Lee.wav?X-Amz-Signature=secret"


def test_lists_and_jobs_tell_kind_name_and_length_and_the_name_is_sealed(jobs, redis):
    job_id = jobs.create(new_job_id(), "c", submission(NAMED)).id

    def facts():
        (listed,) = jobs.page("c", None, PageQuery(take=10)).jobs
        assert listed.facts == jobs.find("c", job_id).facts
        return listed.facts

    assert facts() == JobFacts(kind="voiceprint", name="Zoë Lee.wav", audio_s=None)
    finished = replace(ending(job_id, Status.SUCCEEDED, {}), audio_s=61.5)
    assert jobs.finish(jobs.claim(), finished)
    assert facts() == JobFacts(kind="voiceprint", name="Zoë Lee.wav", audio_s=61.5)
    record = redis.hgetall(f"timbre:job:{job_id}")
    assert not [value for value in record.values() if "Lee" in value or "secret" in value]
    assert jobs.withdraw("c", job_id)
    assert not {"name", "command"} & redis.hgetall(f"timbre:job:{job_id}").keys()


def test_a_name_that_was_sealed_under_another_secret_is_left_out(jobs, redis, clock):
    job_id = jobs.create(new_job_id(), "c", submission(NAMED)).id
    others = job_store(redis, clock, envelope=Envelope(b"t" * 32))
    (listed,) = others.page("c", None, PageQuery(take=10)).jobs
    assert (listed.id, listed.facts) == (job_id, JobFacts(kind="voiceprint"))


def test_a_name_counts_as_bytes_of_its_client(redis, clock):
    room = job_store(redis, clock, max_bytes=10**6)
    room.create(new_job_id(), "c", submission("media://a"))
    short = int(redis.hget("timbre:bytes:c", "unfinished"))
    room.create(new_job_id(), "d", submission(f"media://{'a' * 200}"))
    command_and_key = 2 * 199
    assert int(redis.hget("timbre:bytes:d", "unfinished")) > short + command_and_key + 199


def test_a_deleted_job_leaves_the_list_too(jobs, redis):
    job_id = jobs.create(new_job_id(), "c", SUBMISSION).id
    assert jobs.delete(jobs.withdraw("c", job_id))
    assert redis.zcard("timbre:jobs:c") == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_walk_meets_every_job_that_stays_exactly_once_whatever_comes_and_goes(jobs, clock, seed):
    chance = random.Random(seed)
    there = set()

    def come():
        there.add(jobs.create(new_job_id(), "c", SUBMISSION).id)
        # Often several have one time, and the clock is set back now and then.
        clock.pass_s(chance.choice([0, 0, 0.001, 1, -2]))

    def come_and_go():
        come()
        for job_id in chance.sample(sorted(there), 3):
            assert jobs.delete(jobs.withdraw("c", job_id))
            there.remove(job_id)

    for _ in range(100):
        come()
    before = set(there)
    met = [job_id for page in walk(jobs, 4, between=come_and_go) for job_id in page]
    assert len(met) == len(set(met))
    assert before & there <= set(met)
    assert sorted(there) == sorted(job_id for page in walk(jobs, 7) for job_id in page)
