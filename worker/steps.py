"""The steps of a job: each is timed, and announced as it begins."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Steps:
    """Runs named steps; `announce` is called with a step's name before it begins, and may raise to stop the job."""

    def __init__(self, announce: Callable[[str], None] = lambda step: None) -> None:
        self._announce = announce
        #: Wall seconds of the steps done so far, in order.
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Run the body as `step`."""
        self._announce(step)
        started = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - started
