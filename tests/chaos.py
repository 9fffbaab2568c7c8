"""`make chaos`: kill parts of the service at random while jobs run through it, and count what came of the jobs.

Nothing in the service knows of this. It is the real API, real workers and couriers; a job's work is a download that its
host holds back for 100 ms (and no audio, so that the job ends as `not_audio`), or, with `--real`, real audio. What is
counted comes from outside: HTTP answers, what receivers of webhooks got, and Redis's own append-only file.

The last line it prints is a JSON object of figures; it ends with status 1 when one of them misses its target.
"""

import argparse
import hashlib
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, cycle, islice, pairwise
from pathlib import Path
from typing import Any

import requests

from shared.local.stack import EMBEDDED, Process, Stack, free_port
from shared.settings import Settings
from tests.support.client import Client
from tests.support.ledger import Ledger, keep
from tests.support.servers import AudioHost, audio_host
from tests.support.sounds import DATA
from worker.courier import SENDERS

#: What is done to the service, in these proportions.
HARMS = ("worker", "courier", "worker", "pause", "worker", "courier", "worker", "pause", "courier", "redis")
#: From the kill of a process to its job's running again, 95 of 100 times.
RECOVERY_P95_S = 20.0
CLIPS = ("1688-142285-0005.flac", "2609-156975-0000.flac", "3080-5032-0003.flac")
_RECEIVERS = 4
_POSTERS = 8
_RETRY_S = 0.2
_TICK_S = 0.1
#: A kill is not put off for longer than this when jobs do not move.
_STALLED_S = 15.0
#: First characters of the ids of jobs, one in eight, whose webhook is refused the first time.
_REFUSED = "01"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do to the service."""

    jobs: int = 1500
    kills: int = 60
    seed: int = 1
    workers: int = 3
    couriers: int = 2
    lease_s: float = 3.0
    real: bool = False
    limit_s: float = 1200.0

    def harms(self) -> list[str]:
        """Return what is done, in order; the same for the same seed."""
        kinds = list(islice(cycle(HARMS), self.kills))
        random.Random(self.seed).shuffle(kinds)
        return kinds

    def settings(self, folder: Path) -> Settings:
        """Return the settings of the service; jobs and webhooks may reach this machine."""
        return Settings(
            redis_url=EMBEDDED,
            data_dir=folder,
            bind=f"127.0.0.1:{free_port()}",
            worker_processes=2,
            lease_s=self.lease_s,
            max_unfinished_jobs=self.jobs + 1,
            posts_per_minute=10**6,
            reads_per_minute=10**6,
            allowed_hosts="127.0.0.0/8,::1/128",
            allowed_ports="1-65535",
            allow_http_webhooks=True,
        )


@dataclass(frozen=True)
class Arrival:
    """A webhook as it came in."""

    job_id: str
    webhook_id: str
    attempt: int
    digest: str
    status: int


@dataclass
class Mailbox:
    """What all receivers got; the first try for one job in eight is answered with 500, everything else with 200."""

    arrivals: list[Arrival] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, headers: Any, body: bytes) -> int:
        """Note a webhook; returns the status to answer with."""
        job_id = json.loads(body)["jobId"]
        attempt = 1 + int(headers.get("x-retry-num", 0))
        with self.lock:
            status = 500 if attempt == 1 and job_id[0] in _REFUSED else 200
            digest = hashlib.sha256(body).hexdigest()
            self.arrivals.append(Arrival(job_id, headers["webhook-id"], attempt, digest, status))
        return status

    def by_job(self) -> dict[str, list[Arrival]]:
        """Return the webhooks of each job, in order."""
        found = defaultdict(list)
        for arrival in list(self.arrivals):
            found[arrival.job_id].append(arrival)
        return found

    def delivered(self) -> set[str]:
        """Return the jobs whose webhook was answered with 200."""
        return {arrival.job_id for arrival in list(self.arrivals) if arrival.status == 200}


class _Receiver(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.mailbox = mailbox

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: couriers are killed while they send."""


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: _Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.mailbox.put(self.headers, body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiver(mailbox: Mailbox) -> Iterator[str]:
    """Take webhooks until the end of the block; gives the address to send them to."""
    with _Receiver(mailbox) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()


@dataclass(frozen=True)
class Harm:
    """Something that was done to the service."""

    kind: str
    #: Seconds since the epoch.
    at: float


class Fleet:
    """The processes of the service, and what is done to them."""

    def __init__(self, stack: Stack, plan: Plan) -> None:
        self.redis, _, worker, courier = stack.processes
        self.workers = [worker, *(stack.start_worker(f"worker-{n}.log") for n in range(2, plan.workers + 1))]
        self.couriers = [courier, *(stack.start_courier(f"courier-{n}.log") for n in range(2, plan.couriers + 1))]
        self.harms: list[Harm] = []
        self._random = random.Random(plan.seed)
        self._lease_s = plan.lease_s
        self._starts = Counter([*self.workers, *self.couriers])
        self._away: set[Process] = set()
        self._later: list[tuple[float, Callable[[], None]]] = []

    @property
    def whole(self) -> bool:
        """Whether nothing is stopped or waits to be started."""
        return not self._later

    def tick(self) -> None:
        """Do what has become due: go on with what was stopped, start what was killed."""
        due = [entry for entry in self._later if entry[0] <= time.monotonic()]
        self._later = [entry for entry in self._later if entry not in due]
        for _, action in due:
            action()

    def harm(self, kind: str) -> bool:
        """Do one kind of harm to somebody who is up and about; False when there is nobody."""
        victims = self._fit({"worker": self.workers, "pause": self.workers, "courier": self.couriers}.get(kind))
        if not victims:
            return False
        victim = self._random.choice(victims)
        self.harms.append(Harm(kind, time.time()))
        {"pause": self._pause, "redis": self._kill_redis}.get(kind, self._kill)(victim)
        return True

    def _fit(self, processes: list[Process] | None) -> list[Process]:
        if processes is None:
            return [] if self.redis in self._away else [self.redis]
        return [process for process in processes if process not in self._away and self._ready(process)]

    def _ready(self, process: Process) -> bool:
        return process.log.read_text(errors="replace").count(f"{process.name} ready") >= self._starts[process]

    def _kill(self, process: Process) -> None:
        process.kill()
        process.start()
        self._starts[process] += 1

    def _kill_redis(self, redis: Process) -> None:
        redis.kill()
        self._away.add(redis)
        self._after(self._random.uniform(0, 3), redis, redis.start)

    def _pause(self, worker: Process) -> None:
        os.killpg(worker.pid, signal.SIGSTOP)
        self._away.add(worker)
        self._after(self._lease_s + self._random.uniform(1, 2), worker, lambda: os.killpg(worker.pid, signal.SIGCONT))

    def _after(self, delay_s: float, process: Process, action: Callable[[], None]) -> None:
        def bring_back() -> None:
            action()
            self._away.remove(process)

        self._later.append((time.monotonic() + delay_s, bring_back))


class Submissions:
    """Posts jobs, each until it is accepted, under an Idempotency-Key; as many as `allow` lets it."""

    def __init__(self, client: Client, bodies: Callable[[int], dict[str, str]], pause_s: float = 0.0) -> None:
        self.accepted: dict[int, str] = {}
        #: What came of each POST (a status, or the name of an error), and after how many seconds.
        self.answers: list[tuple[str, float]] = []
        self._client, self._bodies, self._pause_s = client, bodies, pause_s
        self._allowed, self._numbers = threading.Semaphore(0), count()
        self._over = threading.Event()

    def allow(self, more: int) -> None:
        """Let so many more jobs be posted."""
        for _ in range(more):
            self._allowed.release()

    @contextmanager
    def posting(self) -> Iterator[None]:
        """Post from several threads until the end of the block."""
        with ThreadPoolExecutor(_POSTERS) as pool:
            posters = [pool.submit(self._post_all) for _ in range(_POSTERS)]
            try:
                yield
            finally:
                self._over.set()
                self.allow(_POSTERS)
        for poster in posters:
            poster.result()

    def _post_all(self) -> None:
        while self._allowed.acquire() and not self._over.is_set():
            number = next(self._numbers)
            while not self._over.is_set() and not self._post(number):
                self._over.wait(_RETRY_S)
            self._over.wait(self._pause_s)

    def _post(self, number: int) -> bool:
        started = time.monotonic()
        try:
            headers = {"Idempotency-Key": f"submission {number}"}
            answer = self._client.send("POST", "/v1/voiceprint", json=self._bodies(number), headers=headers)
        except requests.RequestException as error:
            self.answers.append((type(error).__name__, time.monotonic() - started))
            return False
        self.answers.append((str(answer.status_code), time.monotonic() - started))
        if answer.status_code == 200:
            self.accepted[number] = answer.json()["jobId"]
        return answer.status_code == 200


class Progress:
    """How many of the accepted jobs have ended, as far as the service can say."""

    def __init__(self, client: Client, submissions: Submissions) -> None:
        self._client, self._submissions = client, submissions
        self.done, self.idle = 0, False

    def look(self) -> None:
        """Ask again; while the service is away the last answer stands."""
        accepted = len(self._submissions.accepted)
        with suppress(requests.RequestException):
            body = self._client.send("GET", "/readyz").json()
            if body["status"] == "ok":
                unfinished = body["jobsWaiting"] + body["jobsRunning"]
                self.done, self.idle = max(self.done, accepted - unfinished), unfinished == 0


class Storm:
    """Harms the service at even distances of its progress, and lets jobs in as it goes."""

    def __init__(self, plan: Plan, fleet: Fleet, submissions: Submissions, progress: Progress) -> None:
        self._plan, self._fleet, self._submissions, self._progress = plan, fleet, submissions, progress
        self._harms, self._last = plan.harms(), time.monotonic()
        self._allowed = 0
        self._let_in()

    def rage(self) -> None:
        """Return when all harm is done and no job is left, or when the time is over."""
        ends_at = time.monotonic() + self._plan.limit_s
        while time.monotonic() < ends_at and not self._over():
            self._fleet.tick()
            self._progress.look()
            if self._harms and self._due() and self._fleet.harm(self._harms[0]):
                self._last = time.monotonic()
                say(f"{self._progress.done:5} jobs done; harm: {self._harms.pop(0)}")
                self._let_in()
            time.sleep(_TICK_S)

    def _done_harms(self) -> int:
        return self._plan.kills - len(self._harms)

    def _due(self) -> bool:
        threshold = (self._done_harms() + 0.5) * self._plan.jobs / max(1, self._plan.kills)
        return self._progress.done >= threshold or time.monotonic() - self._last > _STALLED_S

    def _let_in(self) -> None:
        """Keep jobs for two more harms under way; all of them when there is no harm to come."""
        most = self._plan.jobs
        if self._harms:
            most = min(most, (self._done_harms() + 2) * most // self._plan.kills)
        self._submissions.allow(most - self._allowed)
        self._allowed = most

    def _over(self) -> bool:
        everything = len(self._submissions.accepted) == self._plan.jobs
        return not self._harms and everything and self._fleet.whole and self._progress.idle


def say(text: str) -> None:
    """Tell whoever watches."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


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
            found += [Recovery(job_id, h, two - h.at) for h in harms if h.kind != "courier" and one <= h.at <= two][:1]
    for harm in harms:
        again = ledger.first_claim_after(harm.at) if harm.kind == "redis" else None
        found += [Recovery(again.job_id, harm, again.at - harm.at)] if again else []
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


def job_figures(plan: Plan, submissions: Submissions, ledger: Ledger, seen: Counter[str]) -> dict[str, Any]:
    """Count jobs, by what clients see and by Redis's books."""
    ends = {job_id: ledger.ends(job_id) for job_id in ledger.jobs}
    wanted = "succeeded" if plan.real else "not_audio"
    return {
        "jobs": plan.jobs,
        "accepted": len(submissions.accepted),
        "created": len(ledger.jobs),
        "terminal": sum(seen.values()) - seen["unfinished"],
        "lost": sum(not ends.get(job_id) for job_id in submissions.accepted.values()),
        "finished_twice": sum(len(end) > 1 for end in ends.values()),
        "given_up": seen["worker_lost"],
        "otherwise": {what: n for what, n in seen.items() if what not in (wanted, "worker_lost")},
        "worked_on_again": sum(len(ledger.claims(job_id)) - 1 for job_id in ledger.jobs if ledger.claims(job_id)),
    }


def ends_seen(client: Client, job_ids: list[str]) -> Counter[str]:
    """Ask for every job and count how they ended, by status or code."""
    jobs = [client.job(job_id) for job_id in job_ids]
    return Counter(
        "unfinished" if job["status"] in ("created", "running") else job["output"].get("code", job["status"])
        for job in jobs
    )


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
        "webhook_ids_per_job": figures["webhook_ids_per_job"] == 1,
        "bodies_per_job": figures["bodies_per_job"] == 1,
        "numbers_used_twice": figures["numbers_used_twice"] == 0,
        "delivered": figures["delivered"] == accepted,
        "repeats": figures["repeats"] <= SENDERS * figures["kills"].get("courier", 0),
        "answers": figures["answers"].keys() <= {"200", "503"},
        "recovery_p95_s": figures["recovery_p95_s"] <= RECOVERY_P95_S,
    }
    return [name for name, met in targets.items() if not met]


def serve_work(plan: Plan, host: AudioHost) -> list[str]:
    """Return the addresses of the work that jobs do."""
    if plan.real:
        return [host.serve(name, (DATA / name).read_bytes()) for name in CLIPS]
    host.serve("letter.txt", b"Dear sir or madam,\n" * 100)
    return [host.url("slow/letter.txt")]


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Carry the plan out on a service of its own in `folder`; returns the figures."""
    mailbox, started = Mailbox(), time.monotonic()
    with ExitStack() as stack:
        hooks = [stack.enter_context(receiver(mailbox)) for _ in range(_RECEIVERS)]
        work = serve_work(plan, stack.enter_context(audio_host()))
        service = stack.enter_context(Stack(plan.settings(folder)))
        keep(service.settings.redis_url)
        client = Client(service.url, service.first_key() or "")
        submissions = Submissions(client, lambda n: {"url": work[n % len(work)], "webhook": hooks[n % len(hooks)]})
        fleet = Fleet(service, plan)
        with submissions.posting():
            Storm(plan, fleet, submissions, Progress(client, submissions)).rage()
        say("waiting for webhooks")
        await_webhooks(mailbox, len(submissions.accepted))
        say("looking at every job")
        seen = ends_seen(client, list(submissions.accepted.values()))
        say("stopping")
    ledger = Ledger.read(folder / "redis")
    return {
        "seed": plan.seed,
        "lease_s": plan.lease_s,
        **job_figures(plan, submissions, ledger, seen),
        **webhook_figures(mailbox),
        **post_figures(submissions),
        "kills": dict(Counter(harm.kind for harm in fleet.harms)),
        **recovery_figures(recoveries(ledger, fleet.harms)),
        "duration_s": round(time.monotonic() - started, 1),
    }


def await_webhooks(mailbox: Mailbox, most: int, within_s: float = 120.0) -> None:
    """Return when so many jobs' webhooks were delivered, or when the time is over."""
    ends_at = time.monotonic() + within_s
    while len(mailbox.delivered()) < most and time.monotonic() < ends_at:
        time.sleep(_TICK_S)


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
