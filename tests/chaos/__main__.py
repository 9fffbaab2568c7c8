"""`make chaos`: harm the service at random while jobs run through it, and count what came of the jobs.

Nothing in the service knows of this. It is the real API, real workers and couriers; a job's work is a download that its
host holds back for 100 ms, or 3 s where the job is long (and no audio, so that the job ends as `not_audio`). With
`--real` it is real audio, and so it always is where people are enrolled and verified. What is counted comes from
outside: HTTP answers, what receivers of webhooks got, Redis's own append-only file, and the database's tables.

The last line it prints is a JSON object of figures; it ends with status 1 when one of them misses its target.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from shared.adapters.sql.database import open_migrated
from shared.local.stack import Stack
from tests.chaos.figures import (
    delay_figures,
    ends_seen,
    job_figures,
    long_figures,
    missed,
    person_figures,
    post_figures,
    recoveries,
    recovery_figures,
    turn_figures,
    webhook_figures,
)
from tests.chaos.fleet import Fleet
from tests.chaos.orders import HANGING, Orders, Work, hangs, is_long
from tests.chaos.plan import Plan, say
from tests.chaos.receivers import Mailbox, await_webhooks, receiver, silent_receiver
from tests.chaos.storm import Storm
from tests.chaos.submissions import Progress, Submissions
from tests.support.books import Books
from tests.support.ledger import Ledger, keep
from tests.support.servers import audio_host
from tests.support.stacks import first_client

_RECEIVERS = 4
#: Longest wait for housekeeping.
_SETTLED_S = 120.0


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Carry the plan out on a service of its own in `folder`; returns the figures."""
    mailbox = Mailbox()
    started = time.monotonic()
    with ExitStack() as stack:
        hooks = [stack.enter_context(receiver(mailbox)) for _ in range(_RECEIVERS)]
        silent = [stack.enter_context(silent_receiver()) for _ in range(HANGING)]
        work = Work.serve(stack.enter_context(audio_host()), real=plan.real)
        service = stack.enter_context(Stack(plan.settings(folder)))
        keep(service.settings.redis_url)
        orders = Orders(service, work, hooks, silent)
        before = orders.enrol_known()
        submissions = Submissions(orders)
        fleet = Fleet(service, plan)
        with submissions.posting():
            Storm(plan, fleet, submissions, Progress(first_client(service), submissions)).rage()
        hanging = sum(map(hangs, submissions.accepted))
        say("waiting for webhooks")
        await_webhooks(mailbox, len(submissions.accepted) - hanging)
        say("looking at every job")
        seen = ends_seen(submissions.jobs())
        books = settled_books(service)
        say("stopping")
    ledger = Ledger.read(folder / "redis")
    long_jobs = [job_id for number, job_id in submissions.accepted.items() if is_long(number)]
    return {
        "seed": plan.seed,
        "lease_s": plan.lease_s,
        **job_figures(plan, submissions, ledger, seen, before),
        **person_figures(submissions, seen, books),
        **turn_figures(ledger),
        **long_figures(ledger, long_jobs, plan.workers * service.settings.most_long_jobs()),
        **webhook_figures(mailbox),
        **delay_figures(mailbox, ledger, fleet.harms),
        "hanging": hanging,
        **post_figures(submissions),
        "kills": dict(Counter(harm.kind for harm in fleet.harms)),
        **recovery_figures(recoveries(ledger, fleet.harms)),
        "duration_s": round(time.monotonic() - started, 1),
    }


def settled_books(service: Stack) -> Books:
    """Return the database's books, once no record waits for a job, or after a while.

    A request that breaks off may leave a record whose job never comes; housekeeping ends it after a minute.
    """
    engine = open_migrated(service.settings.sql_url())
    ends_at = time.monotonic() + _SETTLED_S
    try:
        while (books := Books.read(engine)).waiting and time.monotonic() < ends_at:
            time.sleep(1.0)
        return books
    finally:
        engine.dispose()


def parse(arguments: list[str]) -> tuple[Plan, Path | None]:
    """Read the command line: what to do, and the folder for data and logs where they are to be kept."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=Plan.jobs)
    parser.add_argument("--kills", type=int, default=Plan.kills)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--lease", type=float, default=Plan.lease_s, dest="lease_s", help="seconds")
    parser.add_argument("--real", action="store_true", help="real audio")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep data and logs there")
    options = vars(parser.parse_args(arguments))
    keep = options.pop("keep")
    return Plan(**options), keep


def main() -> None:
    """Run, print the figures, and say what misses its target."""
    plan, keep = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="timbre-chaos-") as folder:
        figures = run(plan, keep or Path(folder))
    print(json.dumps(figures))
    if failed := missed(figures):
        sys.exit("Missed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
