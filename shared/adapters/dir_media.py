"""Uploads in a local folder: one file each, named by a hash, so that no key leaves its client's folder.

Beside each file stands another, `.key`, which holds the client's name for it. A folder is changed under a lock, and the
name is stored first and removed last: no file lacks its name, whoever is killed. A name may lack its file; it is not
listed, and swept in its time.
"""

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from heapq import nsmallest
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from shared.adapters.dir_tally import KEY, locked
from shared.domain.errors import MediaNotFound, MediaQuotaExceeded, Unavailable
from shared.domain.media import MediaPage, Upload

_PART = "part-"
_CURSOR = re.compile(r"([0-9a-f]{64})?")
#: What uploads leave free of their disk: Redis and the database may be there too, and stop without room to write.
RESERVE_BYTES = 512 * 1024 * 1024
#: Seconds after which an upload under way that nobody has written to is given up: its process was killed.
STALLED_S = 300.0


class DirMedia:
    """`MediaStore` in a folder shared by API and workers.

    Parameters
    ----------
    root : the folder.
    ttl_s : seconds an upload is kept.
    quota_bytes : most bytes that one client's uploads may hold, those under way included.
    """

    def __init__(self, root: Path, *, ttl_s: float, quota_bytes: int) -> None:
        self._root = root
        self._ttl_s = ttl_s
        self._quota_bytes = quota_bytes

    def _path(self, client_id: str, key: str) -> Path:
        return self._root / client_id / hashlib.sha256(key.encode()).hexdigest()

    def save(self, client_id: str, key: str, chunks: Iterable[bytes], announced: int = 0) -> None:
        """Store an upload, whole or not at all; an earlier one of the same key is replaced.

        Room for as many bytes as are announced is reserved at once, for any further ones as they come.

        Raises
        ------
        MediaQuotaExceeded
        Unavailable
            The disk is nearly full, or the upload stood still for minutes.
        """
        path = self._path(client_id, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Part(path.parent, self._quota_bytes) as part:
            part.reserve(announced)
            for chunk in chunks:
                part.write(chunk)
            part.move_to(path, key)

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
        """Return a client's uploads behind the cursor `after`, in the order of their files' names, at most `most`.

        No other file is opened, however many there are.

        Raises
        ------
        ValueError
            The cursor is not one of this store: an earlier release went by the order of the keys.
        """
        if not _CURSOR.fullmatch(after):
            raise ValueError("Take it from the page before as it is, or start from the first page again.")
        folder = self._root / client_id
        with suppress(FileNotFoundError):
            there = (entry.name for entry in os.scandir(folder))
            names = nsmallest(most + 1, (name for name in there if name.endswith(KEY) and name > after + KEY))
            uploads = [upload for name in names[:most] if (upload := _upload(folder / name))]
            return MediaPage(uploads, names[most - 1].removesuffix(KEY) if len(names) > most else None)
        return MediaPage([], None)

    def remove(self, client_id: str, key: str) -> str | None:
        """Remove an upload; returns the hexadecimal SHA-256 of what was removed, None when there was nothing."""
        path = self._path(client_id, key)
        with suppress(FileNotFoundError):
            while True:
                with path.open("rb") as file:
                    # Read before anything is touched, so that a removal which breaks off here can be repeated.
                    digest = _sha256(file)
                    if _removed(path, file):
                        return digest
        return None

    def check(self) -> None:
        """Raise OSError where no file can be written; of the one that is tried nothing is left, whoever is killed."""
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._root) as file:
            file.write(b"x")

    def sweep(self) -> int:
        """Remove uploads past their time, and those under way that nobody goes on with; return how many.

        What is left is counted anew. A folder that others keep locked waits for the next sweep; so does one that a
        process of an earlier release changes meanwhile, which knows no lock.
        """
        swept = 0
        for folder in self._root.glob("*/"):
            with suppress(Unavailable, FileNotFoundError), locked(folder) as tally:
                removed, tally.total = _swept(folder, time.time() - self._ttl_s)
                swept += removed
        return swept


class _Part:
    """Upload under way: a file as long as the room that is reserved for it.

    So whoever counts the folder anew counts that room. The file goes with the block if it was not moved to its place.
    """

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self._folder = folder
        self._quota_bytes = quota_bytes
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PART)
        self._file = os.fdopen(descriptor, "wb")
        self._path = Path(name)
        self._reserved = 0
        self._written = 0

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()
        with suppress(FileNotFoundError, Unavailable):
            # Looked for first: most have been moved, and need no lock any more.
            self._path.stat()
            with locked(self._folder) as tally:
                self._path.unlink()
                tally.total -= self._reserved

    def reserve(self, size: int) -> None:
        """Reserve room for so many bytes in all."""
        if size <= self._reserved:
            return
        with locked(self._folder) as tally:
            more = size - self._reserved
            if tally.total + more > self._quota_bytes:
                raise MediaQuotaExceeded.of(tally.total, self._quota_bytes)
            os.ftruncate(self._file.fileno(), size)
            tally.total += more
        self._reserved = size

    def write(self, chunk: bytes) -> None:
        disk = os.fstatvfs(self._file.fileno())
        if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
            raise Unavailable("There is no room for uploads right now; remove some, or try again later.")
        self._written += len(chunk)
        self.reserve(self._written)
        self._file.write(chunk)
        # The time of the last change says to sweeps that somebody is there.
        self._file.flush()

    def move_to(self, path: Path, key: str) -> None:
        """Give the file its place and its name."""
        named = path.with_suffix(".new")
        with locked(self._folder) as tally:
            if not self._path.exists():
                raise Unavailable("The upload stood still for so long that it was given up; send it again.")
            self._file.truncate(self._written)
            replaced = path.stat().st_size if path.exists() else 0
            named.write_text(key)
            named.replace(path.with_suffix(KEY))
            self._path.replace(path)
            tally.total += self._written - self._reserved - replaced


def _upload(named: Path) -> Upload | None:
    try:
        stat = named.with_suffix("").stat()
        return Upload(named.read_text(), stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
    except FileNotFoundError:
        return None


def _sha256(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _removed(path: Path, file: BufferedReader) -> bool:
    """Remove an upload, if it is still the open `file`; raises FileNotFoundError when there is none any more."""
    stat = os.fstat(file.fileno())
    with locked(path.parent) as tally:
        if not os.path.samestat(path.stat(), stat):
            return False
        path.unlink()
        path.with_suffix(KEY).unlink(missing_ok=True)
        tally.total -= stat.st_size
        return True


def _swept(folder: Path, limit: float) -> tuple[int, int]:
    """Remove what was last written before `limit` or has stalled; return how many uploads, and the bytes left."""
    removed = left = 0
    stalled = time.time() - STALLED_S
    entries = {entry.name: entry for entry in os.scandir(folder)}
    for name, entry in entries.items():
        if name.removesuffix(KEY) != name and name.removesuffix(KEY) in entries:
            continue  # it goes with its file
        stat = entry.stat()
        if stat.st_mtime < (stalled if name.startswith(_PART) else limit):
            Path(entry).unlink()
            Path(f"{entry.path}{KEY}").unlink(missing_ok=True)
            removed += not name.endswith(KEY)
        elif not name.endswith(KEY):
            left += stat.st_size
    return removed, left
