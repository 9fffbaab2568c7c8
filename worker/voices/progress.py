"""Steps of a job: each is timed and announced; long work reports its progress."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Steps:
    """Timer of named steps.

    `announce` is called with a step's name before it begins, or with the progress in %. It may raise to stop the job.
    `span` gives what a step of that name runs in.
    """

    def __init__(
        self,
        announce: Callable[[str | None, int | None], None] = lambda step, progress: None,
        span: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._announce = announce
        self._span = span
        #: Wall seconds of the steps so far, in order of their first run; a step that runs again adds to its own.
        self.seconds: dict[str, float] = {}
        #: Seconds of sound that were decoded.
        self.audio_s = 0.0

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Run the body as `step`."""
        self._announce(step, None)
        started = time.perf_counter()
        try:
            with self._span(step):
                yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    def progress(self, fraction: float) -> None:
        """Announce the share of the job that is done, 0 to 1."""
        self._announce(None, round(100 * fraction))
