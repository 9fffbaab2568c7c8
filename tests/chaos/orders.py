"""Jobs that clients post: three of unequal load, eight whose receivers hang, long jobs among short ones.

Some enrol and verify people, always by real recordings.
"""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import soundfile

from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_migrated
from shared.local.stack import Stack
from tests.chaos.submissions import Order
from tests.support.client import Client
from tests.support.servers import AudioHost
from tests.support.sounds import DATA

CLIPS = ("1688-142285-0005.flac", "2609-156975-0000.flac", "3080-5032-0003.flac")
#: A real long recording is one of tests/data, so many times.
_REAL_LONG = ("conversation.flac", 5)
HANGING = 8
#: Of a hundred jobs, those below the first number are the greedy client's, those below the second the usual one's.
_GREEDY, _USUAL = 90, 98
#: Of so many jobs, these are long: at once more than all workers have processes, and of two clients.
_CYCLE = 200
_LONG = range(84, 96)
#: And of these the receivers hang: at once more than two couriers can wait for, five of each of eight clients.
_HANGS = range(20, 60)
#: These add a recording to one of a few people, and these verify a person who was enrolled before the storm.
_ENROLS = range(180, 192)
_VERIFIES = range(192, 200)
_PEOPLE = 6
#: Recordings of one person, the first of which enrols it, and one of another person.
VOICE, VOICE_TOO, STRANGER = "1688-142285-0005.flac", "1688-142285-0008.flac", "2609-156975-0000.flac"
_KNOWN = "known"


@dataclass(frozen=True)
class Work:
    """Addresses of the recordings, or of what takes their place."""

    short: list[str]
    long: str
    #: Recordings of people by name.
    voices: dict[str, str]

    @classmethod
    def serve(cls, host: AudioHost, *, real: bool) -> "Work":
        """Have `host` serve the work; without `real`, a job only downloads for a while, for 3 s where it is long."""
        voices = {name: host.serve(name, (DATA / name).read_bytes()) for name in (VOICE, VOICE_TOO, STRANGER)}
        if real:
            clips = [host.serve(name, (DATA / name).read_bytes()) for name in CLIPS]
            return cls(clips, host.serve("long.flac", _repeated(*_REAL_LONG)), voices)
        host.serve("letter.txt", b"Dear sir or madam,\n" * 100)
        return cls([host.url("slow/letter.txt")], host.url("late/letter.txt"), voices)


class Orders:
    """The job of each number."""

    def __init__(self, stack: Stack, work: Work, hooks: list[str], silent: list[str]) -> None:
        engine = open_migrated(stack.settings.sql_url())
        clients = SqlClients(engine, stack.settings.secret_bytes())
        names = ["greedy", "usual", "modest", *(f"hanging {number}" for number in range(HANGING))]
        made = [Client(stack.url, clients.create_key(name)) for name in names]
        engine.dispose()
        self._greedy, self._usual, self._modest, *self._hanging = made
        self._work, self._hooks, self._silent = work, hooks, silent

    def enrol_known(self) -> list[str]:
        """Enrol a person for each client, before the storm; returns the jobs' ids."""
        found = []
        for client in (self._greedy, self._usual, self._modest):
            answer = client.post("/v1/enrol", identity=_KNOWN, url=self._work.voices[VOICE])
            assert answer.status_code == 200, answer.text
            job = client.wait(answer.json()["jobId"], 120.0)
            assert job["status"] == "succeeded", job
            found.append(job["jobId"])
        return found

    def __call__(self, number: int) -> Order:
        """Return the job of a number, the same each time."""
        if is_about_a_person(number):
            return self._about_a_person(number)
        long = is_long(number)
        url = self._work.long if long else self._work.short[number % len(self._work.short)]
        path = "/v1/diarize" if long else "/v1/voiceprint"
        if hangs(number):
            which = number % HANGING
            return Order(self._hanging[which], path, {"url": url, "webhook": self._silent[which]})
        return Order(self._client(number % 100), path, {"url": url, "webhook": self._hooks[number % len(self._hooks)]})

    def _about_a_person(self, number: int) -> Order:
        body = {"identity": _KNOWN, "webhook": self._hooks[number % len(self._hooks)]}
        client = self._client(number % 100)
        if enrols(number):
            body["identity"] = f"person-{number % _PEOPLE}"
            body["url"] = self._work.voices[VOICE if number % 2 else VOICE_TOO]
            return Order(client, "/v1/enrol", body)
        body["url"] = self._work.voices[VOICE_TOO if number % 2 else STRANGER]
        return Order(client, "/v1/verify", body)

    def _client(self, share: int) -> Client:
        return self._greedy if share < _GREEDY else self._usual if share < _USUAL else self._modest


def enrols(number: int) -> bool:
    """Tell whether a job adds a recording to a person."""
    return number % _CYCLE in _ENROLS


def is_about_a_person(number: int) -> bool:
    """Tell whether a job enrols or verifies a person; it works on a real recording."""
    return enrols(number) or number % _CYCLE in _VERIFIES


def is_long(number: int) -> bool:
    """Tell whether a job is long."""
    return number % _CYCLE in _LONG


def hangs(number: int) -> bool:
    """Tell whether nobody answers the webhook of a job."""
    return number % _CYCLE in _HANGS


def _repeated(name: str, times: int) -> bytes:
    samples, rate_hz = soundfile.read(DATA / name, dtype="int16")
    made = BytesIO()
    soundfile.write(made, np.tile(samples, times), rate_hz, format="FLAC")
    return made.getvalue()
