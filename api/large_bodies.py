"""Large JSON bodies with a file in base64, which lie on the disk. A file is never in memory as a whole."""

import binascii
import json
import mmap
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn

from flask import request

from api.errors import InvalidRequest, RequestTimeout, RequestTooLarge
from api.media import received_body
from api.services import services
from shared.adapters.scratch import scratch_file
from shared.domain.errors import NotFound
from shared.domain.media import job_upload
from shared.job_service import JobService

#: Strings of so many bytes are left on the disk.
_LONG_BYTES = 16 * 1024
#: Most bytes beside them: as values they may take 30 times as much memory.
_MOST_BESIDE_BYTES = 48 * 1024
#: Bytes that are decoded at once.
_PIECE_BYTES = 1 << 20
#: String of JSON. It never backtracks.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
#: Longest escape, `\u003d`.
_ESCAPE_BYTES = 6
#: Beginning of a data URL (RFC 2397), as browsers write it.
_DATA_URL = re.compile(rb"\s*data:[^,]{0,300};base64,", re.IGNORECASE)
_WHITE_SPACE = b" \t\r\n\v\f"


class NotBase64(ValueError):
    """The text is no base64, or empty."""


@dataclass(frozen=True)
class LongString:
    """String of a JSON body that is left on the disk: the place of its JSON text, without the quotes."""

    _body: mmap.mmap = field(repr=False)
    _start: int
    _end: int

    def __len__(self) -> int:
        return self._end - self._start

    def pieces(self) -> Iterator[bytes]:
        """Yield the string in pieces; raises NotBase64 for one that is no string of JSON, or not ASCII."""
        at = self._start
        while at < self._end:
            piece = self._body[at : min(at + _PIECE_BYTES, self._end)]
            if at + len(piece) < self._end:
                # An escape is not cut in two.
                piece = piece[: piece.rfind(b"\\", -_ESCAPE_BYTES)] if b"\\" in piece[-_ESCAPE_BYTES:] else piece
            yield _ascii(_unescaped(piece))
            at += len(piece)


@contextmanager
def spooled(limit: int, within_s: float | None = None) -> Iterator[BinaryIO]:
    """Give the body of the request as a file: a client that sends slowly would hold memory all the while.

    Parameters
    ----------
    within_s : seconds in which it must arrive; None: as long as it comes at the pace of an upload.

    Raises
    ------
    InvalidRequest, RequestTooLarge, UnsupportedMediaType, RequestTimeout, Unavailable
    """
    announced(limit)
    due = None if within_s is None else time.monotonic() + within_s
    with scratch_file(services().settings.data_dir / "scratch") as file:
        for chunk in received_body(limit):
            file.write(chunk)
            if due is not None and time.monotonic() > due:
                raise RequestTimeout(f"The body did not arrive within {within_s:g} s; send it faster.")
        yield file


def announced(limit: int) -> int:
    """Return the bytes that the request announces; raises RequestTooLarge."""
    length = request.content_length or 0
    if length > limit:
        raise RequestTooLarge(f"The body is larger than {limit} bytes.")
    return length


@contextmanager
def parsed(file: BinaryIO) -> Iterator[dict[str, Any]]:
    """Give the JSON object in a file; its long strings are each a `LongString`, good within the block.

    Control characters in strings are forgiven, as shells leave them in base64. No body is an empty object.

    Raises
    ------
    InvalidRequest
    """
    if not file.seek(0, 2):
        yield {}
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        beside, long = _lifted(body)
        yield _object(beside, long)


def _lifted(body: mmap.mmap) -> tuple[bytes, dict[str, LongString]]:
    """Return a body with a name in place of each long string, and the strings by name."""
    beside = bytearray()
    long: dict[str, LongString] = {}
    at = 0
    start = body.find(b'"')
    while start >= 0:
        if len(beside) + start - at > _MOST_BESIDE_BYTES:
            raise _too_much()
        # Not searched for: quotes behind one that nothing ends would each be looked at to the end.
        found = _STRING.match(body, start)
        if found is None:
            raise _no_json()
        if found.end() - start > _LONG_BYTES:
            name = secrets.token_hex()
            long[name] = LongString(body, start + 1, found.end() - 1)
            beside += body[at:start] + f'"{name}"'.encode()
            at = found.end()
        start = body.find(b'"', found.end())
    if len(beside) + len(body) - at > _MOST_BESIDE_BYTES:
        raise _too_much()
    return bytes(beside + body[at:]), long


def _object(beside: bytes, long: dict[str, LongString]) -> dict[str, Any]:
    def named(found: dict[str, Any]) -> dict[str, Any]:
        return {name: long.get(value, value) if isinstance(value, str) else value for name, value in found.items()}

    try:
        found = json.loads(beside.decode(), strict=False, object_hook=named, parse_constant=_refuse)
        # Half a surrogate pair can be stored nowhere.
        json.dumps(found, ensure_ascii=False, default=lambda _: None).encode()
    except (ValueError, RecursionError):
        raise _no_json() from None
    if not isinstance(found, dict):
        raise InvalidRequest(("body", "The body is no JSON object."))
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def decoded(text: str | LongString) -> Iterator[bytes]:
    """Yield the content of base64, piece by piece.

    White space, missing padding and the beginning of a data URL are forgiven.

    Raises
    ------
    NotBase64
    """
    rest = b""
    ended = False
    empty = True
    for piece in _unwrapped(text):
        if ended and piece.strip(b"="):
            raise NotBase64("something stands behind the padding")
        ended = piece.endswith(b"=") if piece else ended
        rest += piece
        whole = len(rest) // 4 * 4
        yield _decoded(rest[:whole])
        rest = rest[whole:]
        empty = empty and not whole
    if empty and not rest:
        raise NotBase64("nothing is there")
    yield _decoded(rest + b"=" * (-len(rest) % 4))


def decoded_bytes(text: str | LongString) -> int:
    """Return the most bytes that `decoded` gives."""
    return len(text) * 3 // 4 + 3


def discard(jobs: JobService, client_id: str, job_id: str) -> None:
    """Remove what was stored for a job that is not made, or has ended."""
    with suppress(NotFound):
        jobs.remove_media(client_id, job_upload(job_id))


def _unwrapped(text: str | LongString) -> Iterator[bytes]:
    """Yield the pieces of base64 without white space and the beginning of a data URL."""
    first = True
    for piece in [_ascii(text)] if isinstance(text, str) else text.pieces():
        bare = _DATA_URL.sub(b"", piece, count=1) if first and _DATA_URL.match(piece) else piece
        yield bare.translate(None, _WHITE_SPACE)
        first = False


def _decoded(quads: bytes) -> bytes:
    try:
        return binascii.a2b_base64(quads, strict_mode=True)
    except binascii.Error as error:
        raise NotBase64(str(error)) from None


def _unescaped(piece: bytes) -> str:
    try:
        text: str = json.loads(b'"%b"' % piece, strict=False)
    except ValueError:
        raise NotBase64("it is no string of JSON") from None
    return text


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise NotBase64("it has characters that base64 has not") from None


def _no_json() -> InvalidRequest:
    return InvalidRequest(("body", "The body is not valid JSON in UTF-8."))


def _too_much() -> InvalidRequest:
    return InvalidRequest(
        ("body", f"The body has more than {_MOST_BESIDE_BYTES} bytes beside the file; send the documented fields only.")
    )
