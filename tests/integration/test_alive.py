"""Health checks of workers and couriers: each process has a sign of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from shared.names import alive_file
from tests.support.client import eventually
from worker.jobs import alive

#: Marks itself alive once, then works on; SIGTERM ends it as it should.
WORKER = """
import signal, sys, pathlib
from worker.jobs.alive import Sign
sign = Sign(pathlib.Path(sys.argv[1]), "worker")
sign.mark()
signal.sigwait([signal.SIGTERM])
sign.remove()
"""


@pytest.fixture
def start(tmp_path):
    """Start workers that are ended with the test."""
    started = []

    def start_one():
        process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], preexec_fn=_block_sigterm)
        started.append(process)
        eventually(lambda: alive_file(tmp_path, "worker", process.pid).exists() or process.poll())
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()


def _block_sigterm():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def end(process, number):
    process.send_signal(number)
    process.wait()


def silence(tmp_path, process):
    """Make the last sign of a worker an hour old."""
    then = time.time() - 3600
    os.utime(alive_file(tmp_path, "worker", process.pid), (then, then))


def test_a_machine_without_workers_is_not_alive_and_other_roles_do_not_count(start, tmp_path):
    assert not alive.are_alive(tmp_path, "worker")
    start()
    eventually(lambda: alive.are_alive(tmp_path, "worker"))
    assert not alive.are_alive(tmp_path, "courier")


@pytest.mark.parametrize("fate", ["killed", "silent"])
def test_one_dead_worker_of_two_is_noticed(fate, start, tmp_path):
    one, _ = start(), start()
    eventually(lambda: alive.are_alive(tmp_path, "worker"))
    if fate == "killed":
        end(one, signal.SIGKILL)
    else:
        silence(tmp_path, one)
    assert not alive.are_alive(tmp_path, "worker")


def test_a_worker_that_ends_as_it_should_is_not_missed(start, tmp_path):
    one, _ = start(), start()
    end(one, signal.SIGTERM)
    eventually(lambda: alive.are_alive(tmp_path, "worker"))


def test_whoever_starts_in_place_of_the_killed_removes_their_signs(start, tmp_path):
    end(start(), signal.SIGKILL)
    gone = alive_file(tmp_path, "worker", os.getpid()).parent.with_name("a-container-of-old") / "1"
    gone.parent.mkdir()
    gone.touch()
    os.utime(gone, (1, 1))
    start()
    eventually(lambda: alive.are_alive(tmp_path, "worker"))
    assert not gone.exists()


def test_a_sign_that_was_removed_by_others_is_made_again(tmp_path):
    sign = alive.Sign(tmp_path, "courier")
    sign.mark()
    alive_file(tmp_path, "courier", os.getpid()).unlink()
    sign.mark()
    check = [sys.executable, "-m", "worker.jobs.alive", "courier"]
    environment = os.environ | {"TIMBRE_DATA_DIR": str(tmp_path)}
    assert subprocess.run(check, env=environment).returncode == 0
    sign.remove()
    assert subprocess.run(check, env=environment).returncode == 1
