"""Uploads of clients, as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

#: Lifetime of a signed URL, in seconds.
ADDRESS_LIFE_S = 3600


@dataclass(frozen=True)
class Upload:
    """A file that a client has uploaded."""

    key: str
    size_bytes: int
    stored_at: datetime


@dataclass(frozen=True)
class MediaPage:
    """A page of a client's uploads, and the cursor of the next page; None on the last."""

    uploads: Sequence[Upload]
    cursor: str | None
