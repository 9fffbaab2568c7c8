"""Diarization as values: turns, speakers, the dominant speaker, overlapped speech."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.domain.audio import Segment, total_s

#: Speech of one person alone that is enough for a voiceprint, in seconds; with less, overlapped speech is better than
#: none.
ENOUGH_ALONE_S = 3.0


@dataclass(frozen=True)
class Turn:
    """Segment with its speaker: a label local to one recording, `SPEAKER_00`."""

    segment: Segment
    speaker: str
    #: Probability of each speaker in %, 0 to 100; None where it was not asked for.
    confidence: Mapping[str, int] | None = None


@dataclass(frozen=True)
class SpeakerTime:
    """Speech of one speaker, in seconds."""

    speaker: str
    seconds: float
    #: Channel that is the speaker's; None where no channel is a speaker's own.
    channel: int | None = None


@dataclass(frozen=True)
class SpeakerHints:
    """Number of speakers of a recording, as far as its sender knows."""

    min_speakers: int = 1
    #: None: any number.
    max_speakers: int | None = None


@dataclass(frozen=True)
class Diarization:
    """The turns of one recording, in order of their start; where two people speak at once, they overlap."""

    turns: Sequence[Turn]
    #: Mean cosine of each speaker's windows to their centroid.
    consistency: Mapping[str, float] = field(default_factory=dict)
    #: Overlapped speech: where two people or more speak at once, in order and disjoint.
    overlaps: Sequence[Segment] = ()
    #: By speaker, where each channel is a speaker's own.
    channels: Mapping[str, int] = field(default_factory=dict)

    @property
    def speakers(self) -> list[str]:
        """Labels, in order of first appearance."""
        return list(dict.fromkeys(turn.speaker for turn in self.turns))

    def segments(self, speaker: str) -> list[Segment]:
        """Return where `speaker` talks."""
        return [turn.segment for turn in self.turns if turn.speaker == speaker]

    def seconds(self) -> dict[str, float]:
        """Return each speaker's total speech, in seconds."""
        return {speaker: total_s(self.segments(speaker)) for speaker in self.speakers}

    @property
    def speaker_times(self) -> list[SpeakerTime]:
        """Each speaker's total speech, in order of first appearance."""
        return [
            SpeakerTime(speaker, seconds, self.channels.get(speaker)) for speaker, seconds in self.seconds().items()
        ]

    def seconds_alone(self) -> dict[str, float]:
        """Return each speaker's total speech outside overlap, in seconds."""
        return {speaker: total_s(outside(self.segments(speaker), self.overlaps)) for speaker in self.speakers}

    def dominant_speaker(self) -> str:
        """Return who speaks longest outside overlap; ties go to the earliest first turn."""
        seconds = self.seconds_alone()
        return max(self.speakers, key=seconds.__getitem__)

    def voice_segments(self, speaker: str) -> list[Segment]:
        """Return the speech of `speaker` that a voiceprint is made from."""
        return clear_speech(self.segments(speaker), self.overlaps)


def label(index: int) -> str:
    """Return the label of the recording's `index`-th speaker: `SPEAKER_00`."""
    return f"SPEAKER_{index:02d}"


def merge_turns(turns: Iterable[Turn]) -> list[Turn]:
    """Join neighbouring turns of one speaker that touch."""
    merged: list[Turn] = []
    for turn in turns:
        last = merged[-1] if merged else None
        if last and last.speaker == turn.speaker and turn.segment.start_s <= last.segment.end_s:
            merged[-1] = Turn(Segment(last.segment.start_s, turn.segment.end_s), turn.speaker)
        else:
            merged.append(turn)
    return merged


def outside(segments: Iterable[Segment], gone: Sequence[Segment]) -> list[Segment]:
    """Return the parts of `segments` that lie in none of the segments `gone`, which are in order and disjoint."""
    parts: list[Segment] = []
    for segment in segments:
        start_s = segment.start_s
        for cut in gone:
            if start_s < cut.end_s and cut.start_s < segment.end_s:
                parts += filter(None, [Segment(start_s, cut.start_s)])
                start_s = cut.end_s
        parts += filter(None, [Segment(start_s, segment.end_s)])
    return parts


def clear_speech(segments: Sequence[Segment], overlaps: Sequence[Segment]) -> list[Segment]:
    """Return the parts of a speaker's `segments` outside overlap, or all of them where too little would be left."""
    left = outside(segments, overlaps)
    return left if total_s(left) >= ENOUGH_ALONE_S else list(segments)
