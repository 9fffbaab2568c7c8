"""Part of a file that is read as a file of its own, and the notes on it."""

import io
from dataclasses import dataclass, field
from typing import BinaryIO


@dataclass
class Notes:
    """Sample rate and oddities of a file, noted while it is read."""

    #: Sample rate of the first sound; 0 before it.
    sample_rate_hz: int = 0
    #: Seconds of sound that could not be read: damaged, or missing from what the header names.
    lost_s: float = 0.0
    #: Bytes that were not read, and are neither a tag nor padding.
    unread_bytes: int = 0
    #: Timestamps went back or jumped beyond reason, and were not followed.
    clock_broken: bool = False
    #: The header names less sound than there is; the rest was read too.
    named_less: bool = False


class Window:
    """Read-only file over `prefix` and the bytes of `file` from `start` to `end`."""

    def __init__(self, file: BinaryIO, start: int, end: int, prefix: bytes = b"") -> None:
        self._file = file
        self._start = start
        self._prefix = prefix
        self._size = len(prefix) + end - start
        self._at = 0
        #: End of the farthest read, counted from `start`.
        self.farthest = 0

    def read(self, count: int) -> bytes:
        """Return the next bytes, at most `count`."""
        count = max(0, min(count, self._size - self._at))
        behind_prefix = self._at - len(self._prefix)
        if behind_prefix < 0:
            found = self._prefix[self._at : self._at + count]
        else:
            self._file.seek(self._start + behind_prefix)
            found = self._file.read(count)
            self.farthest = max(self.farthest, behind_prefix + len(found))
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as `io.IOBase.seek` does, but not past the end: a hostile index names any offset of 64 bits."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, min(base + offset, self._size))
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at


@dataclass(frozen=True)
class Part:
    """Bytes that hold one recording, and how libav is to read them."""

    start: int
    end: int
    #: libav's name of the format, where it is known for certain.
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    prefix: bytes = b""
    #: Seconds that the header names; None if it names none, or libav knows better.
    named_s: float | None = None
    #: Notes that are known before the sound is read.
    named_less: bool = False
    unread_bytes: int = 0

    def open(self, file: BinaryIO) -> Window:
        """Return the part as a file of its own."""
        return Window(file, self.start, self.end, self.prefix)
