"""Process whose threads count without a pause while it forks: `python -m tests.support.forking CHILDREN`.

Each child counts too, and half of them are killed after it. The last line names the sum of all that was counted, and
what a scrape finds.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry import exporter, metrics
from tests.support.client import eventually
from tests.support.scrapes import free_ports, scrape

_THREADS = 4
_EACH = 10


def _count(number: int) -> None:
    """Count with new labels too, since those are made under other locks."""
    metrics.count(metrics.DATABASE_ERRORS, error=f"Error{number % 7}")
    metrics.observe(metrics.STEP_SECONDS, 0.1, kind="voiceprint", step=f"step{number % 7}")


def _fork(is_killed: bool) -> None:
    child = os.fork()
    if not child:
        # A lock that stayed closed would be waited for without end.
        signal.alarm(20)
        for number in range(_EACH):
            _count(number)
        os.kill(os.getpid(), signal.SIGKILL) if is_killed else os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) is is_killed and os.WTERMSIG(status) in (0, signal.SIGKILL), status
    exporter.mark_dead(child)


def _found(bind: str, name: str) -> float:
    families = text_string_to_metric_families(scrape(bind, "api"))
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def main(children: int) -> None:
    """Count and fork."""
    bind = free_ports()
    exporter.serve(bind, "api")
    over = threading.Event()
    counted = [0] * _THREADS

    def go_on(which: int) -> None:
        while not over.is_set():
            _count(counted[which])
            counted[which] += 1

    def scrape_on() -> None:
        while not over.is_set():
            with suppress(OSError):
                scrape(bind, "api")

    threads = [threading.Thread(target=go_on, args=(which,)) for which in range(_THREADS)]
    threads += [threading.Thread(target=scrape_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(children):
        _fork(is_killed=bool(number % 2))
    over.set()
    for thread in threads:
        thread.join()
    eventually(lambda: _found(bind, "timbre_database_errors_total"))
    done = sum(counted) + children * _EACH
    print(done, *(_found(bind, f"timbre_{name}") for name in ("database_errors_total", "step_seconds_count")))
    print(*sorted(path.name for path in Path(metrics.FOLDER).iterdir()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
