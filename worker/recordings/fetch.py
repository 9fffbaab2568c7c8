"""Fetch a job's recording: from a client's address, an upload, or a listed bucket."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shared.adapters.scratch import scratch_file
from shared.domain.addresses import HttpUrl
from shared.domain.errors import FileTooLarge, Unavailable, UrlNotAllowed, WorkerUnavailable
from shared.domain.limits import Limits
from shared.domain.sources import MediaUrl, S3Url, Source
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

    def fetch(self, client_id: str, source: Source, limits: Limits) -> BinaryIO:
        """Return the recording as an open file.

        A download has no name on the disk: it is gone when the file is closed, also when the worker dies.

        Raises
        ------
        MediaNotFound, UrlNotAllowed, DownloadFailed, DownloadTimeout, FileTooLarge, NotAudio
        WorkerUnavailable
            The disk is nearly full, or the store of uploads is away.
        """
        try:
            return self._fetch(client_id, source, limits)
        except Unavailable as error:
            raise WorkerUnavailable(f"{error} Try again later.") from None

    def _fetch(self, client_id: str, source: Source, limits: Limits) -> BinaryIO:
        match source:
            case MediaUrl(key):
                return _small_enough(self.media.open_upload(client_id, key), limits)
            case S3Url(bucket, _):
                if self.buckets is None:
                    raise UrlNotAllowed(f"Bucket {bucket} is not one that this service reads.")
                return _small_enough(self.buckets.open_object(source), limits)
            case HttpUrl():
                return self._download(source, limits)

    def _download(self, url: HttpUrl, limits: Limits) -> BinaryIO:
        downloader = Downloader(egress=self.egress, max_bytes=limits.max_bytes, timeout_s=limits.download_timeout_s)
        file = scratch_file(self.scratch)
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
