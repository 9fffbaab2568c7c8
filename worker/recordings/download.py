"""Downloads: copy a URL's body to a file, with limits on bytes, seconds and speed."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from shared.domain.addresses import HttpUrl
from shared.domain.codings import compression
from shared.domain.errors import DownloadFailed, DownloadTimeout, FileTooLarge, NotAudio, UrlNotAllowed
from worker.egress import GET_REDIRECTS, AddressRefused, Answer, ConnectionBroken, Egress, EgressError, EgressTimeout

MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 16
#: Least speed, measured over `_MEASURED_S`: a slower host would occupy a worker.
MIN_BYTES_PER_S = 32 * 1024
_MEASURED_S = 10.0
#: Bytes that may come at any speed: a voice note is often made while it is sent.
UNMEASURED_BYTES = 256 * 1024
#: Statuses after which a second try may succeed: a host is busy, or a fresh recording is not there yet.
_RETRIED = (404, 408, 425, 429, 500, 502, 503, 504)
#: Seconds before the second try; telephone providers show a recording some seconds after they tell of it.
_PAUSE_S = 0.5
_NOT_FOUND_PAUSE_S = 2.5
#: Longest pause that Retry-After may ask for.
_LONGEST_PAUSE_S = 10.0
#: Content-Range of a part that is everything (RFC 9110, 14.4).
_RANGE = re.compile(r"bytes 0-(\d{1,18})/(\d{1,18})", re.IGNORECASE)
#: Media types of documents -> their name, and the bytes that one may begin with; no recording begins so.
_DOCUMENTS = {
    "text/html": ("a web page", b"<"),
    "application/xhtml+xml": ("a web page", b"<"),
    "application/json": ("JSON", b"{["),
}
_BLANKS = b"\xef\xbb\xbf \t\r\n\f"
#: Bytes that tell a document from a recording: pages begin with some blanks.
_HEAD_BYTES = 4096


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
        """Write the body of `url` to `file`; retry once after a network error or a status that may pass.

        Raises
        ------
        UrlNotAllowed, DownloadFailed, DownloadTimeout, FileTooLarge, NotAudio
        """
        ends_at = time.monotonic() + self.timeout_s
        try:
            try:
                self._try(url, file, self.timeout_s)
            except _Transient as failure:
                if failure.pause_s > min(_LONGEST_PAUSE_S, ends_at - time.monotonic()):
                    raise
                time.sleep(failure.pause_s)
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
            raise _Transient(str(error), _PAUSE_S) from None
        except EgressError as error:
            raise DownloadFailed(str(error)) from None

    def _receive(self, answer: Answer, file: BinaryIO) -> None:
        _require_whole(answer)
        _require_plain(answer)
        if (answer.length or 0) > self.max_bytes:
            raise self._too_large()
        speed = _Speed()
        received = 0
        for chunk in _recording(answer):
            received += len(chunk)
            if received > self.max_bytes:
                raise self._too_large()
            speed.add(len(chunk))
            file.write(chunk)

    def _too_large(self) -> FileTooLarge:
        return FileTooLarge(f"The recording's file is larger than {self.max_bytes / 2**20:.0f} MiB.")


class _Transient(Exception):
    """A failure after which a retry may succeed, a pause later; the message is written for the client."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class _Speed:
    """Check of the download speed, over periods of `_MEASURED_S`, after the first `UNMEASURED_BYTES`."""

    def __init__(self) -> None:
        self._unmeasured = UNMEASURED_BYTES
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
        if self._unmeasured > 0:
            self._unmeasured -= count
            return self._restart()
        self._received += count
        elapsed = time.monotonic() - self._since
        if elapsed < _MEASURED_S:
            return
        if self._received < MIN_BYTES_PER_S * elapsed:
            raise DownloadTimeout(
                f"The recording arrives too slowly: less than {MIN_BYTES_PER_S // 1024} KiB per second."
            )
        self._restart()


def _require_whole(answer: Answer) -> None:
    if answer.status == 206:
        if not _is_everything(answer):
            raise DownloadFailed(
                "The recording's address gave only a part of the file (status 206); it must give the whole file."
            )
    elif answer.status != 200:
        told = (
            f"The recording's address answered with status {answer.status}; it must be public, direct and not expired."
        )
        if answer.status not in _RETRIED:
            raise DownloadFailed(told)
        raise _Transient(told, answer.retry_after_s or (_NOT_FOUND_PAUSE_S if answer.status == 404 else _PAUSE_S))


def _is_everything(part: Answer) -> bool:
    found = _RANGE.fullmatch(part.headers.get("Content-Range", "").strip())
    return found is not None and int(found[2]) == int(found[1]) + 1 and part.length in (None, int(found[2]))


def _require_plain(answer: Answer) -> None:
    for header in ("Content-Encoding", "Transfer-Encoding"):
        if coding := compression(answer.headers.get(header, "")):
            raise DownloadFailed(
                f"The transfer is compressed ({header}: {coding}); the recording's address must send the file as it is."
            )


def _recording(answer: Answer) -> Iterator[bytes]:
    """Yield the body, the first bytes of it together; raises NotAudio for a document."""
    chunks = answer.chunks(_CHUNK_BYTES, _MEASURED_S)
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _HEAD_BYTES:
            break
    _require_no_document(answer.headers.get("Content-Type", ""), head)
    yield head
    yield from chunks


def _require_no_document(content_type: str, head: bytes) -> None:
    kind = re.split("[;,]", content_type)[0].strip().lower()
    name, beginnings = _DOCUMENTS.get(kind, ("", b""))
    first = head.lstrip(_BLANKS)[:1]
    if first and first in beginnings:
        raise NotAudio(
            f"The address gave {name}, {kind}, not a recording; send a direct link to the file itself, "
            "not to a page that shares it or asks for a login."
        )
