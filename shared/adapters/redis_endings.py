"""Ends of jobs, announced over Redis's publish and subscribe: one subscription per process, whoever waits."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from redis import Redis

#: Channel on which the script that ends a job publishes its id.
CHANNEL = "timbre:ended"
#: Longest wait for the subscription to stand, and pause after a Redis that does not answer.
_SUBSCRIBE_S = 1.0
_AWAY_S = 0.5
#: Longest wait for a message, after which the listener looks whether it must stop.
_MESSAGE_S = 0.5

log = structlog.get_logger()


class RedisEndings:
    """Wakes those who wait for jobs.

    A wake-up says only that it is time to look: all are woken when the subscription begins or breaks off, since an
    announcement may have been missed.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = defaultdict(set)
        self._subscribed = threading.Event()
        self._listener: threading.Thread | None = None
        self._broken = False
        #: True once `stop` was called.
        self.stopped = False

    @contextmanager
    def expected(self, job_id: str) -> Iterator[threading.Event]:
        """Yield an event that is set whenever it is time to look at the job; listening begins before the block."""
        event = threading.Event()
        with self._lock:
            self._waiting[job_id].add(event)
            if self._listener is None:
                self._listener = threading.Thread(target=self._listen, name="endings", daemon=True)
                self._listener.start()
        self._subscribed.wait(_SUBSCRIBE_S)
        try:
            yield event
        finally:
            with self._lock:
                self._waiting[job_id].discard(event)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    def stop(self) -> None:
        """Wake everybody for good, within half a second; safe in a signal handler."""
        self.stopped = True

    def _listen(self) -> None:
        while not self.stopped:
            try:
                self._follow_channel()
            except Exception as error:
                # Once, for a Redis that forbids the channel says so at every try.
                if not self._broken:
                    log.warning("ends of jobs are not announced; waits look themselves", error=type(error).__name__)
                self._broken = True
                self._subscribed.clear()
                self._wake_all()
                time.sleep(_AWAY_S)
        self._wake_all()

    def _follow_channel(self) -> None:
        with self._redis.pubsub() as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(CHANNEL)
            while not self.stopped:
                message = channel.get_message(timeout=_MESSAGE_S)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._subscribed.set()
                    self._broken = False
                    self._wake_all()
                elif message["type"] == "message":
                    self._wake(message["data"])

    def _wake(self, job_id: str) -> None:
        with self._lock:
            events = list(self._waiting.get(job_id, ()))
        for event in events:
            event.set()

    def _wake_all(self) -> None:
        with self._lock:
            events = [event for waiting in self._waiting.values() for event in waiting]
        for event in events:
            event.set()
