"""Housekeeping: take back the jobs of dead workers, remove old uploads and results."""

import threading
import time
from collections.abc import Callable

import structlog

from shared.job_service import JobService

log = structlog.get_logger()

#: A dead worker's job waits for its lease to end, and then no longer than this. One script a second costs nothing.
_ROUND_S = 1.0
#: Uploads are kept for hours, and looking for old ones reads a folder.
_SWEEP_S = 60.0


class Housekeeping:
    """A thread of the worker's parent process. Any number may run at once: each round is idempotent."""

    def __init__(
        self,
        service: JobService,
        forget: Callable[[], None],
        mark_alive: Callable[[], None],
        lease_s: float,
    ) -> None:
        self._service = service
        self._forget = forget
        self._mark_alive = mark_alive
        self._every_s = min(_ROUND_S, lease_s / 3)
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
        self._service.reap()
        self._mark_alive()
        self._forget()
        if time.monotonic() - self._swept_at >= _SWEEP_S:
            self._service.sweep_media()
            self._swept_at = time.monotonic()
