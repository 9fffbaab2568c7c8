"""Disks of their own, nearly full: file systems in memory, which only root can mount."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.adapters.dir_media import RESERVE_BYTES

#: Room of a small disk beyond what must stay free.
ROOM_BYTES = 8 << 20


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk with little room at `folder` until the end of the block; skip the test where that is forbidden."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    folder.mkdir(parents=True)
    options = f"size={RESERVE_BYTES + ROOM_BYTES}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        # What a test left open may still be there for a moment.
        subprocess.run(["umount", "--lazy", folder], check=True)


def free_bytes(folder: Path) -> int:
    """Return the room that is left on the disk of `folder`."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def enlarge(folder: Path) -> None:
    """Make room on a small disk."""
    options = f"remount,size={2 * (RESERVE_BYTES + ROOM_BYTES)}"
    subprocess.run(["mount", "-o", options, folder], check=True)
