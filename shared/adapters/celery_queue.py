"""The doorbell: a Celery message that carries nothing but a job's id."""

from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection

from shared.adapters.redis_client import BROKER_OPTIONS, broker_url
from shared.names import QueueNames, TaskNames


class _SteadyConnection(Connection):
    """Connection that is retried every 2 s, where kombu waits longer each time, up to 30 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> "_SteadyConnection":
        super().ensure_connection(*args, **{"interval_step": 0} | kwargs)  # type: ignore[no-untyped-call]
        return self


class _Amqp(AMQP):
    Connection = _SteadyConnection


def celery_app(redis_url: str) -> Celery:
    """Return the Celery application, configured so that losing or repeating a message is harmless."""
    app = Celery("timbre", broker=broker_url(redis_url), amqp=_Amqp, set_as_current=False)
    app.conf.update(
        broker_transport_options=BROKER_OPTIONS,
        broker_connection_retry_on_startup=True,
        # Without it a worker would end after 100 tries.
        broker_connection_max_retries=None,
        # Without it a worker would end when Redis refuses a command, its disk being full say.
        broker_channel_error_retry=True,
        # The job record alone holds state and result; Celery keeps none.
        task_ignore_result=True,
        task_acks_late=False,
        task_default_queue=QueueNames.JOBS,
        # One retry at once, since the connection may be an old one that is dead.
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
    )
    return app


class CeleryQueue:
    """`Queue` on Celery."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring(self, job_id: str) -> None:
        """Send the job's id to the workers, one of which receives it."""
        self._app.send_task(TaskNames.RUN_JOB, [job_id], queue=QueueNames.JOBS, ignore_result=True)
