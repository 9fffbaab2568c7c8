"""Tally of the bytes in a client's folder of uploads, and the lock under which that folder is changed.

The tally stands in a file beside the folder, so that an upload need not look at all others. A process that is killed
between a change of the folder and that of its tally leaves it wrong, until the next sweep counts anew.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shared.domain.errors import Unavailable

#: Extension of the names that clients gave, which count for nothing.
KEY = ".key"
#: Longest wait for others, in seconds: they take milliseconds, unless one of them is stopped in the middle.
_PATIENCE_S = 5.0
_TRY_EVERY_S = 0.001
_DIGITS = 20


@dataclass
class Tally:
    """Bytes that a folder holds, to be kept up to date while it is locked."""

    total: int


@contextmanager
def locked(folder: Path) -> Iterator[Tally]:
    """Lock a folder against all other changes until the end of the block.

    Raises
    ------
    Unavailable
        Others have kept it locked for seconds.
    """
    descriptor = os.open(folder.with_name(f"{folder.name}.bytes"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        _lock(descriptor)
        tally = _read(descriptor, folder)
        try:
            yield tally
        finally:
            os.pwrite(descriptor, f"{tally.total:0{_DIGITS}d}".encode(), 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    ends_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends_at:
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_TRY_EVERY_S)
    raise Unavailable("The folder of your uploads is in use right now; try again in a few seconds.")


def _read(descriptor: int, folder: Path) -> Tally:
    """Return the tally as it was left; a folder that an earlier release filled is counted."""
    text = os.pread(descriptor, _DIGITS, 0)
    if text.isdigit():
        return Tally(int(text))
    return Tally(sum(entry.stat().st_size for entry in os.scandir(folder) if not entry.name.endswith(KEY)))
