"""A new version is rolled out while jobs run: nothing fails, nothing happens twice."""

from collections import Counter
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import requests

from shared.local.stack import Process, Stack
from tests.chaos.figures import ends_seen
from tests.chaos.orders import Work
from tests.chaos.receivers import Mailbox, await_webhooks, receiver
from tests.chaos.submissions import Order, Submissions
from tests.support.client import eventually, voiceprint
from tests.support.ledger import Ledger, keep
from tests.support.servers import NAME, AudioHost, audio_host, gated
from tests.support.stacks import LOOPBACK, first_client, running

RESTARTS = 10
HAND_BACKS = 3


def readiness(process: Process) -> int:
    """Return how often a process has said that it is ready."""
    return process.log.read_text(errors="replace").count(f"{process.name} ready")


def roll(process: Process, stack: Stack) -> None:
    """Replace a process as a deployment does: tell it to stop, start it anew, wait until it is ready."""
    before = readiness(process)
    process.stop()
    process.start()
    eventually(lambda: answers(stack) if process.name == "API" else readiness(process) > before)


def answers(stack: Stack) -> bool:
    """Say whether the API is there."""
    try:
        return requests.get(f"{stack.url}/readyz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def test_a_worker_that_must_stop_hands_its_job_back_uncounted(tmp_path: Path, host: AudioHost) -> None:
    settings = {"lease_s": 5.0, "grace_s": 0.5, "worker_processes": 1}
    with running(tmp_path, **LOOPBACK, **settings) as stack:
        client, worker = first_client(stack), stack.processes[2]
        job_id = client.submit(gated(host))
        # As often as would cost the job its life, were its attempts counted.
        for times in range(1, HAND_BACKS + 1):
            eventually(lambda times=times: host.hits[f"/gated/{NAME}"] == times)
            worker.stop()
            worker.stop()
            assert client.job(job_id)["status"] == "created"
            worker.start()
        host.gate.set()
        voiceprint(client.wait(job_id))


def test_ten_rolling_restarts_under_a_stream_of_jobs_fail_none_and_end_none_twice(tmp_path: Path) -> None:
    mailbox = Mailbox()
    with ExitStack() as everything:
        hook = everything.enter_context(receiver(mailbox))
        (url,) = Work.serve(everything.enter_context(audio_host()), real=False).short
        stack = everything.enter_context(running(tmp_path, worker_processes=1, lease_s=3.0, **LOOPBACK))
        keep(stack.settings.redis_url)
        _, api, worker, courier = stack.processes
        rolled = [worker, courier, stack.start_worker("worker-2.log"), stack.start_courier("courier-2.log"), api]
        client = first_client(stack)
        order = Order(client, "/v1/voiceprint", {"url": url, "webhook": hook})
        submissions = Submissions(lambda _: order, pause_s=1.0)
        submissions.allow(1000)
        with submissions.posting():
            for process in islice(cycle(rolled), RESTARTS):
                roll(process, stack)
        job_ids = list(submissions.accepted.values())
        await_webhooks(mailbox, len(job_ids), 60)
        ends = Counter(ends_seen(submissions.jobs()).values())
    ledger = Ledger.read(tmp_path / "redis")
    met = Counter(what for what, _ in submissions.answers)
    again = sum(len(ledger.claims(job_id)) - 1 for job_id in job_ids)
    print(f"{len(job_ids)} jobs ended {dict(ends)}; clients met {dict(met)}; handed back {again}")
    assert ends == {"not_audio": len(job_ids)}
    assert met.keys() <= {"200", "ConnectionError"}
    assert all(len(ledger.ends(job_id)) == 1 for job_id in job_ids)
    assert all(len(arrivals) == 1 + (arrivals[0].status == 500) for arrivals in mailbox.by_job().values())
    assert mailbox.delivered() >= set(job_ids)
