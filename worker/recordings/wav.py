"""Headers of WAV files, as recorders really write them (Microsoft's RIFF, 1991; RF64 in EBU Tech 3306; BW64)."""

import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from worker.recordings.decoder_protocol import RATES_HZ, Refusal, Refused
from worker.recordings.part import Part

MAX_CHANNELS = 8
PCM = 1
_FLOAT = 3
ALAW = 6
MULAW = 7
_EXTENSIBLE = 0xFFFE
#: Sizes from here on stand for "to the end": of a stream, its writer does not know the size.
_STREAMED_BYTES = 0x7FFF0000
_MOST_CHUNKS = 1000
#: Farthest that stray bytes may push the next chunk away.
_STRAY_BYTES = 1 << 16
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_ .\-]{3}")
_KNOWN_CHUNK = re.compile(rb"fmt |data|LIST|fact|bext|id3 |ID3 |cue |smpl|JUNK|junk|PAD |iXML|axml|ds64|afsp|_PMX|PEAK")
#: Fewest bytes behind the samples that are worth a look.
_REST_BYTES = 4096
#: Least correlation of neighbouring samples of speech, even at 8 kHz; text and packed data have about 0.
_LEAST_CORRELATION = 0.5
_PROBES = 16
_PROBE_BYTES = 16_384


@dataclass(frozen=True)
class Format:
    """The chunk "fmt "."""

    tag: int
    channels: int
    rate_hz: int
    byte_rate: int
    block_bytes: int
    bits: int
    extra: bytes
    big_endian: bool

    @property
    def sample_bytes(self) -> int:
        """Bytes that hold one sample: `block_bytes` tells, unless it contradicts the bits."""
        container, odd = divmod(self.block_bytes, self.channels)
        needed = (self.bits + 7) // 8
        return container if not odd and needed <= container <= 8 else needed

    @property
    def raw(self) -> str | None:
        """Return libav's name of the raw format of the samples; None for codecs."""
        end = "be" if self.big_endian else "le"
        if self.tag == PCM:
            return {1: "u8", 2: f"s16{end}", 3: f"s24{end}", 4: f"s32{end}"}.get(self.sample_bytes)
        if self.tag == _FLOAT:
            return {4: f"f32{end}", 8: f"f64{end}"}.get(self.sample_bytes)
        return {ALAW: "alaw", MULAW: "mulaw"}.get(self.tag)

    @property
    def raw_block_bytes(self) -> int:
        """Bytes of one sample of all channels, of a raw format."""
        return self.channels * (1 if self.tag in (ALAW, MULAW) else self.sample_bytes)


@dataclass(frozen=True)
class Data:
    """The chunk "data": where its samples begin, and the bytes that it names; None for "to the end"."""

    at: int
    named: int | None


def header(file: BinaryIO, start: int, end: int) -> tuple[Format | None, Data | None]:
    """Return the format and the samples that a WAV file between `start` and `end` names; None for what is missing."""
    return _Reader(file, start, end).scan()


def parts(file: BinaryIO, start: int, end: int) -> list[Part]:
    """Return what a WAV file between `start` and `end` holds: its samples, and more of them behind their named end.

    Raises
    ------
    Refused
    """
    reader = _Reader(file, start, end)
    form, data = reader.scan()
    if form is None or data is None or form.channels == 0:
        raise Refused(Refusal.DAMAGED)
    if form.rate_hz not in RATES_HZ or form.channels > MAX_CHANNELS:
        raise Refused(Refusal.OUT_OF_RANGE)
    return _raw_parts(reader, form, data) if form.raw else [_coded_part(reader, form, data)]


def _raw_parts(reader: "_Reader", form: Format, data: Data) -> list[Part]:
    assert form.raw
    block = form.raw_block_bytes
    options = {"sample_rate": str(form.rate_hz), "ch_layout": f"{form.channels}c"}
    named_end = reader.named_end(data)
    rest = reader.rest(named_end)
    if rest == named_end:
        # A size that is wrong may end within a sample.
        rest = named_end = data.at + (named_end - data.at) // block * block
    sound = reader.end - rest >= _REST_BYTES and _is_sound(reader, form, rest)
    unread = 0 if sound else reader.unread(rest)
    ends = reader.end if sound and rest == named_end else named_end
    named_s = None if data.named is None else data.named / (block * form.rate_hz)
    found = [Part(data.at, ends, form.raw, options, b"", named_s, sound, unread)]
    if sound and rest != named_end:
        found.append(Part(rest, reader.end, form.raw, options))
    return found


def _coded_part(reader: "_Reader", form: Format, data: Data) -> Part:
    """Return samples of a codec behind a header that libav reads without doubt."""
    ends = reader.named_end(data)
    unread = reader.unread(reader.rest(ends))
    named_s = data.named / form.byte_rate if data.named and form.byte_rate else None
    chunk = struct.pack(
        "<HHIIHHH", form.tag, form.channels, form.rate_hz, form.byte_rate, form.block_bytes, form.bits, len(form.extra)
    )
    chunk += form.extra + bytes(len(form.extra) % 2)
    header = b"fmt " + struct.pack("<I", len(chunk)) + chunk + b"data" + struct.pack("<I", ends - data.at)
    prefix = b"RIFF" + struct.pack("<I", 4 + len(header) + ends - data.at) + b"WAVE" + header
    return Part(data.at, ends, "wav", {}, prefix, named_s, False, unread)


class _Reader:
    """Reader of chunks; it forgives missing pad bytes, stray bytes between chunks, and sizes that are wrong."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file = file
        self._start = start
        self.end = end
        self._big_endian = self._read(start, 4) == b"RIFX"
        self._order: Literal["big", "little"] = "big" if self._big_endian else "little"

    def scan(self) -> tuple[Format | None, Data | None]:
        """Return the format and the samples, as the first chunks of these names tell."""
        form = data = None
        long_bytes = None
        for name, at, size in self._chunks(self._start + 12):
            if name == b"ds64":
                long_bytes = int.from_bytes(self._read(at + 8, 8), "little")
            elif name == b"fmt " and form is None:
                form = self._format(at, size)
            elif name == b"data" and data is None:
                data = Data(at, self._named(size, long_bytes))
            if form and data:
                break
        return form, data

    def rest(self, at: int) -> int:
        """Return the offset behind `at` from which on there are no more chunks."""
        for _, start, size in self._chunks(at, strict=True):
            at = min(self.end, start + size)
        return at

    def named_end(self, data: Data) -> int:
        """Return where the samples end, as far as their chunk names it."""
        return self.end if data.named is None else min(self.end, data.at + data.named)

    def unread(self, at: int) -> int:
        """Return the bytes from `at` to the end, 0 if they are few or nothing but padding."""
        return 0 if self.end - at < _REST_BYTES or self._is_empty(at) else self.end - at

    def _is_empty(self, at: int) -> bool:
        first = self._read(at, 1)
        return all(not chunk.strip(first) for chunk in self.pieces(at))

    def pieces(self, at: int) -> Iterator[bytes]:
        """Yield all bytes from `at` to the end."""
        while chunk := self._read(at, 1 << 20):
            yield chunk
            at += len(chunk)

    def _named(self, size: int, long_bytes: int | None) -> int | None:
        if size == 0xFFFFFFFF and long_bytes is not None and long_bytes < 1 << 62:
            size = long_bytes
        elif size >= _STREAMED_BYTES:
            size = 0
        return size or None

    def _chunks(self, at: int, strict: bool = False) -> Iterator[tuple[bytes, int, int]]:
        """Yield name, start and size of the chunks; `strict` allows no stray bytes, and no chunk past the end."""
        for _ in range(_MOST_CHUNKS):
            found = self._next(at, strict)
            if found is None or found + 8 > self.end:
                return
            at = found
            name = self._read(at, 4)
            size = int.from_bytes(self._read(at + 4, 4), self._order)
            if strict and at + 8 + size > self.end:
                return
            yield name, at + 8, size
            at += 8 + size

    def _next(self, at: int, strict: bool) -> int | None:
        """Return where the chunk at `at` really begins: there, behind a pad byte, or behind stray bytes."""
        padded = at + (at - self._start) % 2
        for pattern, candidate in itertools.product((_KNOWN_CHUNK, _CHUNK_NAME), (padded, at, at + 1)):
            if pattern.match(self._read(candidate, 4)):
                return candidate
        if strict:
            return None
        known = _KNOWN_CHUNK.search(self._read(at, _STRAY_BYTES))
        return at + known.start() if known else None

    def _format(self, at: int, size: int) -> Format | None:
        raw = self._read(at, min(size, 1 << 10))
        if len(raw) < 14:
            return None
        fields = struct.unpack((">" if self._big_endian else "<") + "HHIIHH", raw[:16].ljust(16, b"\0"))
        tag, channels, rate_hz, byte_rate, block_bytes, bits = fields
        extra = raw[18:]
        if tag == _EXTENSIBLE:
            tag = int.from_bytes(extra[6:8], self._order) or PCM
            extra = extra[22:]
        return Format(tag, channels, rate_hz, byte_rate, block_bytes, bits, extra, self._big_endian)

    def _read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        return self._file.read(max(0, min(count, self.end - at)))


def _is_sound(reader: _Reader, form: Format, at: int) -> bool:
    """Return whether the bytes from `at` on are samples: neighbours in a channel are alike."""
    products = squares = 0.0
    step = max(_PROBE_BYTES, (reader.end - at) // _PROBES) // form.raw_block_bytes * form.raw_block_bytes
    for start in range(at, reader.end, step):
        samples = _samples(next(reader.pieces(start), b"")[:_PROBE_BYTES], form)
        if len(samples) < 2:
            break
        samples = np.where(np.isfinite(samples), samples, 0.0)
        samples -= samples.mean(axis=0)
        products += float((samples[1:] * samples[:-1]).sum())
        squares += float((samples**2).sum())
    return products > _LEAST_CORRELATION * squares


def _samples(raw: bytes, form: Format) -> NDArray[np.float64]:
    """Return samples (num_samples, channels); of each, the bytes that matter most are enough."""
    width = form.raw_block_bytes // form.channels
    blocks = np.frombuffer(raw[: len(raw) // form.raw_block_bytes * form.raw_block_bytes], np.uint8)
    shaped = blocks.reshape(-1, form.channels, width)
    order = ">" if form.big_endian else "<"
    if form.tag == _FLOAT:
        return np.ascontiguousarray(shaped).view(f"{order}f{width}")[..., 0].astype(np.float64)
    if width > 1:
        high = shaped[..., :2] if form.big_endian else shaped[..., -2:]
        return np.ascontiguousarray(high).view(f"{order}i2")[..., 0].astype(np.float64)
    bytes_ = shaped[..., 0].astype(np.float64)
    return bytes_ - 128 if form.tag == PCM else _companded(shaped[..., 0], form.tag)


def _companded(code: NDArray[np.uint8], tag: int) -> NDArray[np.float64]:
    """Return the samples of G.711 on a scale that keeps their signs and their order."""
    plain = code ^ (0x55 if tag == ALAW else 0xFF)
    exponent = (plain >> 4) & 7
    size = (16.0 + (plain & 15)) * 2.0**exponent - 16.0
    negative = (plain & 0x80 == 0) if tag == ALAW else (plain & 0x80 != 0)
    return np.where(negative, -size, size)
