"""Downloads: copy a URL's body to a file, with limits on bytes, seconds and speed."""

import time
from dataclasses import dataclass
from typing import BinaryIO

from shared.domain.addresses import HttpUrl
from shared.domain.errors import DownloadFailed, DownloadTimeout, FileTooLarge, UrlNotAllowed
from worker.egress import GET_REDIRECTS, AddressRefused, Answer, ConnectionBroken, Egress, EgressError, EgressTimeout

MAX_REDIRECTS = 3
_CHUNK_BYTES = 1 << 16
#: Least speed, measured over `_MEASURED_S`: a slower host would occupy a worker.
MIN_BYTES_PER_S = 32 * 1024
_MEASURED_S = 10.0
#: Statuses of a proxy or an overloaded host, after which a retry may succeed.
_TRANSIENT = (502, 503, 504)
_PAUSE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Downloader:
    """Download of files through `egress`.

    Parameters
    ----------
    egress : checks each address and opens the connection.
    max_bytes : largest body, counted as it arrives.
    timeout_s : limit in seconds of wall clock, redirects and the retry included.
    """

    egress: Egress
    max_bytes: int
    timeout_s: float

    def download(self, url: HttpUrl, file: BinaryIO) -> None:
        """Write the body of `url` to `file`; retry once after a network error.

        Raises
        ------
        UrlNotAllowed, DownloadFailed, DownloadTimeout, FileTooLarge
        """
        ends_at = time.monotonic() + self.timeout_s
        try:
            try:
                self._try(url, file, self.timeout_s)
            except _Transient:
                time.sleep(_PAUSE_S)
                file.seek(0)
                file.truncate()
                self._try(url, file, max(0.001, ends_at - time.monotonic()))
        except _Transient as failure:
            raise DownloadFailed(str(failure)) from None

    def _try(self, url: HttpUrl, file: BinaryIO, seconds: float) -> None:
        try:
            with self.egress.request(
                "GET", url, deadline_s=seconds, max_redirects=MAX_REDIRECTS, redirect_statuses=GET_REDIRECTS
            ) as answer:
                self._receive(answer, file)
        except AddressRefused as error:
            raise UrlNotAllowed(str(error)) from None
        except EgressTimeout:
            raise DownloadTimeout(
                f"The recording did not arrive within {self.timeout_s:g} seconds, or stopped coming."
            ) from None
        except ConnectionBroken as error:
            raise _Transient(str(error)) from None
        except EgressError as error:
            raise DownloadFailed(str(error)) from None

    def _receive(self, answer: Answer, file: BinaryIO) -> None:
        _require_plain_200(answer)
        if (answer.length or 0) > self.max_bytes:
            raise self._too_large()
        speed = _Speed()
        received = 0
        for chunk in answer.chunks(_CHUNK_BYTES, _MEASURED_S):
            received += len(chunk)
            if received > self.max_bytes:
                raise self._too_large()
            speed.add(len(chunk))
            file.write(chunk)

    def _too_large(self) -> FileTooLarge:
        return FileTooLarge(f"The recording's file is larger than {self.max_bytes / 2**20:.0f} MiB.")


class _Transient(Exception):
    """A failure after which a retry may succeed; the message is written for the client."""


class _Speed:
    """Check of the download speed, over periods of `_MEASURED_S`."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._since = time.monotonic()
        self._received = 0

    def add(self, count: int) -> None:
        """Count received bytes.

        Raises
        ------
        DownloadTimeout
        """
        self._received += count
        elapsed = time.monotonic() - self._since
        if elapsed < _MEASURED_S:
            return
        if self._received < MIN_BYTES_PER_S * elapsed:
            raise DownloadTimeout(
                f"The recording arrives too slowly: less than {MIN_BYTES_PER_S // 1024} KiB per second."
            )
        self._restart()


def _require_plain_200(answer: Answer) -> None:
    if answer.status != 200:
        kind = _Transient if answer.status in _TRANSIENT else DownloadFailed
        raise kind(
            f"The recording's address answered with status {answer.status}; it must be public, direct and not expired."
        )
    content = answer.headers.get("Content-Encoding", "").strip().lower()
    transfer = answer.headers.get("Transfer-Encoding", "").strip().lower()
    if content not in ("", "identity") or transfer not in ("", "chunked"):
        raise DownloadFailed("The recording's address sends a compressed transfer; it must send the file as it is.")
