"""Liveness of this machine's worker or courier, for health checks: `python -m worker.jobs.alive worker`.

A worker that lost its broker still has a process, so the process proves nothing: what counts is that its housekeeping
got through to Redis a moment ago.
"""

import sys
import time
from pathlib import Path

from shared.names import alive_file
from shared.settings import Settings

SILENT_S = 60.0


def mark(data_dir: Path, role: str) -> None:
    """Note that this machine's worker, or courier, is alive now."""
    path = alive_file(data_dir, role)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def is_alive(data_dir: Path, role: str) -> bool:
    """Say whether this machine's worker, or courier, was alive within the last minute."""
    path = alive_file(data_dir, role)
    return path.exists() and time.time() - path.stat().st_mtime < SILENT_S


if __name__ == "__main__":
    role = sys.argv[1]
    sys.exit(0 if is_alive(Settings.from_env().data_dir, role) else f"The {role} was not alive within the last minute.")
