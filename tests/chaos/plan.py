"""Plan of a run: how many jobs, what harm is done in between, and the settings of the service."""

import random
import sys
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from shared.local.stack import EMBEDDED, free_port
from shared.settings import Settings

#: What is done to the service, in these proportions; `Fleet` says what each is.
HARMS = (
    "worker", "courier", "api", "pause", "child", "decoder", "worker", "redis", "courier", "pause",
    "worker", "full", "child", "readonly", "courier", "noreplicas", "worker", "freeze", "decoder", "api",
)  # fmt: skip
#: Seconds for which Redis is away in a full run: it stands still for each of them, and is killed for each.
AWAY_S = (8.0, 18.0, 25.0)
#: A run of so many kills is a full one.
_FULL = 40


def say(text: str) -> None:
    """Tell whoever watches."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


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

    def away_s(self, short_s: float) -> tuple[float, ...]:
        """Return how long Redis is away, one time after the other; in a short run `short_s` each time."""
        return AWAY_S if self.kills >= _FULL else (short_s,)

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
            metrics_bind="off",
        )
