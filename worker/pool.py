"""Pool of a worker's child processes."""

from celery.concurrency.prefork import TaskPool


class SteadyPool(TaskPool):
    """Celery's pool, which also replaces a child that dies before its worker is ready; Celery ends the worker then."""

    def did_start_ok(self) -> bool:
        """Let the event loop begin, which finds the dead child."""
        return True
