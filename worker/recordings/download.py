"""Downloads: what an address gives becomes a file, within bounds of bytes, seconds and speed."""

import time
from dataclasses import dataclass
from typing import BinaryIO

from shared.domain.addresses import HttpUrl
from shared.domain.errors import DownloadFailed, DownloadTimeout, FileTooLarge, UrlNotAllowed
from worker.egress import GET_REDIRECTS, AddressRefused, Answer, ConnectionBroken, Egress, EgressError, EgressTimeout

MAX_REDIRECTS = 3
_CHUNK_BYTES = 1 << 16
#: Slower than this over so many seconds is given up: a host that drips holds a worker for nothing.
MIN_BYTES_PER_S = 32 * 1024
_MEASURED_S = 10.0
#: Answers of something between us and the file, which may be over a moment later.
_PASSING = (502, 503, 504)
_PAUSE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Downloader:
    """Fetches files.

    Parameters
    ----------
    egress : the door they come through.
    max_bytes : largest body, counted as it arrives.
    timeout_s : wall clock for everything, redirects and a second try included.
    """

    egress: Egress
    max_bytes: int
    timeout_s: float

    def download(self, url: HttpUrl, file: BinaryIO) -> None:
        """Write what is at `url` to `file`; where the fault is the network's, try a second time.

        Raises
        ------
        UrlNotAllowed, DownloadFailed, DownloadTimeout, FileTooLarge
        """
        ends_at = time.monotonic() + self.timeout_s
        try:
            try:
                self._try(url, file, self.timeout_s)
            except _Passing:
                time.sleep(_PAUSE_S)
                file.seek(0)
                file.truncate()
                self._try(url, file, max(0.001, ends_at - time.monotonic()))
        except _Passing as failure:
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
            raise _Passing(str(error)) from None
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


class _Passing(Exception):
    """A failure that may be gone at a second try; the message is the client's."""


class _Speed:
    """Watches how fast bytes come in, over stretches of some seconds."""

    def __init__(self) -> None:
        self._since, self._received = time.monotonic(), 0

    def add(self, count: int) -> None:
        """Count bytes.

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
        self._since, self._received = time.monotonic(), 0


def _require_plain_200(answer: Answer) -> None:
    if answer.status != 200:
        kind = _Passing if answer.status in _PASSING else DownloadFailed
        raise kind(
            f"The recording's address answered with status {answer.status}; it must be public, direct and not expired."
        )
    codings = (answer.headers.get("Content-Encoding", ""), answer.headers.get("Transfer-Encoding", ""))
    if codings[0].strip().lower() not in ("", "identity") or codings[1].strip().lower() not in ("", "chunked"):
        raise DownloadFailed("The recording's address sends a compressed transfer; it must send the file as it is.")
