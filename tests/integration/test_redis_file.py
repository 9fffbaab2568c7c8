"""What was deleted is gone from Redis's files too: the sealed value and the key that stood beside it."""

import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.adapters.redis_client import connect
from shared.adapters.redis_file import RedisFile
from shared.adapters.redis_scripts import redis_clock
from shared.domain.jobs import Status, new_job_id
from shared.local.stack import RedisServer
from tests.support.client import eventually
from tests.support.records import HOOK, finish, job_store, output, submission

SUBMISSION = submission("https://example.org/a?signed", HOOK)
#: Characters of a sealed value in base64 that are its wrapped key.
KEY = 80
TTL_S = 3600


@pytest.fixture
def server(tmp_path):
    server = RedisServer(tmp_path / "data", tmp_path / "redis.log")
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def redis(server):
    with connect(server.url) as client:
        yield client


@pytest.fixture
def jobs(redis):
    return job_store(redis, redis_clock, lease_s=60, ttl_s=TTL_S)


def ended(jobs, redis):
    """Make a job and end it; returns its id, and the keys and sealed texts of all that was stored of it."""
    job_id = jobs.create(new_job_id(), "client", SUBMISSION).id
    command, webhook = redis.hmget(f"timbre:job:{job_id}", "command", "webhook")
    assert finish(jobs, jobs.claim(), Status.SUCCEEDED, {"voiceprint": "x" * 300})
    result = redis.hget(f"timbre:job:{job_id}", "output")
    sealed = (command, result, redis.get(f"timbre:delivery:{job_id}:body"), webhook)
    return job_id, [part.encode() for text in sealed for part in (text[:KEY], text[KEY:])]


def on_disk(redis, needles):
    """Count those that are in any of the server's files."""
    folder = Path(redis.config_get("dir")["dir"])
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return sum(needle in content for needle in needles)


def forget(file, redis):
    """Have the file rewritten and the rewrite noted."""
    file.forget()
    eventually(lambda: file.forget() or redis.zcount("timbre:leaving", "-inf", time.time() * 1000) == 0)


def test_a_deleted_job_leaves_the_file_with_its_keys_and_the_others_stay(jobs, redis, server):
    deleted, needles = ended(jobs, redis)
    kept, others = ended(jobs, redis)
    assert jobs.delete(jobs.withdraw("client", deleted))
    eventually(lambda: on_disk(redis, needles) == len(needles) == 8)
    forget(RedisFile(redis), redis)
    eventually(lambda: on_disk(redis, needles) == 0)
    assert on_disk(redis, others) > 0
    server.kill()
    server.start()
    server.wait()
    assert output(jobs.find("client", kept)) == {"voiceprint": "x" * 300}
    assert jobs.find("client", deleted) is None


def test_what_a_job_was_given_leaves_the_file_when_it_has_ended_and_its_result_stays(jobs, redis):
    file = RedisFile(redis, every_s=0.001)
    for _ in range(2):
        job_id, (*command, result, _, _, _, _, _) = ended(jobs, redis)
        assert on_disk(redis, command) == len(command) == 2
        forget(file, redis)
        eventually(lambda sought=command: on_disk(redis, sought) == 0)
        assert on_disk(redis, [result]) == 1
        assert jobs.find("client", job_id).output


def test_a_job_past_its_time_leaves_the_file_even_if_redis_has_not_come_across_it(jobs, redis):
    job_id, needles = ended(jobs, redis)
    now = [round(time.time() * 1000) + 1000 * TTL_S - 5000]
    file = RedisFile(redis, every_s=0.001, clock=lambda: now[0])
    forget(file, redis)
    assert jobs.find("client", job_id)
    now[0] += 10_000
    eventually(lambda: file.forget() or not redis.exists("timbre:leaving"))
    eventually(lambda: on_disk(redis, needles) == 0)


def test_what_a_rewrite_left_that_was_cut_off_is_removed_at_the_next_start(jobs, redis, server):
    _, needles = ended(jobs, redis)
    redis.config_set("rdb-key-save-delay", 10**6)
    redis.bgrewriteaof()
    folder = Path(redis.config_get("dir")["dir"])
    eventually(lambda: list(folder.glob("temp-*")))
    server.kill()
    server.start()
    server.wait()
    assert not list(folder.glob("temp-*"))
    assert on_disk(redis, needles) > 0


def test_the_file_is_rewritten_once_for_all_and_not_again_for_a_while(jobs, redis):
    files = [RedisFile(redis) for _ in range(3)]
    for file in files:
        file.forget()
    assert redis.info()["aof_rewrites"] == 0
    for _ in range(2):
        for _ in range(3):
            jobs.delete(jobs.withdraw("client", ended(jobs, redis)[0]))
        for file in files:
            file.forget()
        eventually(lambda: not redis.info()["aof_rewrite_in_progress"])
    assert redis.info()["aof_rewrites"] == 1


def test_a_rewrite_that_broke_off_is_done_again(jobs, redis, server):
    job_id, needles = ended(jobs, redis)
    jobs.delete(jobs.withdraw("client", job_id))
    file = RedisFile(redis, every_s=0.001)
    file.forget()
    server.kill()
    server.start()
    server.wait()
    with capture_logs() as logs:
        file.forget()
    assert "tried again" in logs[0]["event"]
    assert redis.zscore("timbre:leaving", job_id)
    forget(file, redis)
    eventually(lambda: on_disk(redis, needles) == 0)


@pytest.mark.parametrize("command", ["bgrewriteaof", "info"])
def test_a_server_that_forbids_it_is_told_in_the_log_and_asked_again(command, jobs, redis):
    job_id, _ = ended(jobs, redis)
    jobs.delete(jobs.withdraw("client", job_id))
    redis.acl_setuser("default", commands=[f"-{command}"], enabled=True, nopass=True)
    file = RedisFile(redis, every_s=0.001)
    for _ in range(2):
        with capture_logs() as logs:
            file.forget()
        assert "stays, sealed" in logs[0]["event"]
        time.sleep(0.002)
    assert redis.zscore("timbre:leaving", job_id)


def test_without_an_append_only_file_there_is_nothing_to_rewrite(jobs, redis):
    jobs.delete(jobs.withdraw("client", ended(jobs, redis)[0]))
    redis.config_set("appendonly", "no")
    RedisFile(redis).forget()
    assert redis.zcard("timbre:leaving") == 0
