"""Agreement: processes on one Redis that keep uploads, records or secrets apart are refused, with a sentence."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from shared.adapters.redis_client import connect
from shared.adapters.redis_presence import RedisPresence, Seen, agreed, open_presence
from shared.adapters.sql.database import open_database
from shared.domain.errors import SettingsError
from shared.local.stack import Process, RedisServer, free_port
from shared.settings import Settings
from tests.support.apis import API, api_process
from tests.support.client import eventually
from tests.support.clock import Clock
from worker.bootstrap import join

WORKER = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
COMMANDS = {
    "api": API,
    "stream": [sys.executable, "-m", "api.stream"],
    "worker": WORKER,
    "courier": [sys.executable, "-m", "worker.courier"],
}
SECRET = "the one secret of all processes"


@pytest.fixture
def here(redis, redis_server, tmp_path):
    """Settings of a service, one process of which lives."""
    settings = Settings(data_dir=tmp_path / "here", redis_url=redis_server.url, secret=SECRET * 2)
    presence = open_presence(settings, "worker")
    join(presence)
    yield settings
    presence.leave()


def refusal(role, settings):
    """Run a process that must end by itself with a status other than 0; returns its last line."""
    given = replace(settings, bind=f"127.0.0.1:{free_port()}", stream_bind=f"127.0.0.1:{free_port()}")
    log = settings.data_dir / "refused.log"
    process = Process(role, COMMANDS[role], log, given.environment())
    try:
        eventually(lambda: not process.alive, within_s=60)
        assert process._popen.returncode not in (0, None)
    finally:
        process.stop()
    return log.read_text().splitlines()[-1]


@pytest.mark.parametrize("role", COMMANDS)
def test_no_process_starts_with_a_folder_of_its_own(role, here, tmp_path):
    line = refusal(role, replace(here, data_dir=tmp_path / "there"))
    assert line.startswith("Other processes of the service on this Redis (TIMBRE_REDIS_URL) keep uploads elsewhere")
    for setting in ("TIMBRE_DATA_DIR", "TIMBRE_S3_BUCKET", "TIMBRE_DATABASE_URL"):
        assert setting in line
    assert "secret" not in line
    assert not (tmp_path / "there" / "first-api-key").exists()


def test_another_secret_is_refused_and_nothing_of_it_told(here, redis):
    line = refusal("courier", replace(here, secret="canary" * 8))
    assert "have another server secret. " in line
    assert "TIMBRE_SECRET_FILE" in line
    assert "uploads" not in line
    assert "canary" not in line
    assert "canary" not in str(redis.hgetall("timbre:agreement"))


def test_a_bucket_beside_a_folder_is_refused(here, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    line = refusal("worker", replace(here, s3_bucket="calls", s3_endpoint_url="http://me:pass@S3.lan:9000/"))
    assert "here bucket calls at s3.lan:9000)" in line


def test_folders_of_their_own_are_no_matter_where_nothing_lasting_is_in_them(redis, tmp_path):
    shared = {"s3_bucket": "calls", "database_url": "postgresql://db.lan/timbre", "secret": SECRET * 2}
    for name in ("one", "two"):
        settings = Settings(data_dir=tmp_path / name, **shared)
        join(RedisPresence(redis, "worker", agreed(settings)))
    with pytest.raises(SettingsError, match="bucket calls at AWS; here bucket other at AWS"):
        RedisPresence(redis, "worker", agreed(replace(settings, s3_bucket="other"))).mark()


def test_a_folder_that_was_moved_as_a_whole_is_the_same_one(here, tmp_path):
    before = agreed(here)
    here.data_dir.rename(tmp_path / "moved")
    assert agreed(replace(here, data_dir=tmp_path / "moved")) == before


def test_a_service_moves_at_once_when_all_have_ended_and_after_a_minute_when_one_was_killed(redis):
    clock = Clock()
    one, two, moved = (RedisPresence(redis, "worker", {"uploads": name}, clock) for name in ("a", "a", "b"))
    decide(one, clock)
    assert two.mark()
    one.leave()
    with pytest.raises(SettingsError):
        moved.mark()
    two.leave()
    assert moved.mark()
    clock.pass_s(61)
    decide(RedisPresence(redis, "courier", {"uploads": "a"}, clock), clock)


def decide(presence, clock):
    """Let a process make the agreement; it waits, as others may come that have agreed before."""
    assert not presence.mark()
    clock.pass_s(1)
    assert not presence.mark()
    clock.pass_s(0.5)
    assert presence.mark()


@pytest.mark.parametrize("lost", ["emptied", "away for long", "emptied, and its clock set back"])
def test_a_stray_process_that_comes_first_after_a_loss_leaves_the_decision_to_those_that_agreed(lost, redis):
    clock = Clock()
    healthy, another = (RedisPresence(redis, "worker", {"uploads": "a"}, clock) for _ in range(2))
    decide(healthy, clock)
    assert another.mark()
    if lost.startswith("emptied"):
        redis.flushall()
    clock.pass_s(-3600 if lost.endswith("back") else 61)
    stray = RedisPresence(redis, "worker", {"uploads": "b"}, clock)
    assert not stray.mark()
    clock.pass_s(1)
    assert not stray.mark()
    # They look every second, and do not wait until their notes are due.
    assert healthy.mark()
    clock.pass_s(1)
    with pytest.raises(SettingsError, match="keep uploads elsewhere"):
        stray.mark()
    assert another.mark()


def test_of_newcomers_to_an_empty_redis_the_first_that_looks_again_decides(redis):
    clock = Clock()
    one, two = (RedisPresence(redis, "worker", {"uploads": name}, clock) for name in ("a", "b"))
    assert not one.mark()
    clock.pass_s(1.5)
    assert two.mark()
    with pytest.raises(SettingsError):
        one.mark()


def test_who_starts_again_alike_after_all_have_ended_need_not_wait(redis):
    clock = Clock()
    one = RedisPresence(redis, "worker", {"uploads": "a"}, clock)
    decide(one, clock)
    one.leave()
    clock.pass_s(30)
    other = RedisPresence(redis, "worker", {"uploads": "b"}, clock)
    assert not other.mark()
    assert RedisPresence(redis, "worker", {"uploads": "a"}, clock).mark()
    with pytest.raises(SettingsError):
        other.mark()


def test_the_killed_are_forgotten_by_a_redis_whose_clock_was_set_back(redis):
    clock = Clock()
    decide(RedisPresence(redis, "worker", {"uploads": "a"}, clock), clock)
    seen = Seen(redis, clock)
    assert seen.count() == {"worker": 1}
    clock.pass_s(-3600)
    assert seen.count() == {}
    decide(RedisPresence(redis, "courier", {"uploads": "b"}, clock), clock)
    assert seen.count() == {"courier": 1}
    assert redis.zcard("timbre:seen") == 1


def test_a_release_that_agrees_on_more_than_another_is_taken(redis):
    join(RedisPresence(redis, "worker", {"uploads": "a"}))
    assert RedisPresence(redis, "worker", {"uploads": "a", "more": "x"}).mark()
    assert RedisPresence(redis, "worker", {"uploads": "a"}).mark()


def test_an_api_that_learns_later_that_it_disagrees_ends(tmp_path):
    server = RedisServer(tmp_path / "redis", tmp_path / "redis.log")
    server.wait()
    join(RedisPresence(connect(server.url), "worker", {"uploads": "folder of others"}))
    server.kill()
    with api_process(tmp_path, server.url) as (client, process):
        assert client.send("GET", "/readyz").status_code == 503
        server.start()
        eventually(lambda: not process.alive, within_s=60)
    assert "keep uploads elsewhere" in "".join(path.read_text() for path in tmp_path.glob("api-*.log"))
    server.stop()


@pytest.mark.parametrize(("role", "ready"), [("worker", "worker ready"), ("courier", "courier ready")])
def test_who_learns_later_that_it_disagrees_takes_no_more(role, ready, redis, redis_server, tmp_path):
    settings = Settings(data_dir=tmp_path, redis_url=redis_server.url, worker_processes=1)
    open_database(settings.sql_url()).dispose()
    process = Process(role, COMMANDS[role], tmp_path / "role.log", settings.environment())
    try:
        eventually(lambda: process.check() or ready in (tmp_path / "role.log").read_text(), within_s=60)
        redis.flushall()
        eventually(lambda: [one for one in redis.zrange("timbre:seen", 0, -1) if one.startswith(role)])
        assert process.alive
        # Redis fails over to that of another service.
        with redis.pipeline() as failover:
            failover.flushall()
            failover.hset("timbre:agreement", "uploads", "folder of others")
            failover.zadd("timbre:seen", {"worker/another": time.time() * 1000})
            failover.execute()
        eventually(lambda: not process.alive, within_s=60)
    finally:
        process.stop()
    assert "this process ends: it disagrees with others" in (tmp_path / "role.log").read_text()


def test_commands_that_only_read_settings_need_no_agreement(here, tmp_path):
    there = replace(here, data_dir=tmp_path / "there")
    command = [sys.executable, "-m", "api.keys", "list"]
    assert subprocess.run(command, env=there.environment(), capture_output=True).returncode == 0
