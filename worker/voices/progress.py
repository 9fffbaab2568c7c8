"""The steps of a job: each is timed, and announced as it begins; long work says how far it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Steps:
    """Runs named steps.

    `announce` is called with a step's name before it begins, or with a progress in %; it may raise to stop the job.
    """

    def __init__(self, announce: Callable[[str | None, int | None], None] = lambda step, progress: None) -> None:
        self._announce = announce
        #: Wall seconds of the steps done so far, in the order they first ran; a step that runs again adds to its own.
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Run the body as `step`."""
        self._announce(step, None)
        started = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    def progress(self, fraction: float) -> None:
        """Say how much of the job is done, 0 to 1."""
        self._announce(None, round(100 * fraction))
