"""Sound as values: waveforms, segments, streams and chunks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: float32 samples in [-1, 1], shape (num_samples,).
Samples = NDArray[np.float32]
#: Seconds from one probability of speech to the next.
SPEECH_FRAME_S = 0.032


@dataclass(frozen=True, order=True)
class Segment:
    """Half-open interval [start_s, end_s) of a recording, in seconds; false when empty."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds, never negative."""
        return max(0.0, self.end_s - self.start_s)

    def __bool__(self) -> bool:
        return self.end_s > self.start_s


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono sound: samples of shape (num_samples,) and their rate in Hz."""

    samples: Samples
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    def crop(self, segment: Segment) -> Samples:
        """Return the samples of `segment`, a view: no copy is made."""
        start, end = (round(t * self.sample_rate_hz) for t in (segment.start_s, segment.end_s))
        return self.samples[start:end]

    def join(self, segments: Iterable[Segment]) -> Samples:
        """Return the samples of all `segments`, end to end, shape (num_samples,)."""
        return np.concatenate([self.crop(segment) for segment in segments])


@dataclass(frozen=True, eq=False)
class Stream:
    """Mono sound at 16 kHz in blocks, so that a long recording never has to fit into memory."""

    #: Arrays of shape (num_samples,), end to end.
    blocks: Iterator[Samples]
    #: Length in the file's header, in seconds, None if it has none. It may be wrong.
    claimed_s: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """A chunk of a long recording, cut at a pause."""

    #: Start of the chunk in the recording, in seconds.
    start_s: float
    waveform: Waveform
    #: Segments of speech on the recording's clock, in order and disjoint.
    speech: list[Segment]
    #: Probability of speech in each `SPEECH_FRAME_S` of the chunk, (num_frames,).
    probabilities: NDArray[np.float32]
    #: Whether the chunk is the whole recording.
    is_whole: bool

    @property
    def segment(self) -> Segment:
        """Segment of the recording that the chunk covers."""
        return Segment(self.start_s, self.start_s + self.waveform.duration_s)

    def join(self, segments: Iterable[Segment]) -> Samples:
        """Return the samples of `segments` of the recording, end to end, (num_samples,)."""
        return self.waveform.join(self.inside(segments))

    def inside(self, segments: Iterable[Segment]) -> list[Segment]:
        """Return `segments` of the recording with times from the start of the chunk."""
        return [Segment(s.start_s - self.start_s, s.end_s - self.start_s) for s in segments]


def total_s(segments: Iterable[Segment]) -> float:
    """Return the summed duration of `segments`, in seconds."""
    return sum(segment.duration_s for segment in segments)
