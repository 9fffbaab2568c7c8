"""Uploads in a local folder: one file per upload, named by a hash, so that no key can leave its client's folder.

Beside each file stands another, `.key`, which holds the client's name for it. Requests for one name may meet, in
several processes, so every step is a rename. The name is stored last and removed first: no file lacks its name. A name
may lack its file; it is not listed, and swept in its time.
"""

import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from shared.domain.errors import MediaNotFound, Unavailable
from shared.domain.media import MediaPage, Upload

_KEY = ".key"
_PART = "part-"
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
        with _written(path.parent, chunks) as content, _written(path.parent, [key.encode()]) as name:
            os.replace(content, path)
            os.replace(name, path.with_suffix(_KEY))

    def open_upload(self, client_id: str, key: str) -> BinaryIO:
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
        """Tell whether there is such an upload."""
        return self._path(client_id, key).exists()

    def list(self, client_id: str, after: str, most: int) -> MediaPage:
        """Return a client's uploads behind the cursor `after`, in the order of their keys, at most `most`."""
        named = (_upload(named) for named in (self._root / client_id).glob(f"*{_KEY}"))
        there = sorted((upload for upload in named if upload and upload.key > after), key=lambda upload: upload.key)
        return MediaPage(there[:most], there[most - 1].key if len(there) > most else None)

    def remove(self, client_id: str, key: str) -> str | None:
        """Remove an upload; returns the hexadecimal SHA-256 of what was removed, None when there was nothing."""
        path = self._path(client_id, key)
        try:
            with path.open("rb") as file:
                # Read before anything is touched, so that a removal which breaks off here can be repeated.
                digest = _sha256(file)
                path.with_suffix(_KEY).unlink(missing_ok=True)
                removed = _set_aside(path)
                replaced = not os.path.samestat(os.fstat(file.fileno()), removed.stat())
            if replaced:
                with removed.open("rb") as file:
                    digest = _sha256(file)
        except FileNotFoundError:
            return None
        removed.unlink(missing_ok=True)
        return digest

    def sweep(self) -> int:
        """Remove uploads, whole or partial, that are past their time; return how many."""
        limit = time.time() - self._ttl_s
        expired = [path for path in self._root.glob("*/*") if _modified(path) < limit]
        swept = [path for path in expired if _swept(path, limit)]
        return sum(path.suffix != _KEY for path in swept)


@contextmanager
def _written(folder: Path, chunks: Iterable[bytes]) -> Iterator[Path]:
    """Write a file to be moved to its place; it goes with the block if it was not."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PART)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                disk = os.fstatvfs(descriptor)
                if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
                    raise Unavailable("There is no room for uploads right now; remove some, or try again later.")
                file.write(chunk)
        yield part
    finally:
        part.unlink(missing_ok=True)


def _upload(named: Path) -> Upload | None:
    try:
        stat = named.with_suffix("").stat()
        return Upload(named.read_text(), stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
    except FileNotFoundError:
        return None


def _sha256(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _set_aside(path: Path) -> Path:
    """Give a file a name that nobody else knows; raises FileNotFoundError."""
    return path.rename(path.with_name(f"{_PART}{uuid.uuid4().hex}"))


def _swept(path: Path, limit: float) -> bool:
    """Remove a file last written before `limit`; False when it is gone, or another now."""
    with suppress(FileNotFoundError):
        found = _set_aside(path)
        expired = _modified(found) < limit
        if not expired:
            # Replaced a moment ago, it goes back, unless it was replaced once more.
            with suppress(FileExistsError):
                path.hardlink_to(found)
        found.unlink()
        return expired
    return False


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
