"""Sound as values: tracks, waveforms, segments, streams and chunks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: float32 samples, shape (num_samples,). Full scale is 1; loud sound may exceed it a little.
Samples = NDArray[np.float32]
#: float32 samples of each channel, shape (num_channels, num_samples).
Planar = NDArray[np.float32]
#: Seconds from one probability of speech to the next.
SPEECH_FRAME_S = 0.032
#: Rate at which recordings are decoded, and at which every network hears them.
SAMPLE_RATE_HZ = 16_000
#: How many times as much sound may be lost as was heard, before the number of seconds is left out.
_CREDIBLE = 100


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


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Channels of a recording, and those that are heard: indices from 0, the left one."""

    number: int = 1
    used: tuple[int, ...] = (0,)


@dataclass(frozen=True, kw_only=True)
class Track:
    """Track of a recording that is heard, and what was odd about it and its file."""

    #: Length in seconds.
    duration_s: float = 0.0
    #: Sample rate of the file's sound, where it begins; 0 where it is not known.
    sample_rate_hz: int = 0
    channels: Channels = Channels()
    #: Channels in which there is more than silence or noise.
    voices: tuple[int, ...] = ()
    #: Whether its channels hold different people.
    two_people: bool = False
    #: Whether the recording was too loud for the device that recorded it.
    clipped: bool = False
    #: Sound that could not be read, in seconds.
    lost_s: float = 0.0
    #: Bytes of the file in which there may be sound that was not read.
    unread_bytes: int = 0
    #: Whether the file holds more sound than its header names.
    named_less: bool = False
    #: Whether times in the file are not to be believed.
    clock_broken: bool = False

    @property
    def warning(self) -> str | None:
        """Return what may be wrong with results of it, in sentences; None when nothing is."""
        return " ".join(self._doubts()) or None

    def _doubts(self) -> Iterator[str]:
        if self.lost_s > 0.0:
            yield f"The file is damaged or cut off: {self._lost()} of its sound could not be read."
        if self.unread_bytes:
            yield f"{self.unread_bytes} bytes of the file were not read; there may be sound in them."
        if self.named_less:
            yield "The file holds more sound than its header names; all of it was read."
        if self.clock_broken:
            yield "The times in the file are broken; those of the result count the sound that was heard."
        if self.two_people:
            yield (
                "The channels hold different people; they were mixed. For the voice of one person send one channel, or "
                'name it by `channel`; to diarize, `channel: "each"` takes each channel for one speaker.'
            )
        if self.voices and self.channels.used and not set(self.voices) & set(self.channels.used):
            silent = named(self.channels.used)
            yield f"Nothing but silence or noise is on {silent}; there is sound on {named(self.voices)}."

    def _lost(self) -> str:
        # A damaged header may name any length.
        if self.lost_s > _CREDIBLE * self.duration_s:
            return "most"
        return f"{self.lost_s:.1f} s" if self.lost_s >= 0.05 else "less than 0.1 s"


@dataclass(frozen=True, eq=False)
class Waveform:
    """Mono sound: samples of shape (num_samples,) and their rate in Hz."""

    samples: Samples
    sample_rate_hz: int
    #: What it was decoded from.
    track: Track = Track()

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
    track: Track = Track()


@dataclass(frozen=True, eq=False)
class ChannelStream:
    """Sound at 16 kHz in blocks, the channels of a recording apart."""

    #: Arrays of shape (num_channels, num_samples), end to end.
    blocks: Iterator[Planar]
    track: Track = Track()


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


def united(segments: Iterable[Segment]) -> list[Segment]:
    """Return segments in order, those that overlap or touch as one."""
    found: list[Segment] = []
    for segment in sorted(segments):
        if found and segment.start_s <= found[-1].end_s:
            found[-1] = Segment(found[-1].start_s, max(found[-1].end_s, segment.end_s))
        else:
            found.append(segment)
    return found


def named(channels: Sequence[int]) -> str:
    """Return channels as a text: `channel 0`, `channels 0 and 1`."""
    *others, last = map(str, channels)
    return f"channels {', '.join(others)} and {last}" if others else f"channel {last}"


def total_s(segments: Iterable[Segment]) -> float:
    """Return the summed duration of `segments`, in seconds."""
    return sum(segment.duration_s for segment in segments)
