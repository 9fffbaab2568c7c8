"""Fingerprints of recordings, their binary form, and the search for copies among known ones.

All numbers of the binary form are little-endian::

    4 bytes   magic "TMFP"
    1 byte    format version, 1
    4 x n     the words, uint32
    4 bytes   CRC-32 (ISO 3309, as zlib computes it) of all bytes before it
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MAGIC = b"TMFP"
VERSION = 1
_HEAD = struct.Struct("<4sB")
_CHECKSUM = struct.Struct("<I")
#: Seconds from one word to the next.
HOP_S = 0.016
_BITS = 32
#: Words of speech of a block, 2.4 s: what must be alike for a copy. The next block starts half a block later.
_BLOCK = 150
#: Fewest words of speech that two recordings must have in common, 1.5 s.
_LEAST = 94
#: Longest stretch of a recording that one block may span, 6 s. A slightly faster copy drifts.
_SPAN = 375
#: Greatest share of bits that differ between copies, of `_LEAST` words and of a whole block. Actors who speak
#: one sentence twice in one mood come down to 0.28 where 100 words meet, and to 0.32 where 125 do.
_LIMITS = (0.24, 0.28)
#: Steps of the first search, in words: every 8th word of a block against every 4th one of the known recordings. It lost
#: none of 986 copies that a search of all places found; with every 8th known word it lost 14.
_PROBE_STEP = 8
_KNOWN_STEP = 4
#: Greatest share of differing bits that the first search lets pass, and most places it hands on for each block.
_ROUGH_LIMIT = 0.40
_MOST_PLACES = 256
#: Words compared at once, so that they stay in the processor's cache.
_CHUNK = 32_768

Words = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Fingerprint of a recording: a word of 32 bits every 16 ms, (num_frames,), 0 where nobody speaks."""

    words: Words = field(repr=False)

    @property
    def speech_s(self) -> float:
        """Length of the speech it covers, in seconds."""
        return int(np.count_nonzero(self.words)) * HOP_S

    def to_bytes(self) -> bytes:
        """Return the binary form."""
        body = _HEAD.pack(MAGIC, VERSION) + self.words.astype("<u4").tobytes()
        return body + _CHECKSUM.pack(zlib.crc32(body))

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Fingerprint":
        """Read the binary form.

        Raises
        ------
        ValueError
            It is truncated, damaged, foreign, or of a newer format.
        """
        body = raw[: -_CHECKSUM.size]
        if len(body) < _HEAD.size or raw[-_CHECKSUM.size :] != _CHECKSUM.pack(zlib.crc32(body)):
            raise ValueError("the fingerprint is truncated or damaged")
        if _HEAD.unpack_from(body) != (MAGIC, VERSION):
            raise ValueError("this is no fingerprint, or one of a newer format")
        return cls(np.frombuffer(body, "<u4", offset=_HEAD.size).astype(np.uint32))


@dataclass(frozen=True)
class Copy:
    """Speech that a recording shares with a known one: its place in both, and its length, in seconds."""

    #: Index of the known recording.
    index: int
    #: Share of the bits that differ, in the block that is most alike; 0 to 1.
    bit_error_rate: float
    #: Start of what that block has in common, in the recording and in the known one.
    start_s: float
    known_start_s: float
    #: Speech that all blocks found in that known recording have in common with it, to within a block.
    length_s: float


@dataclass(frozen=True, eq=False)
class _Block:
    """Block of a recording: the positions of its words, and the words, both (num_words,)."""

    at: NDArray[np.intp]
    words: Words

    def thin(self) -> "_Block":
        """Return every 8th position of it, as far as there are words."""
        kept = (self.at - self.at[0]) % _PROBE_STEP == 0
        return _Block(self.at[kept], self.words[kept])


@dataclass(frozen=True, order=True)
class _Match:
    """Place of a block in a known recording, `shift` words later than in the one that is searched for."""

    bit_error_rate: float
    index: int
    shift: int
    block: int


def find_copy(probe: Fingerprint, known: Sequence[Fingerprint]) -> Copy | None:
    """Return the known recording that `probe` is a copy of, or shares speech with; None if there is none.

    Each 2.4 s of speech are compared with all places of all known recordings, coarsely first. Speech of less than 1.5 s
    is never found. Of several known recordings the one with the fewest differing bits is returned.
    """
    blocks = list(_blocks(probe.words))
    best = min(_matches(blocks, known), default=None)
    if best is None:
        return None
    # Where many recordings are alike, the first search does not reach all places of each.
    found = known[best.index]
    return _copy([best, *_matches(blocks, [found])], blocks, found.words)


def _matches(blocks: Sequence[_Block], known: Sequence[Fingerprint]) -> Iterator[_Match]:
    if not known:
        return
    places = _Places(known)
    for number, block in enumerate(blocks):
        yield from places.matches(number, block)


class _Places:
    """Known recordings, end to end."""

    def __init__(self, known: Sequence[Fingerprint]) -> None:
        self._known = [fingerprint.words for fingerprint in known]
        self._ends = np.cumsum([len(words) for words in self._known])
        # A block may stick out of the first recording, and of the last one.
        beyond = np.zeros(_SPAN, np.uint32)
        self._thinned = np.concatenate([beyond, *self._known, beyond])[::_KNOWN_STEP].copy()

    def matches(self, number: int, block: _Block) -> Iterator[_Match]:
        """Yield the best match of a block in each known recording that has one."""
        best: dict[int, _Match] = {}
        for place in self._near(block):
            if match := self._match(place, number, block):
                best[match.index] = min(match, best.get(match.index, match))
        yield from best.values()

    def _near(self, block: _Block) -> NDArray[np.intp]:
        """Return places where `block` is roughly alike, in words from the start of the first recording."""
        thin = block.thin()
        steps = (thin.at - thin.at[0]) // _KNOWN_STEP
        wrong = np.concatenate([
            _wrong_bits(thin.words, steps, self._thinned[start : start + _CHUNK + steps[-1]])
            for start in range(0, len(self._thinned) - int(steps[-1]), _CHUNK)
        ])  # fmt: skip
        near = np.flatnonzero(wrong <= _ROUGH_LIMIT * _BITS * len(steps))
        if len(near) > _MOST_PLACES:
            near = near[np.argpartition(wrong[near], _MOST_PLACES)[:_MOST_PLACES]]
        return near * _KNOWN_STEP - _SPAN

    def _match(self, place: int, number: int, block: _Block) -> _Match | None:
        """Return the exact match of `block` near `place`, if there is one."""
        # The middle word is among those in common: they are more than half of a block.
        middle = place + block.at[len(block.at) // 2] - block.at[0]
        if not 0 <= middle < self._ends[-1]:
            return None
        index = int(np.searchsorted(self._ends, middle, side="right"))
        words = self._known[index]
        shift = place - (self._ends[index] - len(words)) - block.at[0]
        shifts = shift + np.arange(-_KNOWN_STEP, _KNOWN_STEP + 1)
        rates, limits = _error_rates(block, words, shifts)
        least = int((rates - limits).argmin())
        if rates[least] > limits[least]:
            return None
        return _Match(float(rates[least]), index, int(shifts[least]), number)


def _blocks(words: Words) -> Iterator[_Block]:
    """Yield the blocks of a recording; the last one ends with it."""
    at = np.flatnonzero(words)
    last = max(0, len(at) - _BLOCK)
    for start in dict.fromkeys([*range(0, last, _BLOCK // 2), last]):
        block = at[start : start + _BLOCK]
        block = block[block - block[:1] < _SPAN]
        if len(block) >= _LEAST:
            yield _Block(block, words[block])


def _wrong_bits(words: Words, steps: NDArray[np.intp], known: Words) -> NDArray[np.uint16]:
    """Count the bits in which `words`, `steps` apart, differ from `known` at each of its places but the last ones."""
    num_places = len(known) - int(steps[-1])
    wrong = np.zeros(num_places, np.uint16)
    for word, step in zip(words, steps, strict=True):
        wrong += np.bitwise_count(known[step : step + num_places] ^ word)
    return wrong


def _error_rates(
    block: _Block, words: Words, shifts: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of differing bits of a block at each shift, and its limit there, both (num_shifts,)."""
    at = block.at + shifts[:, None]
    inside = (at >= 0) & (at < len(words))
    others = np.where(inside, words[np.clip(at, 0, len(words) - 1)], 0)
    meet = others != 0
    num_words = meet.sum(axis=1)
    wrong = (np.bitwise_count(others ^ block.words) * meet).sum(axis=1)
    rates = wrong / np.maximum(_BITS * num_words, 1)
    return rates, np.interp(num_words, (_LEAST, _BLOCK), _LIMITS, left=-1.0)


def _copy(matches: Sequence[_Match], blocks: Sequence[_Block], words: Words) -> Copy:
    """Return the copy that is made of `matches` of one known recording, of `words`, the best of them first."""
    best = matches[0]
    shared = {at for match in matches for at in _common(blocks[match.block], match.shift, words).tolist()}
    start = int(_common(blocks[best.block], best.shift, words)[0])
    return Copy(
        index=best.index,
        bit_error_rate=best.bit_error_rate,
        start_s=start * HOP_S,
        known_start_s=(start + best.shift) * HOP_S,
        length_s=len(shared) * HOP_S,
    )


def _common(block: _Block, shift: int, words: Words) -> NDArray[np.intp]:
    """Return the positions of a block that meet words of the known recording."""
    at = block.at[(block.at + shift >= 0) & (block.at + shift < len(words))]
    return at[words[at + shift] != 0]
