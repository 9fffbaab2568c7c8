"""Outcomes of tries, held until Redis has noted them: what was sent while Redis is away is not sent again."""

from collections import deque
from collections.abc import Callable
from functools import partial

import structlog
from redis.exceptions import ResponseError

from shared.domain.delivery import Delivery, LogEntry, Next
from shared.ports import DeliveryStore

log = structlog.get_logger()


class Outcomes:
    """Outcomes that senders leave, in any thread, for the courier's loop to note."""

    def __init__(self, deliveries: DeliveryStore) -> None:
        self._deliveries = deliveries
        self._held: deque[Callable[[], None]] = deque()

    def settle(self, delivery: Delivery, entry: LogEntry, then: Next) -> None:
        """Hold how a try went, and what follows."""
        self._held.append(partial(self._deliveries.settle, delivery, entry, then))

    def put_off(self, delivery: Delivery, delay_s: float) -> None:
        """Hold that a try was not made, and when the webhook is due again."""
        self._held.append(partial(self._deliveries.put_off, delivery, delay_s))

    @property
    def waiting(self) -> bool:
        """True while something is held."""
        return bool(self._held)

    def note(self) -> None:
        """Have all that is held noted; raises what Redis raises while it is away, and holds the rest."""
        for _ in range(len(self._held)):
            outcome = self._held.popleft()
            try:
                outcome()
            except ResponseError:
                # Redis is full or takes no writes. It then gives no webhooks either, so this may wait behind others.
                self._held.append(outcome)
            except Exception:
                self._held.appendleft(outcome)
                raise
