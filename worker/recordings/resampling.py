"""Resampling of decoded frames to 16 kHz, the channels apart."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias, cast

import av
import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import SAMPLE_RATE_HZ, Planar

#: Layouts by number of channels: the resampler must know one, and as it stays the same, nothing is mixed.
LAYOUTS = ("", "mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")
#: Values of samples beyond this are damage: no scale is so large.
_LARGEST = 2.0**31


@dataclass(frozen=True)
class Frame:
    """Samples of one frame as libav gives them."""

    rate_hz: int
    channels: int
    #: libav's name of the sample format, and the samples in it.
    format: str
    raw: NDArray[Any]
    seconds: float
    #: Time of its start, as the container tells.
    at_s: float | None
    #: Whether something before it was damaged.
    behind_damage: bool = False


#: Sound, or seconds in which there is none.
Event: TypeAlias = Frame | float


def resampled(events: Iterator[Event]) -> Iterator[Planar]:
    """Yield blocks at 16 kHz of about a second; a change of rate or channels takes a new resampler."""
    resampler: _Resampler | None = None
    for rate, block in _gathered(events):
        if resampler is None or (rate, len(block)) != resampler.takes:
            yield from resampler.end() if resampler else ()
            resampler = _Resampler(rate, len(block))
        yield from resampler.push(block)
    yield from resampler.end() if resampler else ()


def _gathered(events: Iterator[Event]) -> Iterator[tuple[int, Planar]]:
    """Yield rate and samples (num_channels, num_samples), about a second at a time."""
    early_s = 0.0
    last: Frame | None = None
    for silent, group in groupby(events, lambda event: isinstance(event, float)):
        if not silent:
            for frames in _seconds(cast("Iterator[Frame]", group)):
                yield from _silence(frames[0], early_s)
                yield frames[0].rate_hz, _planar(frames)
                early_s = 0.0
                last = frames[-1]
        elif last:
            yield from _silence(last, sum(cast("Iterator[float]", group)))
        else:
            early_s = sum(cast("Iterator[float]", group))


def _seconds(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    """Yield the frames by the second; those of one list are of one kind."""
    for _, alike in groupby(frames, lambda frame: (frame.rate_hz, frame.channels, frame.format)):
        held: list[Frame] = []
        held_s = 0.0
        for frame in alike:
            held.append(frame)
            held_s += frame.seconds
            if held_s >= 1.0:
                yield held
                held = []
                held_s = 0.0
        if held:
            yield held


def _silence(like: Frame, seconds: float) -> Iterator[tuple[int, Planar]]:
    left = round(seconds * like.rate_hz)
    while left > 0:
        count = min(left, like.rate_hz)
        yield like.rate_hz, np.zeros((like.channels, count), np.float32)
        left -= count


def _planar(frames: list[Frame]) -> Planar:
    """Return the samples of frames of one kind as floats, full scale 1."""
    scaled = _scaled(np.concatenate([frame.raw for frame in frames], axis=1))
    if frames[0].format.endswith("p"):
        return scaled
    return _apart(scaled, frames[0].channels)


def _apart(interleaved: Planar, channels: int) -> Planar:
    return np.ascontiguousarray(interleaved.reshape(-1, channels).T)


def _scaled(raw: NDArray[Any]) -> Planar:
    if raw.dtype == np.uint8:
        return (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
    if raw.dtype.kind == "i":
        return raw.astype(np.float32) * np.float32(2.0 ** (1 - 8 * raw.dtype.itemsize))
    # Float formats may hold not-a-number, and after damage any value.
    return np.where(np.abs(raw) <= _LARGEST, raw, 0).astype(np.float32)


class _Resampler:
    """Resampler to 16 kHz that leaves the channels apart."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self.takes = (rate_hz, channels)
        self._layout = LAYOUTS[channels]
        self._resampler = (
            None
            if rate_hz == SAMPLE_RATE_HZ
            # Interleaved: of eight planes PyAV counts nine, and reads beyond the frame.
            else av.AudioResampler(format="flt", layout=self._layout, rate=SAMPLE_RATE_HZ)
        )

    def push(self, block: Planar) -> Iterator[Planar]:
        """Yield what `block` gives."""
        if self._resampler is None:
            yield block
        elif block.size:
            frame = av.AudioFrame.from_ndarray(block.T.reshape(1, -1), format="flt", layout=self._layout)
            frame.sample_rate = self.takes[0]
            yield from self._arrays(frame)

    def end(self) -> Iterator[Planar]:
        """Yield what is left in the filter."""
        if self._resampler:
            yield from self._arrays(None)

    def _arrays(self, frame: av.AudioFrame | None) -> Iterator[Planar]:
        assert self._resampler
        for out in self._resampler.resample(frame):
            yield _apart(cast("Planar", out.to_ndarray()), self.takes[1])
