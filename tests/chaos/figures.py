"""Figures of a run, from HTTP answers, what receivers got, Redis's own append-only file, and the database's tables."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from shared.adapters.redis_deliveries import PER_CLIENT
from shared.domain.jobs import MAX_ATTEMPTS
from tests.chaos.fleet import Harm
from tests.chaos.orders import enrols, is_about_a_person
from tests.chaos.plan import Plan, say
from tests.chaos.receivers import Arrival, Mailbox
from tests.chaos.submissions import Submissions
from tests.support.books import Books
from tests.support.client import Client
from tests.support.ledger import Ledger

#: From the kill of a process to its job's running again, 95 of 100 times.
RECOVERY_P95_S = 20.0
#: Kinds of harm that interrupt no job.
_HARMLESS = ("courier", "api")
#: Turns that another client may have during one wait: one, and two more where harm moved turns about.
MOST_TURNS = 3
#: From a job's end to its webhook, 95 of 100 times, with couriers and Redis well; a receiver that hangs takes 10 s.
DELAY_P95_S = 5.0
#: What keeps webhooks back, and for how many seconds after it is over.
_DELAYS = ("courier", "redis", "freeze", "full", "readonly", "noreplicas")
_AFTERMATH_S = 3.0
#: Clients whose receivers answer.
CLIENTS = 3
#: What clients meet while the API is away.
BROKEN = {"ConnectionError", "ReadTimeout", "ConnectTimeout", "ChunkedEncodingError"}


@dataclass(frozen=True)
class Recovery:
    """A job that runs again after harm."""

    job_id: str
    harm: Harm
    seconds: float


def recoveries(ledger: Ledger, harms: list[Harm]) -> list[Recovery]:
    """Return every interruption of a job, and every end of Redis, with the seconds until something runs again.

    A job's claim was interrupted by the first harm that came after it, for work lasts a moment only.
    """
    found = []
    for job_id in ledger.jobs:
        for one, two in pairwise(ledger.claims(job_id)):
            met = [harm for harm in harms if harm.kind not in _HARMLESS and one <= harm.until and harm.at <= two]
            found += [Recovery(job_id, harm, max(0.0, two - harm.until)) for harm in met[:1]]
    for harm in harms:
        again = ledger.first_claim_after(harm.until) if harm.kind in ("redis", "freeze") else None
        found += [Recovery(again.job_id, harm, again.at - harm.until)] if again else []
    return sorted(found, key=lambda recovery: recovery.seconds)


def recovery_figures(found: list[Recovery]) -> dict[str, Any]:
    """Count recoveries and how long they took."""
    for recovery in found[-3:]:
        say(
            f"slow: job {recovery.job_id}, {recovery.seconds:.1f} s from {recovery.harm.kind} at {recovery.harm.at:.1f}"
        )
    seconds = [recovery.seconds for recovery in found]
    return {
        "recovered": len(found),
        "recovery_p50_s": percentile(seconds, 50),
        "recovery_p95_s": percentile(seconds, 95),
        "recovery_max_s": percentile(seconds, 100),
    }


def percentile(values: list[float], percent: int) -> float:
    """Return the smallest value that `percent` of all do not exceed; 0 of none."""
    return round(sorted(values)[math.ceil(len(values) * percent / 100) - 1], 2) if values else 0.0


def webhook_figures(mailbox: Mailbox) -> dict[str, int]:
    """Count deliveries; a repeat is one that came after a 200."""
    by_job = mailbox.by_job().values()
    return {
        "webhook_ids_per_job": max((len({a.webhook_id for a in some}) for some in by_job), default=0),
        "bodies_per_job": max((len({a.digest for a in some}) for some in by_job), default=0),
        "numbers_used_twice": sum(len(some) - len({a.attempt for a in some}) for some in by_job),
        "delivered": len(mailbox.delivered()),
        "repeats": sum(_repeats(some) for some in by_job),
    }


def _repeats(arrivals: list[Arrival]) -> int:
    statuses = [arrival.status for arrival in arrivals]
    return len(statuses) - 1 - statuses.index(200) if 200 in statuses else 0


def post_figures(submissions: Submissions) -> dict[str, Any]:
    """Count what clients met."""
    answers = Counter(what for what, _ in submissions.answers)
    return {"answers": dict(answers), "slowest_answer_s": round(max(seconds for _, seconds in submissions.answers), 2)}


def job_figures(
    plan: Plan, submissions: Submissions, ledger: Ledger, seen: dict[str, str], before: list[str]
) -> dict[str, Any]:
    """Count jobs, by what clients see (an end by status or code for each job) and by Redis's books.

    Jobs that were done `before` the storm do not count.
    """
    ends = {job_id: ledger.ends(job_id) for job_id in ledger.jobs}
    counted = Counter(seen.values())
    otherwise = Counter(
        seen[job_id]
        for number, job_id in submissions.accepted.items()
        if seen[job_id] not in (_wanted(plan, number), "worker_lost")
    )
    lost = [job_id for job_id, end in seen.items() if end == "worker_lost"]
    return {
        "jobs": plan.jobs,
        "accepted": len(submissions.accepted),
        "created": len(set(ledger.jobs) - set(before)),
        "terminal": len(seen) - counted["unfinished"],
        "lost": sum(not ends.get(job_id) for job_id in submissions.accepted.values()),
        "finished_twice": sum(len(end) > 1 for end in ends.values()),
        "given_up": len(lost),
        "given_up_early": sum(len(ledger.claims(job_id)) < MAX_ATTEMPTS for job_id in lost),
        "otherwise": dict(otherwise),
        "worked_on_again": sum(len(ledger.claims(job_id)) - 1 for job_id in ledger.jobs if ledger.claims(job_id)),
    }


def _wanted(plan: Plan, number: int) -> str:
    return "succeeded" if plan.real or is_about_a_person(number) else "not_audio"


def person_figures(submissions: Submissions, seen: dict[str, str], books: Books) -> dict[str, Any]:
    """Count records of people by the database's books, which must agree with the ends that clients see.

    A job's sample or verification has the job's id. What was heard or compared is counted as one use, and an enrolment
    was computed once for each of its samples.
    """
    mine = {number: job_id for number, job_id in submissions.accepted.items() if is_about_a_person(number)}
    done = {"samples": _done(books.samples, "ready"), "verifications": _done(books.verifications, "performed")}
    uses = {"sample": done["samples"], "verification": done["verifications"]}
    wrong_uses = sum(
        books.uses[kind, one] != (one in those)
        for kind, those in uses.items()
        for one in {*those, *(record for of, record in books.uses if of == kind)}
    )
    enrolled = {one for grown in books.enrolments.values() for one in grown.samples}
    missing = [
        job_id
        for number, job_id in mine.items()
        if seen[job_id] == "succeeded" and job_id not in (enrolled if enrols(number) else done["verifications"])
    ]
    grown = [
        books.uses["enrolment", one] == found.version == len(found.samples) for one, found in books.enrolments.items()
    ]
    return {
        "about_people": len(mine),
        "enrolled": len(enrolled),
        "verified": len(done["verifications"]),
        "records_lost": len(missing),
        "records_waiting": books.waiting,
        "uses_counted_wrong": wrong_uses,
        "enrolments_computed_wrong": grown.count(False),
    }


def _done(states: dict[str, str], state: str) -> set[str]:
    return {one for one, found in states.items() if found == state}


def turn_figures(ledger: Ledger) -> dict[str, Any]:
    """Say how often at most one client was served while another's oldest job waited in the same lane.

    A job that is taken again after harm is not counted. It may bring its client's next turn forward, and its client's
    next job waits for it, too.
    """
    most = 0
    for turns in _turns(ledger).values():
        for turn in turns:
            served: Counter[str] = Counter()
            for other in turns:
                if other.client != turn.client and turn.since < other.until < turn.until:
                    served[other.client] += 1
            for client, times in served.items():
                again = _taken_again(ledger, client, turn) + _taken_again(ledger, turn.client, turn)
                most = max(most, times - again)
    return {"most_turns_of_another": most}


@dataclass(frozen=True)
class _Turn:
    """Wait of a client's oldest job, from its becoming that to its first claim."""

    client: str
    since: float
    until: float


def _turns(ledger: Ledger) -> dict[str, list[_Turn]]:
    """Return the turns in each lane."""
    by_client = defaultdict(list)
    for job_id in ledger.jobs:
        created = ledger.created(job_id)
        if claims := ledger.claims(job_id):
            by_client[created.lane, created.client].append((created.at, claims[0]))
    found = defaultdict(list)
    for (lane, client), jobs in by_client.items():
        oldest_since = 0.0
        for created_at, claimed_at in sorted(jobs):
            found[lane].append(_Turn(client, max(created_at, oldest_since), claimed_at))
            oldest_since = max(oldest_since, claimed_at)
    return found


def _taken_again(ledger: Ledger, client: str, turn: _Turn) -> int:
    claims = (ledger.claims(job_id)[1:] for job_id in ledger.jobs if ledger.created(job_id).client == client)
    return sum(turn.since < at < turn.until for again in claims for at in again)


def long_figures(ledger: Ledger, long_jobs: list[str], may: int) -> dict[str, Any]:
    """Say how many long jobs ran at once at most, of those that ran once and so to their end, and how many may."""
    spans = []
    for job_id in long_jobs:
        claims, ended_at = ledger.claims(job_id), ledger.ended_at(job_id)
        if len(claims) == 1 and ended_at:
            spans.append((claims[0], ended_at))
    most = max((sum(start <= at < end for start, end in spans) for at, _ in spans), default=0)
    return {"long": len(long_jobs), "long_at_once": most, "long_may": may}


def delay_figures(mailbox: Mailbox, ledger: Ledger, harms: list[Harm]) -> dict[str, Any]:
    """Say how long webhooks took whose jobs ended while couriers and Redis were well, beside receivers that hang."""
    found = []
    for job_id, arrivals in mailbox.by_job().items():
        ended_at = ledger.ended_at(job_id)
        if ended_at and not any(_delays(harm, ended_at) for harm in harms):
            found.append(max(0.0, arrivals[0].at - ended_at))
    return {
        "timed_webhooks": len(found),
        "webhook_p50_s": percentile(found, 50),
        "webhook_p95_s": percentile(found, 95),
        "webhook_max_s": percentile(found, 100),
    }


def _delays(harm: Harm, ended_at: float) -> bool:
    """Tell whether a harm may have kept back a webhook; one of a second later found it late already."""
    return harm.kind in _DELAYS and harm.at - 1 <= ended_at <= harm.until + _AFTERMATH_S


def ends_seen(jobs: list[tuple[Client, str]]) -> dict[str, str]:
    """Ask for every job; returns how each ended, by status or code."""
    return {job_id: _end(client.job(job_id)) for client, job_id in jobs}


def _end(job: dict[str, Any]) -> str:
    if job["status"] in ("created", "running"):
        return "unfinished"
    return str(job["output"].get("code", job["status"]))


def missed(figures: dict[str, Any]) -> list[str]:
    """Return the names of the figures that miss their target."""
    accepted = figures["accepted"]
    targets = {
        "accepted": accepted == figures["jobs"],
        "created": figures["created"] == accepted,
        "terminal": figures["terminal"] == accepted,
        "lost": figures["lost"] == 0,
        "finished_twice": figures["finished_twice"] == 0,
        "otherwise": not figures["otherwise"],
        "records_lost": figures["records_lost"] == 0,
        "records_waiting": figures["records_waiting"] == 0,
        "uses_counted_wrong": figures["uses_counted_wrong"] == 0,
        "enrolments_computed_wrong": figures["enrolments_computed_wrong"] == 0,
        "webhook_ids_per_job": figures["webhook_ids_per_job"] == 1,
        "bodies_per_job": figures["bodies_per_job"] == 1,
        "numbers_used_twice": figures["numbers_used_twice"] == 0,
        "given_up_early": figures["given_up_early"] == 0,
        "most_turns_of_another": figures["most_turns_of_another"] <= MOST_TURNS,
        "long_at_once": figures["long_at_once"] <= figures["long_may"],
        "webhook_p95_s": figures["webhook_p95_s"] <= DELAY_P95_S,
        "delivered": figures["delivered"] == accepted - figures["hanging"],
        "repeats": figures["repeats"] <= CLIENTS * PER_CLIENT * figures["kills"].get("courier", 0),
        "answers": figures["answers"].keys() <= {"200", "503"} | (BROKEN if "api" in figures["kills"] else set()),
        "recovery_p95_s": figures["recovery_p95_s"] <= RECOVERY_P95_S,
    }
    return [name for name, met in targets.items() if not met]
