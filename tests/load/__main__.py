"""`make load`: measure the service against what it could be, and fail where it misses its targets.

Both sides of a ratio are measured in one run, in turns, and the medians are compared.
`--short` only shows that it runs.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.load.measures import SHORT, Size, draining, polling, posting, queueing, scaling

#: Figures that are wanted.
POST_RATIO = 0.5
DRAIN_RATIO = 0.8
POLL_P99_MS = 50.0
#: Jobs posted for each that could be done, at least: threefold is tried.
OVERLOAD = 2.5
SCALE_RATIO = 1.9
#: A job in the longest queue may cost so many times what it costs in the shortest.
FLAT = 1.5


def measure(size: Size, folder: Path) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the name of each measure, its figures, and whether they are as wanted."""
    for processes in (1, 2):
        for ringing in (False, True):
            found = posting(size, processes, ringing=ringing)
            yield f"posting, API processes {processes}, ringing {ringing}", found, found["ratio"] >= POST_RATIO
    found = draining(size)
    yield "draining", found, found["ratio"] >= DRAIN_RATIO
    costs = queueing(size)
    for cost in costs:
        first = next(one for one in costs if one["clients"] == cost["clients"])
        flat = all(cost[name] <= FLAT * first[name] for name in ("script_us_a_job", "bytes_a_job"))
        yield "queueing", cost, flat
    found = scaling(size)
    yield "scaling", found, found["ratio"] >= SCALE_RATIO
    found = polling(size, folder)
    yield "polling", found, found["p99_ms"] <= POLL_P99_MS and found["overload"] >= OVERLOAD


def main() -> None:
    """Measure everything, a line of JSON each."""
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure too little to say anything")
    short = parser.parse_args().short
    missed = []
    with tempfile.TemporaryDirectory(prefix="timbre-load-") as folder:
        for name, figures, met in measure(SHORT if short else Size(), Path(folder)):
            print(json.dumps({"measure": name, **figures, "met": met}), flush=True)
            if not met:
                missed.append(name)
    if missed and not short:
        sys.exit("Missed: " + ", ".join(missed))


if __name__ == "__main__":
    main()
