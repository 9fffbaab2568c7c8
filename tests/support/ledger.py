"""What became of each job, read from Redis's append-only file: every accepted change of state, in order.

The service cannot flatter these books: Redis itself writes them, with the commands that scripts caused, and a script
that refuses a stale worker causes none.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

_JOB = b"timbre:job:"
_ENDS = ("succeeded", "failed", "canceled")


@dataclass(frozen=True)
class Change:
    """A job's status was set."""

    job_id: str
    status: str
    #: Seconds since the epoch.
    at: float
    #: Of a new job.
    client: str = ""
    lane: str = ""


def keep(redis_url: str) -> None:
    """Have the file keep everything from now on: no worker may have it rewritten."""
    with Redis.from_url(redis_url) as redis:
        redis.set("timbre:forgetting", "never")


class Ledger:
    """The accepted changes of every job."""

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
        self._by_job: dict[str, list[Change]] = defaultdict(list)
        for change in changes:
            self._by_job[change.job_id].append(change)

    @classmethod
    def read(cls, folder: Path) -> "Ledger":
        """Read the append-only file of the Redis server whose data is in `folder`."""
        return cls([change for command in _commands(folder) if (change := _change(command))])

    @property
    def jobs(self) -> list[str]:
        """Every job that was ever created."""
        return list(self._by_job)

    def created(self, job_id: str) -> Change:
        """Return the creation of a job."""
        return self._by_job[job_id][0]

    def ended_at(self, job_id: str) -> float | None:
        """Return when a job ended; None where it did not."""
        return next((change.at for change in self._by_job[job_id] if change.status in _ENDS), None)

    def ends(self, job_id: str) -> list[str]:
        """Return the terminal statuses that a job was given, of which there should be one."""
        return [change.status for change in self._by_job[job_id] if change.status in _ENDS]

    def claims(self, job_id: str) -> list[float]:
        """Return when workers began a job."""
        return [change.at for change in self._by_job[job_id] if change.status == "running"]

    def first_claim_after(self, at: float) -> Change | None:
        """Return the next job that a worker began."""
        return next((change for change in self.changes if change.status == "running" and change.at > at), None)


def _commands(folder: Path) -> Iterator[list[bytes]]:
    for path in sorted(folder.glob("appendonlydir/*.incr.aof"), key=_number):
        with path.open("rb") as file:
            while line := file.readline():
                if line.startswith(b"*"):  # else an annotation
                    yield [file.read(int(file.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]


def _number(path: Path) -> int:
    return int(re.findall(r"\.(\d+)\.incr", path.name)[0])


def _change(command: list[bytes]) -> Change | None:
    if command[0].upper() != b"HSET" or not command[1].startswith(_JOB):
        return None
    fields = dict(zip(command[2::2], command[3::2], strict=True))
    if b"status" not in fields:
        return None
    return Change(
        job_id=command[1].removeprefix(_JOB).decode(),
        status=fields[b"status"].decode(),
        at=int(fields[b"updated"]) / 1000,
        client=fields.get(b"client", b"").decode(),
        lane=fields.get(b"lane", b"").decode(),
    )
