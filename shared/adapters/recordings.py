"""Kept recordings of samples: sealed files in a folder or a bucket, the keys elsewhere, with the samples' records."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from shared.adapters.dir_media import RESERVE_BYTES
from shared.adapters.sealing import seal_under, unseal_under
from shared.domain.errors import Unavailable


class Files(Protocol):
    """Files by client and sample, whose bytes say nothing."""

    def write(self, client_id: str, sample_id: str, sealed: bytes) -> None:
        """Write a file, whole or not at all; raises Unavailable."""

    def read(self, client_id: str, sample_id: str) -> bytes | None:
        """Return a file; None when there is none; raises Unavailable."""

    def remove(self, client_id: str, sample_id: str) -> None:
        """Remove a file, if there is one; raises Unavailable."""


class SealedRecordings:
    """`RecordingStore` of sealed files.

    Parameters
    ----------
    files : where they are.
    key_of : returns the key of a sample's record, which is destroyed along with it; None when it is gone.
    """

    def __init__(self, files: Files, key_of: Callable[[str], bytes | None]) -> None:
        self._files = files
        self._key_of = key_of

    def keep(self, client_id: str, sample_id: str, sound: bytes) -> None:
        """Keep a recording, unless its sample is gone; raises Unavailable."""
        key = self._key_of(sample_id)
        if key is not None:
            self._files.write(client_id, sample_id, seal_under(key, sound, _context(sample_id)))

    def load(self, client_id: str, sample_id: str) -> bytes | None:
        """Return a recording; None when it is not kept, or its sample is gone; raises Unavailable."""
        key = self._key_of(sample_id)
        sealed = self._files.read(client_id, sample_id) if key is not None else None
        return unseal_under(key, sealed, _context(sample_id)) if key is not None and sealed is not None else None

    def remove(self, client_id: str, sample_id: str) -> None:
        """Remove a recording; it may be gone already; raises Unavailable."""
        self._files.remove(client_id, sample_id)


def _context(sample_id: str) -> str:
    return f"{sample_id}/recording"


class DirFiles:
    """`Files` in a folder that only its owner may read."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, client_id: str, sample_id: str, sealed: bytes) -> None:
        """Write a file, whole or not at all; raises Unavailable while the disk is nearly full."""
        path = self._path(client_id, sample_id)
        for folder in (self._root, path.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk = os.statvfs(path.parent)
        if disk.f_bavail * disk.f_frsize < RESERVE_BYTES + len(sealed):
            raise Unavailable("The disk of TIMBRE_DATA_DIR is nearly full, so no recording is kept on it.")
        # Temporary files have mode 0600.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix="part-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def read(self, client_id: str, sample_id: str) -> bytes | None:
        """Return a file; None when there is none."""
        with suppress(FileNotFoundError):
            return self._path(client_id, sample_id).read_bytes()
        return None

    def remove(self, client_id: str, sample_id: str) -> None:
        """Remove a file, if there is one."""
        self._path(client_id, sample_id).unlink(missing_ok=True)

    def _path(self, client_id: str, sample_id: str) -> Path:
        return self._root / client_id / sample_id
