"""Get a job's recording: from a client's address, or from its uploads."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.domain.commands import S3_SCHEME, media_key
from shared.ports import Buckets, MediaStore
from worker.download import Downloader


@dataclass(frozen=True)
class SourceFetcher:
    """`Fetcher` for http(s), `media://` and, of listed buckets, `s3://`."""

    downloader: Downloader
    media: MediaStore
    buckets: Buckets | None
    scratch: Path

    def fetch(self, client_id: str, url: str) -> BinaryIO:
        """Return the recording as an open file.

        A download has no name on the disk: it is gone when the file is closed, also when the worker dies.

        Raises
        ------
        MediaNotFound, UrlNotAllowed, DownloadFailed, DownloadTimeout, FileTooLarge
        """
        if key := media_key(url):
            return self.media.open(client_id, key)
        if url.startswith(S3_SCHEME) and self.buckets:
            return self.buckets.open(url)
        self.scratch.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self.scratch)  # noqa: SIM115 - the caller closes it
        try:
            self.downloader.download(url, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file
