"""Metrics: what forks, kills and unreadable files leave of them, and what Redis is asked for at a scrape."""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_depths import RedisDepths, open_depths
from shared.domain.commands import Diarize
from shared.domain.jobs import JobSubmission, Status, new_job_id
from shared.domain.sources import parse_source
from shared.local.stack import RedisServer
from shared.telemetry import exporter, metrics
from tests.support.client import eventually
from tests.support.disks import small_disk
from tests.support.records import ENVELOPE, claim, finish, submission
from tests.support.scrapes import Samples, free_ports, scrape

ALONE = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}


def test_no_fork_meets_a_closed_lock_and_nothing_that_children_counted_is_lost():
    command = [sys.executable, "-m", "tests.support.forking", "60"]
    done = subprocess.run(command, env=ALONE, check=True, capture_output=True, text=True, timeout=120)
    sums, files = done.stdout.splitlines()
    counted, *found = map(float, sums.split())
    assert counted > 600
    assert found == [counted, counted]
    # The files of the dead are one of each kind, however many died.
    assert len(files.split()) <= 6


@pytest.fixture(scope="module")
def bind():
    """An address at which this process's metrics are served."""
    bind = free_ports()
    exporter.serve(bind, "api")
    eventually(lambda: is_served(bind))
    return bind


def is_served(bind):
    try:
        return scrape(bind, "api")
    except OSError:
        return False


def entry(key, used):
    """Return a file of values with one key, and so many bytes in use."""
    return used.to_bytes(8, "little") + len(key).to_bytes(4, "little") + key + bytes(100)


UNREADABLE = {
    "empty": b"",
    "shorter than a number": b"\x01",
    "that ends too early": entry(b"[", 4000),
    "whose key is too long": entry(b"", 64).replace(bytes(4), (3000).to_bytes(4, "little")),
    "that is no text": entry(b"\xff" * 20, 48),
    "that is no JSON": entry(b"x" * 20, 48),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_left_out_of_a_scrape(bind, content):
    metrics.count(metrics.LEASES_LOST)
    path = Path(metrics.FOLDER, "counter_999999999.db")
    path.write_bytes(content)
    try:
        before = Samples(scrape(bind, "api")).total("timbre_leases_lost_total")
        metrics.count(metrics.LEASES_LOST)
        exporter.mark_dead(999_999_999)
        assert Samples(scrape(bind, "api")).total("timbre_leases_lost_total") == before + 1
    finally:
        for left in (path, Path(metrics.FOLDER, "counter_dead.db")):
            left.unlink(missing_ok=True)


def test_what_a_killed_process_counted_is_kept_and_what_it_was_at_is_not(bind):
    before = Samples(scrape(bind, "api"))
    child = os.fork()
    if not child:
        metrics.count(metrics.LEASES_LOST, 3)
        metrics.observe(metrics.DELIVERY_SECONDS, 0.3)
        metrics.put(metrics.JOBS_IN_HAND, 7)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    alive = Samples(scrape(bind, "api"))
    exporter.mark_dead(child)
    after = Samples(scrape(bind, "api"))
    for found in (alive, after):
        assert found.total("timbre_leases_lost_total") - before.total("timbre_leases_lost_total") == 3
        counted = [one.total("timbre_delivery_seconds_bucket", le="0.5") for one in (found, before)]
        assert counted[0] - counted[1] == 1
    assert [one.total("timbre_jobs_in_hand") for one in (before, alive, after)] == [0, 7, 0]
    assert not [*Path(metrics.FOLDER).glob(f"*_{child}.db")]


def test_an_address_that_is_in_use_is_taken_when_it_is_free(bind):
    script = f"from shared.telemetry import exporter; exporter.serve({bind!r}, 'api'); input()"
    again = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert "TIMBRE_METRICS_BIND" in again.stdout.readline()
    assert again.poll() is None
    assert is_served(bind)
    again.communicate("\n")


def test_folders_of_killed_processes_are_removed_and_those_of_living_ones_are_not():
    command = [sys.executable, "-c", "from shared.telemetry import metrics; print(metrics.FOLDER, flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    living, killed = (subprocess.Popen(command, **pipes) for _ in range(2))
    folders = [Path(one.stdout.readline().strip()) for one in (living, killed)]
    killed.kill()
    killed.communicate()
    metrics.remove_left_over()
    assert all(folder.exists() for folder in folders), "a new folder may not be locked yet"
    for folder in folders:
        os.utime(folder, (0, 0))
    metrics.remove_left_over()
    assert [folder.exists() for folder in folders] == [True, False]
    living.communicate("\n")
    assert not folders[0].exists()


def test_what_others_put_beside_the_folders_delays_no_start():
    pipe = Path(metrics.FOLDER).parent / "timbre-metrics-pipe"
    os.mkfifo(pipe)
    try:
        os.utime(pipe, (0, 0))
        metrics.remove_left_over()
        assert pipe.exists()
    finally:
        pipe.unlink()


def test_a_scraper_that_breaks_off_leaves_nothing_in_the_log(bind, capfd):
    host, _, port = bind.rpartition(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"GET /metrics HTTP/1.1\r\nX: y")
        half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    scrape(bind, "api")
    assert capfd.readouterr().err == ""


FULL = """
import os, pathlib
from shared.telemetry import metrics
try:
    pathlib.Path(metrics.FOLDER, "filler").write_bytes(bytes(1 << 30))
except OSError:
    pass
for number in range(2):
    child = os.fork()
    if not child:
        for name in range(1000):
            metrics.count(metrics.REFUSED, code=f"{name}")
            metrics.observe(metrics.DELIVERY_SECONDS, 1)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def test_a_full_disk_ends_no_process_that_counts(tmp_path):
    """A write to a mapped file kills its process (SIGBUS), where the disk has no room for it."""
    with small_disk(tmp_path / "disk") as disk:
        environment = ALONE | {"TMPDIR": str(disk)}
        command = [sys.executable, "-c", FULL]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
    assert [line for line in done.stdout.splitlines() if line.isdecimal()] == ["0", "0"]


@pytest.fixture
def depths(redis, clock):
    """Ask what waits."""
    collector = RedisDepths(redis, clock)

    def ask():
        samples = (sample for metric in collector.collect() for sample in metric.samples)
        return {(sample.name.removeprefix("timbre_"), *sample.labels.values()): sample.value for sample in samples}

    return ask


def post_long(jobs, client):
    command = Diarize(source=parse_source("https://a.example/1.wav"))
    return jobs.create(new_job_id(), client, JobSubmission(command=command, dialect="pyannoteai")).id


NOTHING_WAITS = {
    ("queue_jobs", "short"): 0,
    ("queue_jobs", "long"): 0,
    ("queue_oldest_seconds", "short"): 0,
    ("queue_oldest_seconds", "long"): 0,
    ("jobs_running",): 0,
    ("webhooks_due",): 0,
    ("webhooks_oldest_seconds",): 0,
}


def test_the_depth_of_each_lane_is_that_of_all_clients_and_its_age_that_of_the_oldest(jobs, clock, depths):
    assert depths() == NOTHING_WAITS
    for client in ("a", "b", "a"):
        jobs.create(new_job_id(), client, submission())
        clock.pass_s(2)
    post_long(jobs, "a")
    clock.pass_s(1)
    waiting = {("queue_jobs", "short"): 3, ("queue_jobs", "long"): 1}
    ages = {("queue_oldest_seconds", "short"): 7, ("queue_oldest_seconds", "long"): 1}
    assert depths() == NOTHING_WAITS | waiting | ages
    assert [jobs.claim().lane for _ in range(2)] == ["short", "short"]
    waiting = {("queue_jobs", "short"): 1, ("queue_jobs", "long"): 1, ("jobs_running",): 2}
    ages = {("queue_oldest_seconds", "short"): 3, ("queue_oldest_seconds", "long"): 1}
    assert depths() == NOTHING_WAITS | waiting | ages


def test_a_job_that_rests_waits_too(jobs, clock, depths):
    jobs.create(new_job_id(), "a", submission())
    post_long(jobs, "b")
    clock.pass_s(1)
    for found in [jobs.claim() for _ in range(2)]:
        jobs.release(found, rest_s=5)
    clock.pass_s(1)
    waiting = {("queue_jobs", "short"): 1, ("queue_jobs", "long"): 1}
    ages = {("queue_oldest_seconds", "short"): 2, ("queue_oldest_seconds", "long"): 2}
    assert depths() == NOTHING_WAITS | waiting | ages


def test_webhooks_are_due_until_they_are_sent(redis, jobs, clock, depths):
    deliveries = RedisDeliveries(redis, ENVELOPE, clock=clock)
    for number in range(12):
        job = jobs.create(
            new_job_id(), f"client {number % 2}", submission(webhook=f"https://host{number % 3}.example/")
        )
        assert finish(jobs, claim(jobs, job.id), Status.SUCCEEDED, {})
        clock.pass_s(1)
    assert depths() == NOTHING_WAITS | {("webhooks_due",): 12, ("webhooks_oldest_seconds",): 12}
    assert len(deliveries.take(2)) == 2
    assert depths()[("webhooks_due",)] == 10
    # Tries that nobody reports are lost, and due again.
    assert len(deliveries.take(100)) == 10
    assert depths()[("webhooks_due",)] == 0
    clock.pass_s(3600)
    assert depths()[("webhooks_due",)] == 12


def test_a_redis_that_hangs_delays_a_scrape_by_less_than_two_seconds(tmp_path):
    server = RedisServer(tmp_path / "data", tmp_path / "redis.log")
    server.wait()
    depths = open_depths(server.url)
    assert len([*depths.collect()]) == 5
    os.kill(server.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert [*depths.collect()] == []
        assert time.monotonic() - began < 2
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.stop()
