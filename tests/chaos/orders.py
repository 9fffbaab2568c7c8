"""Jobs that clients post: three of unequal load, eight whose receivers hang, long jobs among short ones."""

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


@dataclass(frozen=True)
class Work:
    """Addresses of the recordings, or of what takes their place."""

    short: list[str]
    long: str

    @classmethod
    def serve(cls, host: AudioHost, *, real: bool) -> "Work":
        """Have `host` serve the work; without `real`, a job only downloads for a while, for 3 s where it is long."""
        if real:
            clips = [host.serve(name, (DATA / name).read_bytes()) for name in CLIPS]
            return cls(clips, host.serve("long.flac", _repeated(*_REAL_LONG)))
        host.serve("letter.txt", b"Dear sir or madam,\n" * 100)
        return cls([host.url("slow/letter.txt")], host.url("late/letter.txt"))


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

    def __call__(self, number: int) -> Order:
        """Return the job of a number, the same each time."""
        long = is_long(number)
        url = self._work.long if long else self._work.short[number % len(self._work.short)]
        path = "/v1/diarize" if long else "/v1/voiceprint"
        if hangs(number):
            which = number % HANGING
            return Order(self._hanging[which], path, {"url": url, "webhook": self._silent[which]})
        return Order(self._client(number % 100), path, {"url": url, "webhook": self._hooks[number % len(self._hooks)]})

    def _client(self, share: int) -> Client:
        return self._greedy if share < _GREEDY else self._usual if share < _USUAL else self._modest


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
