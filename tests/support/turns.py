"""Turns of the workers of one pytest-xdist run: tests run side by side, but for those that need the machine alone."""

import fcntl
from pathlib import Path


class Turns:
    """Read-write lock over the workers: a test shares it, or has it alone.

    Parameters
    ----------
    folder : is the same for all workers of a run and for no other run.
    """

    def __init__(self, folder: Path) -> None:
        self._queue = (folder / "queue").open("wb")
        self._machine = (folder / "machine").open("wb")
        self._alone = False

    def close(self) -> None:
        """Leave the run."""
        self._queue.close()
        self._machine.close()

    def take(self, alone: bool) -> None:
        """Wait until a test may run."""
        if self._alone and alone:
            return  # still held, see `give_back`
        # Whoever waits to be alone holds up the queue; without it, the others would never all be between two tests.
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        fcntl.flock(self._machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(self._queue, fcntl.LOCK_UN)
        self._alone = alone

    def give_back(self, next_alone: bool) -> None:
        """Let others run, unless the next test of this worker needs the machine alone as this one did."""
        if not (self._alone and next_alone):
            fcntl.flock(self._machine, fcntl.LOCK_UN)
            self._alone = False
