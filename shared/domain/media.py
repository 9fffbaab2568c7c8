"""Uploads of clients, as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.domain.sources import SERVICE_UPLOADS, MediaUrl

#: Lifetime of a signed address, in seconds.
ADDRESS_LIFE_S = 3600


def job_upload(job_id: str, number: int = 0) -> str:
    """Return the key of an upload that the service makes for one job, and removes when the job ends.

    Parameters
    ----------
    number : of the upload, where a job has several, from 0.
    """
    return f"{SERVICE_UPLOADS}{job_id}-{number}" if number else SERVICE_UPLOADS + job_id


@dataclass(frozen=True)
class Upload:
    """A file that a client has uploaded."""

    key: str
    size_bytes: int
    stored_at: datetime

    @property
    def url(self) -> str:
        """Its `media://` address."""
        return MediaUrl(self.key).text


@dataclass(frozen=True)
class MediaPage:
    """A page of a client's uploads, and the cursor of the next page; None on the last."""

    uploads: Sequence[Upload]
    cursor: str | None
