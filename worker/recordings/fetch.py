"""Get a job's recording: from a client's address, or from its uploads."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.domain.commands import S3_SCHEME, media_key
from shared.domain.errors import DownloadFailed, FileTooLarge, Unavailable
from shared.domain.limits import Limits
from shared.ports import Buckets, MediaStore
from worker.egress import Egress
from worker.recordings.download import Downloader


@dataclass(frozen=True)
class SourceFetcher:
    """`Fetcher` for http(s), `media://` and, of listed buckets, `s3://`."""

    egress: Egress
    media: MediaStore
    buckets: Buckets | None
    scratch: Path

    def fetch(self, client_id: str, url: str, limits: Limits) -> BinaryIO:
        """Return the recording as an open file.

        A download has no name on the disk: it is gone when the file is closed, also when the worker dies.

        Raises
        ------
        MediaNotFound, UrlNotAllowed, DownloadFailed, DownloadTimeout, FileTooLarge
        """
        try:
            return self._fetch(client_id, url, limits)
        except Unavailable as error:
            raise DownloadFailed(f"{error} Try again later.") from None

    def _fetch(self, client_id: str, url: str, limits: Limits) -> BinaryIO:
        if key := media_key(url):
            return _small_enough(self.media.open(client_id, key), limits)
        if url.startswith(S3_SCHEME) and self.buckets:
            return _small_enough(self.buckets.open(url), limits)
        return self._download(url, limits)

    def _download(self, url: str, limits: Limits) -> BinaryIO:
        downloader = Downloader(egress=self.egress, max_bytes=limits.max_bytes, timeout_s=limits.download_timeout_s)
        self.scratch.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115 - the caller closes it
        try:
            downloader.download(url, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file


def _small_enough(file: BinaryIO, limits: Limits) -> BinaryIO:
    if os.fstat(file.fileno()).st_size > limits.max_bytes:
        file.close()
        raise FileTooLarge(f"The recording's file is larger than {limits.max_bytes / 2**20:.0f} MiB.")
    return file
