"""Time as a test wants it, for records whose leases and schedules would take too long or run out by accident."""

from dataclasses import dataclass


@dataclass
class Clock:
    """The time in ms, which stands still until it is told to pass."""

    now: int = 1_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += round(seconds * 1000)
