"""Courier: the process that sends webhooks, so that slow receivers keep no job waiting.

`python -m worker.courier`. Any number may run. Like every worker it also takes back the jobs of dead ones.
"""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from shared import logs
from shared.domain.delivery import Delivery
from shared.domain.errors import SealBroken
from shared.ports import DeliveryStore
from shared.settings import Settings
from worker.bootstrap import make_deliverer, make_forgetting, make_service
from worker.jobs import alive
from worker.jobs.housekeeping import Housekeeping
from worker.webhooks.sender import Deliverer

log = structlog.get_logger()

#: Webhooks on their way at the same time; no client has more than half of them, see `PER_CLIENT`.
SENDERS = 16
#: Pause when nothing is due, and when Redis is away.
_IDLE_S = 0.1
_AWAY_S = 1.0


class Courier:
    """Courier loop: takes due webhooks and sends them until told to stop; tries on their way are finished."""

    def __init__(self, deliveries: DeliveryStore, deliverer: Deliverer) -> None:
        self._deliveries = deliveries
        self._deliverer = deliverer
        self._free = threading.Semaphore(SENDERS)
        self._stopped = False

    def stop(self) -> None:
        """Take no more; safe in a signal handler, where a lock that its thread holds would never open."""
        self._stopped = True

    def run(self) -> None:
        """Send webhooks until `stop`."""
        with ThreadPoolExecutor(SENDERS, thread_name_prefix="sender") as pool:
            while not self._stopped:
                self._free.acquire()
                delivery = None if self._stopped else self._next()
                if delivery is None:
                    self._free.release()
                else:
                    pool.submit(self._send, delivery)

    def _next(self) -> Delivery | None:
        """Take one webhook; None, after a pause, when nothing is due or Redis is away."""
        try:
            taken = self._deliveries.take(1)
        except Exception as error:
            log.warning("cannot look for webhooks", error=_named(error))
            time.sleep(_AWAY_S)
            return None
        if not taken:
            time.sleep(_IDLE_S)
        return taken[0] if taken else None

    def _send(self, delivery: Delivery) -> None:
        try:
            self._deliverer.deliver(delivery)
        except Exception as error:
            # Either could not be: the secrets that sign it are in our database, its outcome goes to Redis.
            log.warning("a webhook was not sent, or not noted", job_id=delivery.job_id, error=_named(error))
        finally:
            self._free.release()


def _named(error: Exception) -> str:
    """Return what a log may say of an error: its text only where we wrote it ourselves."""
    return str(error) if isinstance(error, SealBroken) else type(error).__name__


def main() -> None:
    """Run a courier until SIGTERM or Ctrl-C."""
    settings = Settings.from_env()
    logs.configure(settings.log_level)
    service = make_service(settings)
    courier = Courier(service.deliveries, make_deliverer(settings, service))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: courier.stop())
    sign = alive.Sign(settings.data_dir, "courier")
    housekeeping = Housekeeping(
        service,
        forget=make_forgetting(settings),
        mark_alive=sign.mark,
        lease_s=settings.lease_s,
    )
    housekeeping.start()
    log.info("courier ready")
    courier.run()
    housekeeping.stop()
    sign.remove()


if __name__ == "__main__":
    main()
