"""Presence of the API's processes among those of the service, which must agree with one another."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from redis.exceptions import RedisError

from shared.adapters.redis_presence import RedisPresence, open_presence
from shared.domain.errors import SettingsError
from shared.settings import Settings

#: Seconds between two looks whether a note is due.
_LOOK_S = 1.0

log = structlog.get_logger()


def require_agreement(settings: Settings, role: str) -> None:
    """Raise SettingsError where the processes that live do not agree.

    A Redis that is away is asked later, and one that knows of no agreement too.
    """
    presence = open_presence(settings, role)
    with suppress(RedisError):
        presence.mark()
    presence.leave()


@contextmanager
def attending(settings: Settings, role: str, end: Callable[[], None]) -> Iterator[None]:
    """Note in a thread, until the end of the block, that this process lives.

    Parameters
    ----------
    end : ends the process when it learns that the others do not agree with it.
    """
    presence = open_presence(settings, role)
    over = threading.Event()
    threading.Thread(target=_attend, args=(presence, over, end), name="presence", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        presence.leave()


def _attend(presence: RedisPresence, over: threading.Event, end: Callable[[], None]) -> None:
    while True:
        try:
            presence.mark()
        except SettingsError as error:
            log.critical("this process ends: it disagrees with others", reason=str(error))
            end()
            return
        except RedisError as error:
            log.warning("presence was not noted", error=type(error).__name__)
        if over.wait(_LOOK_S):
            return
