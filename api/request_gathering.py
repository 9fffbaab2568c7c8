"""Bytes of a request until a thread can work on it, with deadlines for headers and small bodies."""

import re
import time

from gunicorn.http.errors import LimitRequestHeaders

from api.errors import RequestTimeout

#: Seconds for the request line and the headers, from the connection or the end of the request before.
HEAD_WITHIN_S = 5.0
#: Seconds for a small body, from the end of the headers.
BODY_WITHIN_S = 10.0
#: Largest request line with its headers, in bytes.
MAX_HEAD_BYTES = 1 << 16
#: A body of so many bytes is not gathered: most JSON is smaller. A thread for uploads reads it.
LARGE_BYTES = 1 << 16

_HEAD_END = b"\r\n\r\n"
#: A line that ends without a carriage return; the parser refuses it at once.
_BARE_LINE = re.compile(rb"(?<!\r)\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CODED = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
#: Clients of HTTP/1.0 are never invited.
_EXPECTS = re.compile(
    rb"[^\r\n]* HTTP/1\.1\r\n(?:.*\r\n)?expect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE | re.DOTALL
)
_HEALTH = re.compile(rb"(GET|HEAD) /healthz[ ?]")
_PATH = re.compile(rb"[A-Z]+ ([!-~]+?)[ ?]")


class Gathering:
    """Beginning of a request, as it arrives.

    Attributes
    ----------
    data : all bytes so far, perhaps with those of a request behind it.
    due : time of `time.monotonic` at which the client is too late.
    large : the body is no small one of known length; it is left to the thread.
    asks_for_health : the request is one of the liveness probe.
    path : of the request; empty as long as it is not known.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.due = time.monotonic() + HEAD_WITHIN_S
        self.large = False
        self.asks_for_health = False
        self.path = ""
        self._searched = 0
        self._head_bytes = 0
        self._body_bytes = 0

    def add(self, data: bytes) -> None:
        """Take what has arrived.

        Raises
        ------
        LimitRequestHeaders
        """
        self.data += data
        if not self._head_bytes:
            self._find_head()

    def _find_head(self) -> None:
        end = self.data.find(_HEAD_END, self._searched)
        if end >= 0:
            self._read_head(end + len(_HEAD_END))
        elif _BARE_LINE.search(self.data, self._searched):
            self._head_bytes = len(self.data)
        elif len(self.data) > MAX_HEAD_BYTES:
            raise LimitRequestHeaders("the headers are too long")
        self._searched = max(0, len(self.data) - len(_HEAD_END) + 1)

    def _read_head(self, head_bytes: int) -> None:
        head = self.data[:head_bytes]
        length = _LENGTH.search(head)
        self.asks_for_health = bool(_HEALTH.match(head))
        path = _PATH.match(head)
        self.path = path[1].decode() if path else ""
        self._head_bytes = head_bytes
        self._body_bytes = int(length[1]) if length else 0
        self.large = bool(_CODED.search(head)) or self._body_bytes >= LARGE_BYTES
        self.due = time.monotonic() + BODY_WITHIN_S

    @property
    def whole(self) -> bool:
        """True when a thread need not wait for the headers, or for a small body."""
        wanted = self._head_bytes + (0 if self.large else self._body_bytes)
        return self._head_bytes > 0 and wanted <= len(self.data)

    @property
    def invited(self) -> bool:
        """True when the client waits to be told to send its small body (RFC 9110, 10.1.1)."""
        bare = len(self.data) == self._head_bytes > 0
        return bare and not self.whole and bool(_EXPECTS.match(self.data))

    def take(self) -> bytes:
        """Give away all bytes."""
        data = bytes(self.data)
        self.data.clear()
        return data

    def late(self) -> RequestTimeout:
        """Return the error for a client that was too late."""
        if self._head_bytes:
            return RequestTimeout(f"The body did not arrive within {BODY_WITHIN_S:g} s; send it again, without pauses.")
        return RequestTimeout(f"The headers did not arrive within {HEAD_WITHIN_S:g} s; send them in one go.")
