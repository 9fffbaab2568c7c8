"""Scratch files of recordings on their way; they have no name on the disk and are gone with the process."""

import io
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from shared.adapters.dir_media import RESERVE_BYTES
from shared.domain.errors import Unavailable


class _Reserving(io.FileIO):
    """File that leaves `RESERVE_BYTES` of its disk free; unbuffered, so that closing it writes nothing."""

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left:
            disk = os.fstatvfs(self.fileno())
            if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
                raise Unavailable(
                    f"The disk of TIMBRE_DATA_DIR has less than {RESERVE_BYTES >> 20} MiB free, so no recording is "
                    "fetched to it."
                )
            left = left[super().write(left) :]
        return memoryview(data).nbytes


def scratch_file(folder: Path) -> BinaryIO:
    """Open a new file for reading and writing in `folder`; each write raises Unavailable while the disk is nearly full.

    A disk that is full all the same raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        return cast("BinaryIO", _Reserving(os.dup(file.fileno()), "r+b"))
