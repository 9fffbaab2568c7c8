"""Liveness of this machine's workers or couriers, for health checks: `python -m worker.jobs.alive worker`.

A worker that lost its broker still has a process, so the process proves nothing: what counts is that its housekeeping
got through to Redis a moment ago. Each process has a file of its own, which it touches and holds locked until its end.
A file without a lock is that of a process that was killed.
"""

import fcntl
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from shared.names import alive_file
from shared.settings import Settings

SILENT_S = 60.0
#: Signs of machines and containers that are no more are kept this long.
_KEPT_S = 24 * 3600


class Sign:
    """Sign of life of this process, a worker or a courier by its `role`."""

    def __init__(self, data_dir: Path, role: str) -> None:
        self._path = alive_file(data_dir, role, os.getpid())
        #: Descriptor of the file; the lock would end with it.
        self._held: int | None = None

    def mark(self) -> None:
        """Note that this process is alive now."""
        if self._held is None or not self._path.exists():
            self._let_go()
            self._begin()
        os.utime(self._path)

    def remove(self) -> None:
        """Note that this process ends as it should."""
        self._path.unlink(missing_ok=True)
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _begin(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for other in self._path.parent.parent.glob("*/*"):
            ours = other.parent == self._path.parent
            if (ours or _silent_s(other) > _KEPT_S) and not _is_held(other):
                other.unlink(missing_ok=True)
        self._held = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        # Some file systems know no locks; silence alone tells there. A child that outlives this process holds none.
        with suppress(OSError):
            fcntl.lockf(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)


def are_alive(data_dir: Path, role: str) -> bool:
    """Say whether this machine has workers, or couriers, and each of them was alive within the last minute."""
    folder = alive_file(data_dir, role, os.getpid()).parent
    signs = list(folder.iterdir()) if folder.exists() else []
    return bool(signs) and all(_is_held(sign) and _silent_s(sign) < SILENT_S for sign in signs)


def _is_held(sign: Path) -> bool:
    with suppress(FileNotFoundError), sign.open("ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _silent_s(sign: Path) -> float:
    with suppress(FileNotFoundError):
        return time.time() - sign.stat().st_mtime
    return float("inf")


if __name__ == "__main__":
    role = sys.argv[1]
    told = f"A {role} of this machine was killed, or was not alive within the last minute."
    sys.exit(0 if are_alive(Settings.from_env().data_dir, role) else told)
