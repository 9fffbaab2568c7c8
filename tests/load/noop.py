"""Celery application whose one task does nothing, on the broker and with the options of the worker."""

from shared.adapters.celery_queue import celery_app
from shared.settings import Settings

settings = Settings.from_env()
app = celery_app(settings.redis_url)
app.conf.update(
    worker_pool="prefork",
    worker_concurrency=settings.worker_processes,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)


@app.task(name="noop")
def noop(_job_id: str) -> None:
    """Do nothing."""
