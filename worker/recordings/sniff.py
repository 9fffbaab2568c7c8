"""Sniffing of a file's bytes: what it is, where its recordings begin, and tags before them."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, Literal, TypeVar

from worker.recordings.decoder_protocol import Refusal

T = TypeVar("T")

#: Bytes that tell what a file is.
HEAD_BYTES = 4096
_CHUNK_BYTES = 1 << 20
#: Longest start that `_STARTS` describe.
_LONGEST_START = 64
#: Most recordings that one file may hold end to end, and most boxes of a movie that are walked through.
_MOST_PARTS = 1000
_MOST_BOXES = 200_000
#: Most tags before the first recording, and most places that are looked at in search of further ones.
_MOST_TAGS = 100
_MOST_MATCHES = 100_000

_MATROSKA = rb"\x1a\x45\xdf\xa3.{1,40}?\x42\x82.(?:webm|matroska)"
#: First bytes of each container -> its name.
_CONTAINERS = {
    rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE": "wav",
    rb"RIFF.{4}AVI ": "avi",
    rb"fLaC": "flac",
    rb"OggS": "ogg",
    rb"\x1a\x45\xdf\xa3": "matroska",
    rb".{4}(?:ftyp|moov|mdat|wide|free|skip|pnot)": "mov",
    rb"#!AMR": "amr",
    rb"FORM.{4}AIF[FC]": "aiff",
    rb"\.snd": "au",
    rb"caff": "caf",
    rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb": "w64",
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    rb"FLV\x01": "flv",
    rb"\x0b\x77": "ac3",
    rb"\xff[\xf0\xf1\xf8\xf9]": "aac",
    rb"\xff[\xe2-\xef\xf2-\xf7\xfa-\xff]|ID3": "mp3",
    rb"RIFF|RIFX|RF64|BW64": "wav",
    # A packet of 188 bytes begins with 0x47; some recorders put four bytes of time before it.
    rb"(?:.{4})?\x47.{187}(?:.{4})?\x47": "mpegts",
}
#: Start of a further recording of the same container, somewhere in the file.
_STARTS = {
    "wav": rb"(?:RIFF|RIFX|RF64|BW64).{4}WAVE",
    "avi": rb"RIFF.{4}AVI ",
    "flac": rb"fLaC[\x00\x80]\x00\x00\x22",
    "ogg": rb"OggS\x00\x02",
    "matroska": _MATROSKA,
    "amr": rb"#!AMR(?:-WB)?\n",
    "aiff": rb"FORM.{4}AIF[FC]",
    "au": rb"\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]\x00.{3}\x00\x00\x00[\x01-\x08]",
    "caf": rb"caff\x00\x01\x00\x00",
    "w64": rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb",
    "asf": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    "flv": rb"FLV\x01[\x00-\x05]\x00\x00\x00\x09",
    "mp3": rb"ID3[\x02-\x04][\x00-\x0f][\x00-\xf0][\x00-\x7f]{4}",
}
#: Start of the chunk of samples -> where its size is, of what order, and with how many bytes of its own header.
_DATA_CHUNKS: dict[str, tuple[bytes, int, Literal["little", "big"], int]] = {
    "caf": (b"data", 4, "big", 0),
    "w64": (b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 16, "little", 24),
}
_HTML = (
    rb"(?i)(?:\xef\xbb\xbf)?\s*(?:<\?xml.{1,100}?\?>\s*)?"
    rb"(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body|script|title|meta|div)\b"
)
#: First bytes of what is no recording -> how it is refused.
_FOREIGN = {
    rb"PK\x03\x04|PK\x05\x06": Refusal.ZIP,
    rb"\x1f\x8b|BZh[1-9]|\xfd7zXZ|7z\xbc\xaf\x27\x1c|Rar!|\x28\xb5\x2f\xfd|.{257}ustar": Refusal.COMPRESSED,
    rb"\s*%PDF": Refusal.PDF,
    rb"\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\x00{4}|II\x2a\x00|MM\x00\x2a|RIFF.{4}WEBP|.{4}ftyp(?:heic|heix|mif1|avif)": (
        Refusal.IMAGE
    ),
    rb"(?i)(?:\r\n)?--[^\r\n]{1,200}\r?\n(?:[^\r\n]+\r?\n)*?content-": Refusal.MULTIPART,
    # Whatever its letters are coded in.
    _HTML: Refusal.WEB_PAGE,
    # WavPack, Monkey's Audio, RealAudio, Musepack, TTA, Creative Voice, DSD, MIDI, Shorten and TAK.
    rb"wvpk|MAC |\.RMF|\.ra\xfd|MPCK|MP\+|TTA1|Creative Voice|DSD |MThd|ajkg|tBaK": Refusal.OTHER_FORMAT,
    # Digital Speech Standard: dictating machines.
    rb"[\x02\x03\x06\x07]ds[s2]": Refusal.OTHER_FORMAT,
    # MPEG program streams: .mpg and .vob.
    rb"\x00\x00\x01\xba": Refusal.OTHER_FORMAT,
}
_TEXTS = {
    rb"\s*[\[{]\s*(?:[\"\d\[{\]}-]|true|false|null)": Refusal.JSON,
    rb"": Refusal.TEXT,
}


def container(head: bytes) -> str | None:
    """Return the name of the container that a file with this head is, or was before it was damaged."""
    return _first_match(_CONTAINERS, head)


def refusal(head: bytes) -> Refusal | None:
    """Return the refusal of a file that is certainly no recording; None for all others."""
    if foreign := _first_match(_FOREIGN, head):
        return foreign
    text = head.removeprefix(b"\xef\xbb\xbf")
    return _first_match(_TEXTS, text) if _is_text(text) else None


def _first_match(patterns: dict[bytes, T], head: bytes) -> T | None:
    found = (name for pattern, name in patterns.items() if re.match(pattern, head, re.DOTALL))
    return next(found, None)


def _is_text(head: bytes) -> bool:
    """Return whether these are letters of UTF-8 or UTF-16, without control characters."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return b"\x00" in head[2:6]
    text = head.decode("utf-8", "replace")
    # A letter may be cut at the end of the head.
    text = text[:-3] if len(head) == HEAD_BYTES else text
    return len(text) > 1 and all(c.isprintable() or c in "\t\n\r\f" for c in text) and "\ufffd" not in text


def skip_tags(file: BinaryIO, size: int) -> int:
    """Return the offset behind all ID3v2 tags that lead the file, and the zeros behind them (id3.org, ID3v2.4 3.1)."""
    at = 0
    for _ in range(_MOST_TAGS):
        tag = _tag_bytes(_read(file, at, 10))
        if not tag or at + tag >= size:
            break
        at = _behind_zeros(file, at + tag, size)
    return at


def _tag_bytes(head: bytes) -> int:
    if not re.match(_STARTS["mp3"], head, re.DOTALL):
        return 0
    footer = 10 if head[5] & 0x10 else 0
    return 10 + footer + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def _behind_zeros(file: BinaryIO, at: int, size: int) -> int:
    while at < size and (chunk := _read(file, at, _CHUNK_BYTES)):
        kept = chunk.lstrip(b"\0")
        at += len(chunk) - len(kept)
        if kept:
            # A movie begins with a size of four bytes, whose first ones are zeros too.
            box = re.match(rb"(.{1,4}?)(?:ftyp|moov|mdat|wide|free|skip|pnot)", kept, re.DOTALL)
            return at - (4 - len(box[1])) if box else at
    return at


def starts(file: BinaryIO, kind: str | None, first: int, size: int) -> list[int]:
    """Return the offsets at which recordings begin: the first one, and those joined to it."""
    searches = {"mov": _movies, "ogg": _chains, "mp3": _tagged}
    further = searches[kind](file, first, size) if kind in searches else _matches(file, kind, first, size)
    return [first, *islice((start for start in further if start > first), _MOST_PARTS - 1)]


def _matches(file: BinaryIO, kind: str | None, first: int, size: int) -> Iterator[int]:
    """Return the places where the file matches the pattern of `kind`, from `first` on."""
    return islice(_all_matches(file, _STARTS[kind], first, size), _MOST_MATCHES) if kind in _STARTS else iter(())


def _all_matches(file: BinaryIO, pattern: bytes, first: int, size: int) -> Iterator[int]:
    for at in range(first, size, _CHUNK_BYTES):
        chunk = _read(file, at, _CHUNK_BYTES + _LONGEST_START)
        places = (found.start() for found in re.finditer(pattern, chunk, re.DOTALL))
        yield from (at + place for place in places if place < _CHUNK_BYTES)


def _tagged(file: BinaryIO, first: int, size: int) -> Iterator[int]:
    """Yield the ID3v2 tags that are followed by a frame of MPEG audio."""
    for at in _matches(file, "mp3", first, size):
        behind = at + _tag_bytes(_read(file, at, 10))
        frame = _read(file, behind, 2)
        if len(frame) == 2 and frame[0] == 0xFF and frame[1] & 0xE0 == 0xE0:
            yield at


def _chains(file: BinaryIO, first: int, size: int) -> Iterator[int]:
    """Yield the links of a chained Ogg stream: first pages that follow no other first page (RFC 3533, 4)."""
    expected = first
    for at in _matches(file, "ogg", first, size):
        if at != expected:
            yield at
        expected = _page_end(file, at)


def _page_end(file: BinaryIO, at: int) -> int:
    """Return where the page of Ogg at `at` ends (RFC 3533, 6)."""
    page = _read(file, at, 27 + 255)
    laced = page[26] if len(page) > 26 else 0
    return at + 27 + laced + sum(page[27 : 27 + laced])


def pages_end(file: BinaryIO, at: int, size: int) -> int:
    """Return where the page of Ogg at `at` ends, and those behind it that continue its packet."""
    end = _page_end(file, at)
    while re.match(rb"OggS\x00[\x01\x05]", _read(file, end, 6)) and _page_end(file, end) <= size:
        end = _page_end(file, end)
    return min(end, size)


def is_page(file: BinaryIO, at: int) -> bool:
    """Return whether a page of Ogg begins at `at`."""
    return _read(file, at, 4) == b"OggS"


def boxes_end(file: BinaryIO, first: int, size: int) -> int:
    """Return where the boxes of a movie end, or are damaged."""
    return max((at + length for at, _, length in boxes(file, first, size)), default=size)


def _movies(file: BinaryIO, first: int, size: int) -> Iterator[int]:
    """Yield the movies behind the first one: a type box after a movie box (ISO/IEC 14496-12, 4.3)."""
    complete = False
    for at, name, _ in boxes(file, first, size):
        if name == b"ftyp" and complete:
            yield at
        complete = name == b"moov" or (complete and name != b"ftyp")


def is_fragmented(file: BinaryIO, first: int, size: int) -> bool:
    """Return whether a movie comes in fragments, as streams do (ISO/IEC 14496-12, 8.8)."""
    return any(name == b"moof" for _, name, _ in boxes(file, first, size))


def boxes(file: BinaryIO, first: int, size: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield offset, type and bytes of each box of a movie, at its top (ISO/IEC 14496-12, 4.2)."""
    at = first
    for _ in range(_MOST_BOXES):
        # A box may name any length of 64 bits, and files cannot seek as far.
        head = _read(file, at, 16) if at < size else b""
        if len(head) < 8 or not re.fullmatch(rb"[ -~\xa9]{4}", head[4:8]):
            return
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            length = size - at
        if length < 8:
            return
        yield at, head[4:8], length
        at += length


def named_part(file: BinaryIO, kind: str, start: int, end: int) -> float:
    """Return the sound that a header of CAF or W64 names, in parts of what is there; 0 for none."""
    name, size_at, order, counted = _DATA_CHUNKS[kind]
    at = _read(file, start, HEAD_BYTES).find(name)
    size = int.from_bytes(_read(file, start + at + size_at, 8), order) - counted
    there = end - start - at - size_at - 8
    return size / there if at >= 0 and there > 0 and 0 < size < 1 << 62 else 0.0


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
