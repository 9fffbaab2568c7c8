"""Requests that wait for a job's end, so many at a time, since each holds a thread."""

import threading

from shared.domain.jobs import Job
from shared.job_service import JobService


class Waits:
    """Waiting for jobs on a share of the API's threads.

    Parameters
    ----------
    threads : of the API process.
    share : of them that may wait, 0 to 1; at least one may wait, and one never does.
    """

    def __init__(self, service: JobService, threads: int, share: float) -> None:
        self._service = service
        most = min(max(1, int(threads * share)), threads - 1)
        self._free = threading.BoundedSemaphore(most) if most else None

    def job(self, client_id: str, job_id: str, seconds: float) -> Job:
        """Return a job once it has ended, or as it stands after the timeout; at once while too many wait.

        Raises
        ------
        NotFound
        """
        if seconds <= 0 or self._free is None or not self._free.acquire(blocking=False):
            return self._service.find(client_id, job_id)
        try:
            return self._service.wait(client_id, job_id, seconds)
        finally:
            self._free.release()
