"""What every worker does beside its jobs: take back the jobs of dead workers, remove what is old."""

import threading
import time
from collections.abc import Callable

import structlog

from shared.ports import JobStore, MediaStore, Queue
from shared.usecases import reap

log = structlog.get_logger()


#: A dead worker's job waits for its lease to end, and then no longer than this. One script a second costs nothing.
_ROUND_S = 1.0
#: Uploads are kept for hours, and looking for old ones reads a folder.
_SWEEP_S = 60.0


class Housekeeping:
    """A thread of the worker's parent process. Any number may run at once: each round is idempotent."""

    def __init__(
        self,
        jobs: JobStore,
        queue: Queue,
        media: MediaStore,
        forget: Callable[[], None],
        mark_alive: Callable[[], None],
        lease_s: float,
    ) -> None:
        self._jobs, self._queue, self._media, self._forget = jobs, queue, media, forget
        self._mark_alive, self._every_s = mark_alive, min(_ROUND_S, lease_s / 3)
        self._swept_at = float("-inf")
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, in a thread that ends with the process."""
        threading.Thread(target=self._loop, name="housekeeping", daemon=True).start()

    def stop(self) -> None:
        """End after the round in hand."""
        self._stopped.set()

    def _loop(self) -> None:
        while True:
            try:
                self.round()
            except Exception as error:
                log.warning("housekeeping failed", error=type(error).__name__)
            if self._stopped.wait(self._every_s):
                return

    def round(self) -> None:
        """Do everything that is due once."""
        reap(self._jobs, self._queue)
        self._mark_alive()
        self._forget()
        if time.monotonic() - self._swept_at >= _SWEEP_S:
            self._media.sweep()
            self._swept_at = time.monotonic()
