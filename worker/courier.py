"""Courier: the process that sends webhooks, so that slow receivers keep no job waiting.

`python -m worker.courier`. Any number may run. Like every worker it also takes back the jobs of dead ones.
"""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import structlog

from shared import logs
from shared.adapters.redis_depths import open_depths
from shared.domain.delivery import SENDERS, Delivery, Senders
from shared.domain.errors import DatabaseRevisionWrong, SealBroken, SettingsError
from shared.ports import DeliveryStore
from shared.settings import Settings
from shared.telemetry import exporter, metrics, tracing
from worker.bootstrap import (
    await_migrations,
    join,
    make_deliverer,
    make_forgetting,
    make_presence,
    make_retention,
    make_service,
)
from worker.jobs import alive
from worker.jobs.housekeeping import Housekeeping
from worker.webhooks import traces
from worker.webhooks.outcomes import Outcomes
from worker.webhooks.sender import PUT_OFF_S, TIMEOUT_S, Deliverer

log = structlog.get_logger()

#: Webhooks that one look takes from each lane.
_MOST = 50
_NONE = Senders(quick=0, slow=0)
#: Repeats of a command to Redis. The loop goes on trying by itself, and holds what it could not note.
_RETRIES = 1
#: Pause when nothing is due, and when Redis is away.
_IDLE_S = 0.1
_AWAY_S = 1.0
#: A courier that is told to stop waits so long for its tries, and for Redis to note their outcomes.
LAST_S = TIMEOUT_S + 10.0


class Courier:
    """Courier loop: takes due webhooks and sends them until told to stop; tries on their way are finished.

    Each try has a thread of its own: one that waits for a receiver costs 0.1 MB and no processor. The loop alone speaks
    to Redis. It notes the outcomes of tries before it takes more, so that nothing it has sent is taken once more.
    """

    def __init__(self, deliveries: DeliveryStore, deliverer: Deliverer) -> None:
        self._deliveries = deliveries
        self._outcomes = Outcomes(deliveries)
        self._deliverer = replace(deliverer, deliveries=self._outcomes)
        self._lock = threading.Lock()
        #: Tries on their way, by lane.
        self._under_way = Counter[bool]()
        self._landed = threading.Event()
        self._reachable = False
        self._stopped = False

    def stop(self) -> None:
        """Take no more; safe in a signal handler, where a lock that its thread holds would never open."""
        self._stopped = True

    def run(self) -> None:
        """Send webhooks until `stop`."""
        while not self._stopped:
            self._reached(self._look)
        ends_at = time.monotonic() + LAST_S
        while self._is_busy() and time.monotonic() < ends_at:
            self._reached(self._note)

    def _reached(self, step: Callable[[], None]) -> None:
        """Take a step that needs Redis; pause when that is away."""
        try:
            step()
        except Exception as error:
            log.warning("cannot look for webhooks", error=_named(error))
            self._reachable = False
            time.sleep(_AWAY_S)
        else:
            self._reachable = True

    def _look(self) -> None:
        """Take webhooks and begin to send them; pause when none is due."""
        self._outcomes.note()
        # What a Redis that is away was asked for may be done when it is back, with nobody to send: ask it for nothing.
        taken = self._deliveries.take(_MOST, self._free() if self._reachable else _NONE)
        for delivery in taken:
            self._start(delivery)
        if not taken and self._reachable:
            self._pause()

    def _note(self) -> None:
        self._outcomes.note()
        self._pause()

    def _pause(self) -> None:
        """Wait for a try to land, but not for long."""
        self._landed.wait(_IDLE_S)
        self._landed.clear()

    def _free(self) -> Senders:
        with self._lock:
            return Senders(
                quick=SENDERS.quick - self._under_way[False],
                slow=SENDERS.slow - self._under_way[True],
            )

    def _is_busy(self) -> bool:
        return self._free() != SENDERS or self._outcomes.waiting

    def _start(self, delivery: Delivery) -> None:
        self._note_under_way(delivery, 1)
        try:
            threading.Thread(target=self._send, args=(delivery,), name="sender", daemon=True).start()
        except RuntimeError:
            # The system has no more threads for us.
            log.warning("no thread to send a webhook", job_id=delivery.job_id)
            self._outcomes.put_off(delivery, PUT_OFF_S)
            self._land(delivery)

    def _send(self, delivery: Delivery) -> None:
        try:
            with traces.delivery(delivery):
                self._deliverer.deliver(delivery)
        except Exception as error:
            # It could not be: the secrets that sign it are in our database.
            log.warning("a webhook was not sent", job_id=delivery.job_id, error=_named(error))
        finally:
            self._land(delivery)

    def _land(self, delivery: Delivery) -> None:
        self._note_under_way(delivery, -1)
        self._landed.set()

    def _note_under_way(self, delivery: Delivery, more: int) -> None:
        with self._lock:
            self._under_way[delivery.slow] += more
            metrics.put(metrics.DELIVERIES_UNDER_WAY, self._under_way.total())


def _named(error: Exception) -> str:
    """Return what a log may say of an error: its text only where we wrote it ourselves."""
    return str(error) if isinstance(error, SealBroken) else type(error).__name__


def main() -> None:
    """Run a courier until SIGTERM or Ctrl-C."""
    settings = Settings.from_env()
    logs.configure(settings.log_level)
    tracing.start("timbre-courier")
    presence = make_presence(settings, "courier")
    join(presence)
    try:
        await_migrations(settings)
    except DatabaseRevisionWrong:
        presence.leave()
        raise
    service = make_service(settings, retries=_RETRIES)
    courier = Courier(service.deliveries, make_deliverer(settings, service))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: courier.stop())
    sign = alive.Sign(settings.data_dir, "courier")
    housekeeping = Housekeeping(
        service,
        forget=make_forgetting(settings),
        mark_alive=sign.mark,
        lease_s=settings.lease_s,
        # Not in the worker: it forks, and a lock that the database's driver holds in that moment would never open.
        retention=make_retention(settings, service),
        agree=presence.mark,
    )
    housekeeping.start()
    exporter.serve(settings.metrics_address(), "courier", [open_depths(settings.redis_url)])
    log.info("courier ready")
    courier.run()
    housekeeping.stop()
    tracing.stop()
    sign.remove()
    presence.leave()


if __name__ == "__main__":
    try:
        main()
    except (SettingsError, DatabaseRevisionWrong) as error:
        sys.exit(str(error))
