"""Another Redis becomes the primary while jobs run: the API says 503 for a while, and nothing that was kept is lost."""

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.local.stack import Stack
from tests.chaos.orders import Work
from tests.chaos.receivers import Mailbox, await_webhooks, receiver
from tests.chaos.submissions import Order, Submissions
from tests.support.client import Client, Json, eventually, voiceprint
from tests.support.failover import NAME, Node, address, pair, sentinels, switch, url_by
from tests.support.ledger import Ledger, keep
from tests.support.servers import NAME as CLIP
from tests.support.servers import AudioHost, audio_host, gated
from tests.support.stacks import LOOPBACK, bugs, first_client, running

pytestmark = pytest.mark.alone

#: Jobs before the switch at least, and after it.
BEFORE, AFTER = 20, 20
ANSWER_WITHIN_S = 5.0
GO_ON_WITHIN_S = 60.0
PAUSE_MS = 60_000


@dataclass
class Load:
    """A service under a stream of jobs with webhooks, and the recording of one that lasts."""

    stack: Stack
    client: Client
    host: AudioHost
    mailbox: Mailbox
    submissions: Submissions
    #: When each job was last posted.
    posted: dict[int, float]

    def accepted_before(self, at: float) -> set[str]:
        """Return the accepted jobs whose POST was sent before `at`."""
        accepted = dict(self.submissions.accepted)
        return {job_id for number, job_id in accepted.items() if self.posted[number] < at}


@contextmanager
def loaded(folder: Path, redis_url: str) -> Iterator[Load]:
    """Run a service and its clients until the end of the block."""
    mailbox = Mailbox()
    with ExitStack() as everything:
        hook = everything.enter_context(receiver(mailbox))
        host = everything.enter_context(audio_host())
        (url,) = Work.serve(host, real=False).short
        stack = everything.enter_context(
            running(folder, redis_url=redis_url, worker_processes=2, lease_s=3.0, **LOOPBACK)
        )
        client = first_client(stack)
        order = Order(client, "/v1/voiceprint", {"url": url, "webhook": hook})
        posted: dict[int, float] = {}

        def next_order(number: int) -> Order:
            posted[number] = time.monotonic()
            return order

        submissions = Submissions(next_order, pause_s=0.5)
        submissions.allow(10_000)
        yield Load(stack, client, host, mailbox, submissions, posted)


def survive(
    load: Load, primary: Node, replica: Node, change: Callable[[], object], back: Callable[[], object] = bool
) -> None:
    """Change the primary under load, and check that all that had reached the replica is done, once.

    `back` brings the old primary back, when jobs are accepted again.
    """
    submissions = load.submissions
    keep(primary.url)
    with submissions.posting():
        eventually(lambda: len(submissions.accepted) >= BEFORE, GO_ON_WITHIN_S)
        lasting = load.client.submit(gated(load.host))
        eventually(lambda: load.host.hits[f"/gated/{CLIP}"])
        kept = set(submissions.accepted.values())
        primary.in_step(replica)
        began = time.monotonic()
        change()
        eventually(lambda: replica.leads() and primary.refuses(), GO_ON_WITHIN_S)
        changed = time.monotonic()
        eventually(lambda: len(load.accepted_before(math.inf) - load.accepted_before(changed)), GO_ON_WITHIN_S)
        seconds = time.monotonic() - began
        load.host.gate.set()
        back()
        more = len(submissions.accepted) + AFTER
        eventually(lambda: len(submissions.accepted) >= more, GO_ON_WITHIN_S)
    voiceprint(eventually(lambda: ended(load.client, lasting), GO_ON_WITHIN_S))
    lost = {job_id for job_id in submissions.accepted.values() if not found(load.client, job_id)}
    left = set(submissions.accepted.values()) - lost
    await_webhooks(load.mailbox, len(left), GO_ON_WITHIN_S)
    report(load, lost, seconds)
    ledger = Ledger.read(replica.folder)
    assert lost <= load.accepted_before(changed) - kept
    assert load.mailbox.delivered() >= left
    assert [job_id for job_id in left if len(ledger.ends(job_id)) != 1] == []


def report(load: Load, lost: set[str], seconds: float) -> None:
    """Print what clients met, and check it."""
    met = Counter(what for what, _ in load.submissions.answers)
    slowest = max(took for _, took in load.submissions.answers)
    twice = sum(len(arrivals) > 1 + (arrivals[0].status == 500) for arrivals in load.mailbox.by_job().values())
    print(
        f"{len(load.submissions.accepted)} jobs accepted, {len(lost)} lost, {twice} webhooks repeated; "
        f"the next job accepted after {seconds:.1f} s; clients met {dict(met)}, the slowest after {slowest:.1f} s"
    )
    assert met.keys() <= {"200", "503"}
    assert slowest < ANSWER_WITHIN_S
    assert all(process.alive for process in load.stack.processes)
    assert bugs(load.stack) == []


def ended(client: Client, job_id: str) -> Json | None:
    """Return a job that has ended; None before, and while the service is away."""
    answer = client.send("GET", f"/v1/jobs/{job_id}")
    job: Json = answer.json()
    return job if answer.status_code == 200 and job["status"] not in ("created", "running") else None


def found(client: Client, job_id: str) -> bool:
    """Say whether the service knows a job."""
    return client.send("GET", f"/v1/jobs/{job_id}").status_code == 200


def test_a_primary_that_is_killed_is_replaced_by_sentinels(tmp_path: Path) -> None:
    with (
        pair(tmp_path) as (primary, replica),
        sentinels(tmp_path, primary) as watching,
        loaded(tmp_path / "timbre", url_by(watching)) as load,
    ):
        survive(load, primary, replica, primary.kill)


def test_a_primary_that_hangs_is_replaced_and_is_not_written_to_when_it_wakes(tmp_path: Path) -> None:
    with (
        pair(tmp_path) as (primary, replica),
        sentinels(tmp_path, primary) as watching,
        loaded(tmp_path / "timbre", url_by(watching)) as load,
    ):

        def wake() -> None:
            os.kill(primary.pid, signal.SIGCONT)
            eventually(lambda: primary.follows(replica), GO_ON_WITHIN_S)

        survive(load, primary, replica, lambda: os.kill(primary.pid, signal.SIGSTOP), wake)


def test_a_failover_that_sentinels_are_told_to_make_loses_nothing_where_writes_are_paused(tmp_path: Path) -> None:
    with (
        pair(tmp_path) as (primary, replica),
        sentinels(tmp_path, primary) as watching,
        loaded(tmp_path / "timbre", url_by(watching)) as load,
    ):

        def fail_over() -> None:
            # Without a pause the old primary takes jobs for some 10 s more, until the Sentinels demote it.
            primary.client.client_pause(PAUSE_MS, all=False)
            primary.in_step(replica)
            watching[0].client.sentinel_failover(NAME)

        survive(load, primary, replica, fail_over)


def test_one_address_that_leads_to_another_server_is_followed_though_old_connections_stay_open(tmp_path: Path) -> None:
    with (
        pair(tmp_path) as (primary, replica),
        address(primary) as front,
        loaded(tmp_path / "timbre", f"redis://127.0.0.1:{front.port}/0") as load,
    ):
        survive(load, primary, replica, lambda: switch(front, primary, replica))
