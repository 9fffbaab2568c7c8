"""Jobs outlive the workers that die on them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from shared.domain.jobs import MAX_ATTEMPTS
from shared.local.stack import Process, Stack
from shared.names import alive_file
from tests.support.answers import failure
from tests.support.client import Client, eventually, voiceprint
from tests.support.disks import ROOM_BYTES, small_disk
from tests.support.servers import NAME, AudioHost, gated
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, bugs, first_client, running


def worker_of(stack: Stack) -> Process:
    """Return the worker that was started last."""
    return [process for process in stack.processes if process.name == "worker"][-1]


def reached(host: AudioHost, times: int) -> None:
    """Wait until a job has come to the gate so many times."""
    eventually(lambda: host.hits[f"/gated/{NAME}"] >= times)


def test_a_job_whose_process_is_killed_is_done_by_the_next(
    small: Client, small_stack: Stack, host: AudioHost, children_of: Callable[[int], set[int]]
) -> None:
    job_id = small.submit(gated(host))
    reached(host, 1)
    for child in children_of(worker_of(small_stack).pid):
        os.kill(child, signal.SIGKILL)
    host.gate.set()
    voiceprint(small.wait(job_id))
    assert host.hits[f"/gated/{NAME}"] == 2


def test_a_job_after_the_death_of_an_idle_decoder_succeeds(
    small: Client, small_stack: Stack, host: AudioHost, children_of: Callable[[int], set[int]]
) -> None:
    host.gate.set()
    for _ in range(3):
        voiceprint(small.run(gated(host)))
        # The one child of the worker has one child itself, which decodes.
        (decoder,) = {helper for child in children_of(worker_of(small_stack).pid) for helper in children_of(child)}
        os.kill(decoder, signal.SIGKILL)
    voiceprint(small.run(gated(host)))


def test_a_child_killed_before_its_worker_is_ready_is_replaced(
    small: Client, small_stack: Stack, host: AudioHost, children_of: Callable[[int], set[int]]
) -> None:
    before = worker_of(small_stack)
    worker = small_stack.start_worker("shaken.log")
    (child,) = eventually(lambda: children_of(worker.pid))
    os.kill(child, signal.SIGKILL)
    eventually(lambda: "worker ready" in worker.log.read_text())
    eventually(lambda: children_of(worker.pid) - {child})
    before.stop()
    host.gate.set()
    voiceprint(small.run(gated(host)))
    assert worker.alive
    # Of those who end as they should, no sign is left.
    signs = [alive_file(small_stack.settings.data_dir, "worker", process.pid).exists() for process in (worker, before)]
    assert signs == [True, False]


def test_a_job_posted_while_no_worker_runs_is_done_by_the_next(small: Client, small_stack: Stack) -> None:
    worker_of(small_stack).stop()
    job_id = small.submit("media://nothing")
    assert small.job(job_id)["status"] == "created"
    small_stack.start_worker()
    failure(small.wait(job_id), "media_not_found")


def test_a_job_that_kills_three_workers_is_given_up(small: Client, small_stack: Stack, host: AudioHost) -> None:
    job_id = small.submit(gated(host))
    for attempt in (1, 2, 3):
        reached(host, attempt)
        worker_of(small_stack).kill()
        small_stack.start_worker()
    failure(small.wait(job_id), "worker_lost", "3 times")
    assert host.hits[f"/gated/{NAME}"] == 3


def test_a_worker_told_to_stop_finishes_its_job_first(small: Client, small_stack: Stack, host: AudioHost) -> None:
    job_id = small.submit(gated(host))
    reached(host, 1)
    worker = worker_of(small_stack)
    os.kill(worker.pid, signal.SIGTERM)
    host.gate.set()
    voiceprint(small.wait(job_id))
    worker.stop()
    assert host.hits[f"/gated/{NAME}"] == 1
    small_stack.start_worker()


def test_a_worker_that_is_told_to_stop_many_times_at_once_stops(small_stack: Stack) -> None:
    worker = small_stack.start_worker("impatient.log")
    eventually(lambda: "worker ready" in worker.log.read_text())
    for _ in range(100):
        os.kill(worker.pid, signal.SIGTERM)
    eventually(lambda: not worker.alive)


def test_a_job_that_finds_the_disk_full_is_handed_back_and_done_when_there_is_room(
    host: AudioHost, tmp_path: Path
) -> None:
    url = host.serve(NAME, (DATA / NAME).read_bytes())
    with small_disk(tmp_path / "scratch") as scratch, running(tmp_path, worker_processes=1, **LOOPBACK) as stack:
        client = first_client(stack)
        (scratch / "filler").write_bytes(bytes(2 * ROOM_BYTES))
        failure(client.run(url), "worker_unavailable", "512 MiB", "Try again")
        job_id = client.submit(url)
        eventually(lambda: host.hits[f"/file/{NAME}"] > MAX_ATTEMPTS)
        (scratch / "filler").unlink()
        voiceprint(client.wait(job_id))
        assert not bugs(stack)
