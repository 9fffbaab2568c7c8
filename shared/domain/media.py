"""Uploads as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.domain.sources import MediaUrl

#: How long a signed address may be used, in seconds.
ADDRESS_LIFE_S = 3600


@dataclass(frozen=True)
class Upload:
    """A file that a client has stored."""

    key: str
    size_bytes: int
    stored_at: datetime

    @property
    def url(self) -> str:
        """Its `media://` address."""
        return MediaUrl(self.key).text


@dataclass(frozen=True)
class MediaPage:
    """Some of a client's uploads, and where to go on; None: these are the last."""

    uploads: Sequence[Upload]
    cursor: str | None
