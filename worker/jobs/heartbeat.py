"""Heartbeat of the claim that a process has in hand, and the interrupt of work whose claim is lost.

The interrupt is an exception that a signal handler raises, so it may break in anywhere, into the clean-up too. It is
raised only while the claim that was lost is the one in hand, and once: the outermost clean-up always comes to its end.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class LeaseLostError(BaseException):
    """The job was canceled, deleted or given to another worker; this one's work counts no more."""


@dataclass(eq=False)
class _Held:
    """Claim in hand."""

    #: A heartbeat found the claim lost.
    lost: bool = False
    #: The interrupt was raised.
    interrupted: bool = False
    done: threading.Event = field(default_factory=threading.Event)


class Hand:
    """Work on one claim at a time, with its heartbeat.

    Parameters
    ----------
    interrupt : has `break_off` called in the thread that works; the heartbeat calls it when the claim is lost.
    """

    def __init__(self, interrupt: Callable[[], None] = lambda: None) -> None:
        self._interrupt = interrupt
        self._held: _Held | None = None

    def work(self, do: Callable[[], T], keep: Callable[[], bool], every_s: float) -> T:
        """Return what `do` returns; meanwhile `keep` renews the claim from another thread, or finds it lost.

        The networks leave that thread room to run.

        Raises
        ------
        LeaseLostError
        """
        held = _Held()
        beating = threading.Thread(target=self._beat, args=[held, keep, every_s], name="heartbeat", daemon=True)
        try:
            try:
                self._held = held
                beating.start()
                return do()
            finally:
                self._let_go(held)
        finally:
            # An interrupt may have broken into the line above; there is no second one.
            self._let_go(held)

    def break_off(self) -> None:
        """Raise LeaseLostError in work whose claim is lost; for a handler of signals, in the thread that works."""
        held = self._held
        if held and held.lost and not held.interrupted:
            held.interrupted = True
            raise LeaseLostError

    def break_off_again(self) -> None:
        """Let the next heartbeat interrupt once more: a finalizer has swallowed the exception."""
        if self._held:
            self._held.interrupted = False

    def _let_go(self, held: _Held) -> None:
        self._held = None
        held.done.set()

    def _beat(self, held: _Held, keep: Callable[[], bool], every_s: float) -> None:
        # The claim may also be let go without a word, by whatever breaks in: it is not renewed then.
        while not held.done.wait(every_s) and self._held is held:
            if not keep():
                held.lost = True
                self._interrupt()
