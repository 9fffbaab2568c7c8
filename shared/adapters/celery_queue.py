"""The doorbell: a Celery message that carries nothing; the job record decides which job is next."""

import threading
import time
from contextlib import suppress
from queue import Full, Queue
from typing import Any

import structlog
from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection
from redis import Redis

from shared.adapters.redis_client import broker_settings
from shared.names import QueueNames, TaskNames
from shared.telemetry import metrics

#: While so many messages wait, all processes work, and each goes on until no job waits: another would wake nobody.
MOST_MESSAGES = 64

#: Pause between two messages. The first process that wakes takes the next jobs too, so others may follow slowly.
_PAUSE_S = 0.005

log = structlog.get_logger()


class _SteadyConnection(Connection):
    """Connection that is retried every 2 s, where kombu waits longer each time, up to 30 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> "_SteadyConnection":
        super().ensure_connection(*args, **{"interval_step": 0} | kwargs)  # type: ignore[no-untyped-call]
        return self


class _Amqp(AMQP):
    Connection = _SteadyConnection


def celery_app(redis_url: str) -> Celery:
    """Return the Celery application, configured so that losing or repeating a message is harmless."""
    app = Celery("timbre", amqp=_Amqp, set_as_current=False)
    app.conf.update(
        **broker_settings(redis_url),
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
    """`Queue` on Celery, with a thread that sends: nobody waits for a broker that does not answer.

    What was not sent yet when the process ends is lost, as any message may be.

    Parameters
    ----------
    redis : client of the broker.
    """

    def __init__(self, app: Celery, redis: Redis) -> None:
        self._app = app
        self._redis = redis
        self._wanted = Queue[None](MOST_MESSAGES)
        self._lock = threading.Lock()
        self._sender: threading.Thread | None = None

    def ring(self) -> None:
        """Ring for a worker, whose process then works until no job waits."""
        with suppress(Full):
            self._wanted.put_nowait(None)
        with self._lock:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_all, name="doorbell", daemon=True)
                self._sender.start()

    def _send_all(self) -> None:
        while True:
            self._wanted.get()
            try:
                self._send()
            except Exception as error:
                log.warning("doorbell failed", error=type(error).__name__)
            time.sleep(_PAUSE_S)

    def _send(self) -> None:
        if int(self._redis.llen(QueueNames.JOBS)) < MOST_MESSAGES:
            try:
                self._app.send_task(TaskNames.WORK, queue=QueueNames.JOBS, ignore_result=True)
            except Exception as error:
                metrics.count(metrics.REDIS_ERRORS, error=type(error).__name__)
                raise
