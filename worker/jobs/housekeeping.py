"""Housekeeping: take back the jobs of dead workers, remove old uploads, results and records."""

import os
import signal
import threading
from collections.abc import Callable

import structlog

from shared.domain.errors import SettingsError, Unavailable
from shared.job_service import JobService
from shared.retention import Retention

log = structlog.get_logger()

#: A dead worker's job waits for its lease to end, and then no longer than this. One script a second costs nothing.
_ROUND_S = 1.0
#: Uploads are kept for hours, and looking for old ones reads a folder.
_SWEEP_S = 60.0


#: Records wait for a job that was canceled, or does not exist. People wait to be forgotten: their time is over.
_SETTLE_S = 5.0


class Housekeeping:
    """A thread of the worker's parent process. Any number may run at once: each round is idempotent."""

    def __init__(
        self,
        service: JobService,
        forget: Callable[[], None],
        mark_alive: Callable[[], None],
        lease_s: float,
        retention: Retention | None = None,
        agree: Callable[[], object] = lambda: None,
    ) -> None:
        self._service = service
        self._forget = forget
        self._mark_alive = mark_alive
        self._retention = retention
        self._agree = agree
        self._every_s = min(_ROUND_S, lease_s / 3)
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, in threads that end with the process."""
        self._repeat("housekeeping", self.round, self._every_s)
        # An object store that is away takes half a minute to say so.
        self._repeat("sweep of uploads", self._service.sweep_media, _SWEEP_S)
        if self._retention is not None:
            # A database that is away must not keep the jobs of dead workers waiting.
            self._repeat("settling", self._retention.settle, _SETTLE_S)
            self._repeat("expiry", self._retention.identities.expire, _SETTLE_S)
            self._repeat("retention", self._retention.sweep, _SWEEP_S)

    def stop(self) -> None:
        """End after the rounds in hand."""
        self._stopped.set()

    def _repeat(self, name: str, do: Callable[[], object], every_s: float) -> None:
        threading.Thread(target=self._loop, args=[name, do, every_s], name=name, daemon=True).start()

    def _loop(self, name: str, do: Callable[[], object], every_s: float) -> None:
        while True:
            try:
                do()
            except SettingsError as error:
                log.critical("this process ends: it disagrees with others", reason=str(error))
                self.stop()
                os.kill(os.getpid(), signal.SIGTERM)
            except Unavailable as error:
                log.error(f"{name} failed", reason=str(error))
            except Exception as error:
                log.warning(f"{name} failed", error=type(error).__name__)
            if self._stopped.wait(every_s):
                return

    def round(self) -> None:
        """Do everything that is due once; a process that disagrees with the others does nothing (SettingsError)."""
        self._agree()
        self._service.reap()
        self._mark_alive()
        self._forget()
