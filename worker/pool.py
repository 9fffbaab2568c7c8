"""Pool of a worker's child processes."""

from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

from shared.telemetry import exporter


class _Processes(AsynPool):
    """Child processes, of which what they counted stays."""

    def _process_cleanup_queues(self, proc: Any) -> None:
        exporter.mark_dead(proc.pid)
        super()._process_cleanup_queues(proc)


class SteadyPool(TaskPool):
    """Celery's pool, which also replaces a child that dies before its worker is ready; Celery ends the worker then."""

    Pool = _Processes

    def did_start_ok(self) -> bool:
        """Let the event loop begin, which finds the dead child."""
        return True
