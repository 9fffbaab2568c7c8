"""Uploads in a local folder: one file per upload, named by a hash, so that no key can leave its client's folder.

Beside each file stands another, `.key`, which holds the name that the client gave it.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from shared.domain.errors import MediaNotFound, Unavailable
from shared.domain.media import MediaPage, Upload

_KEY = ".key"
#: What uploads leave free of their disk: Redis and the database may be there too, and stop without room to write.
RESERVE_BYTES = 512 * 1024 * 1024


class DirMedia:
    """`MediaStore` in a folder shared by API and workers."""

    def __init__(self, root: Path, *, ttl_s: float) -> None:
        self._root = root
        self._ttl_s = ttl_s

    def _path(self, client_id: str, key: str) -> Path:
        return self._root / client_id / hashlib.sha256(key.encode()).hexdigest()

    def save(self, client_id: str, key: str, chunks: Iterable[bytes]) -> None:
        """Store an upload, whole or not at all; an earlier one of the same key is replaced.

        Raises
        ------
        Unavailable
            The disk is nearly full.
        """
        path = self._path(client_id, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix="part-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    _require_room(descriptor)
                    file.write(chunk)
            path.with_suffix(_KEY).write_text(key)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise

    def open(self, client_id: str, key: str) -> BinaryIO:
        """Open an upload for reading.

        Raises
        ------
        MediaNotFound
            Nothing was uploaded under `key`, or its time is over.
        """
        try:
            return self._path(client_id, key).open("rb")
        except FileNotFoundError:
            raise MediaNotFound.of(key) from None

    def contains(self, client_id: str, key: str) -> bool:
        """Say whether there is such an upload."""
        return self._path(client_id, key).exists()

    def list(self, client_id: str, after: str, most: int) -> MediaPage:
        """Return a client's uploads behind the cursor `after`, in the order of their keys, at most `most`."""
        named = [(named.read_text(), named.with_suffix("")) for named in (self._root / client_id).glob(f"*{_KEY}")]
        there = sorted((key, path) for key, path in named if key > after and path.exists())
        stats = [(key, path.stat()) for key, path in there[:most]]
        uploads = [Upload(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)) for key, stat in stats]
        return MediaPage(uploads, uploads[-1].key if len(there) > most else None)

    def remove(self, client_id: str, key: str) -> str | None:
        """Remove an upload; returns the hexadecimal SHA-256 of what was removed, None when there was nothing."""
        path = self._path(client_id, key)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        _unlink(path)
        return digest

    def sweep(self) -> int:
        """Remove uploads, whole or partial, that are past their time; return how many."""
        limit = time.time() - self._ttl_s
        files = (path for path in self._root.glob("*/*") if path.suffix != _KEY)
        expired = [path for path in files if _modified(path) < limit]
        for path in expired:
            _unlink(path)
        return len(expired)


def _require_room(descriptor: int) -> None:
    disk = os.fstatvfs(descriptor)
    if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
        raise Unavailable("There is no room for uploads right now; remove some, or try again later.")


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(_KEY).unlink(missing_ok=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
