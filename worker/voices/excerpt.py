"""Voiceprint of who speaks in some segments of a recording, however long it is.

The recording is read block by block. Only the segments stay in memory, with a margin round each: voice activity
detection needs to hear what comes before, and noise is measured in the pauses next to speech.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, islice

import numpy as np

from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Segment, Stream, Waveform, total_s, united
from shared.domain.diarization import Diarization, Turn, label
from shared.domain.errors import NoSpeech, SegmentsOutside
from shared.domain.quality import ALIKE_AS_ONE
from shared.domain.results import VoiceprintResult, sentences
from shared.networks import SpeechDetector
from shared.sound.level import evened
from worker.voices.clustering import MIN_TURN_S, consistency_as_one
from worker.voices.diarization import timed_blocks
from worker.voices.overlap import find_overlaps, inside
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, Speech, voiceprint_of

#: Sound that is heard on each side of a segment, in seconds: a second in all settles the detector's state.
MARGIN_S = 0.5
#: Most that a segment may end behind the recording, in seconds: lossy codecs add as much.
_TOLERANCE_S = 0.5
_SPEAKER = label(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Excerpt:
    """Pieces of a recording, end to end, with a clock of their own."""

    waveform: Waveform
    #: On the recording's clock, in order and disjoint; a whole number of samples each.
    pieces: Sequence[Segment]

    @property
    def _places(self) -> list[tuple[Segment, float]]:
        """Each piece on the excerpt's clock, and what the recording's clock is ahead of it, in seconds."""
        ends_s = accumulate(piece.duration_s for piece in self.pieces)
        return [
            (Segment(end_s - piece.duration_s, end_s), piece.end_s - end_s)
            for piece, end_s in zip(self.pieces, ends_s, strict=True)
        ]

    def speech(self, detector: SpeechDetector) -> list[Segment]:
        """Return the speech of all pieces, on the excerpt's clock; none crosses from one piece to another."""
        return [
            Segment(place.start_s + s.start_s, min(place.start_s + s.end_s, place.end_s))
            for place, _ in self._places
            for s in detector.speech_segments(self.waveform.crop(place))
        ]

    def overlaps(self, nets: Nets, steps: Steps) -> list[Segment]:
        """Return where two people or more speak at once, on the excerpt's clock."""
        return [
            overlap
            for place, _ in self._places
            for overlap in find_overlaps(self.waveform.crop(place), nets.segmentation, steps, place.start_s)
        ]

    def taken_in(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return segments of the recording, as far as they are in the pieces, on the excerpt's clock."""
        return [
            Segment(part.start_s - ahead_s, part.end_s - ahead_s)
            for place, ahead_s in self._places
            for part in inside(Segment(place.start_s + ahead_s, place.end_s + ahead_s), segments)
        ]

    def on_the_recordings_clock(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return segments of the excerpt, none of which crosses from one piece to another, on the recording's clock."""
        return [
            Segment(part.start_s + ahead_s, part.end_s + ahead_s)
            for place, ahead_s in self._places
            for part in inside(place, segments)
        ]


def read_excerpt(stream: Stream, segments: Sequence[Segment], steps: Steps) -> Excerpt:
    """Read the segments of a recording, and no further.

    Parameters
    ----------
    segments : in order and disjoint.

    Raises
    ------
    JobFailure
        The decoder refuses the recording.
    SegmentsOutside
        The recording is shorter.
    """
    duration_s = stream.track.duration_s
    blocks = timed_blocks(stream.blocks, steps)
    # A refusal comes in place of the first block, and the length of what is refused is 0.
    first = list(islice(blocks, 1))
    _require_inside(segments, duration_s)
    whole = Segment(0.0, duration_s)
    widened = united(Segment(s.start_s - MARGIN_S, s.end_s + MARGIN_S) for s in segments)
    bounds = [tuple(round(t * SAMPLE_RATE_HZ) for t in (s.start_s, s.end_s)) for s in inside(whole, widened)]
    parts = _parts(chain(first, blocks), bounds, steps)
    found = [[part for part in own if len(part)] for own in zip(*parts, strict=True)]
    samples = [np.concatenate([np.empty(0, np.float32), *own]) for own in found]
    starts = [start for start, _ in bounds]
    return Excerpt(
        waveform=Waveform(np.concatenate(samples), SAMPLE_RATE_HZ, stream.track),
        pieces=[
            Segment(start / SAMPLE_RATE_HZ, (start + len(own)) / SAMPLE_RATE_HZ)
            for start, own in zip(starts, samples, strict=True)
        ],
    )


def _parts(blocks: Iterable[Samples], bounds: Sequence[tuple[int, ...]], steps: Steps) -> Iterator[list[Samples]]:
    """Yield for each block of a recording its part of each piece, until the last piece is complete."""
    steps.progress(0.0)
    last = bounds[-1][1]
    at = 0
    for block in blocks:
        yield [block[max(0, start - at) : max(0, end - at)].copy() for start, end in bounds]
        at += len(block)
        steps.progress(min(1.0, at / last))
        if at >= last:
            return


def _require_inside(segments: Sequence[Segment], duration_s: float) -> None:
    outside = [s for s in segments if s.start_s >= duration_s or s.end_s > duration_s + _TOLERANCE_S]
    if outside:
        first = f"from {outside[0].start_s:.1f} to {outside[0].end_s:.1f} s"
        raise SegmentsOutside(
            f"The segment {first} ends behind the recording, which lasts {duration_s:.1f} s; take times from a "
            "diarization of this recording."
        )


def make_voiceprint_of_segments(
    excerpt: Excerpt, segments: Sequence[Segment], nets: Nets, steps: Steps
) -> VoiceprintResult:
    """Embed the voice that speaks in the segments; all speech in them is taken for one person's.

    Raises
    ------
    NoSpeech, TooLittleSpeech
    """
    waveform = excerpt.waveform
    with steps("vad"):
        heard = excerpt.speech(nets.vad)
        wanted = excerpt.taken_in(segments)
        own = [part for s in heard for part in inside(s, wanted) if part.duration_s >= MIN_TURN_S]
    if not own:
        none = "Nobody speaks in the segments; send some in which a voice can be heard."
        raise NoSpeech(sentences(none, waveform.track.warning))
    with steps("encode"):
        frames = nets.embedder.encode(evened(waveform.join(own)))
    overlaps = excerpt.overlaps(nets, steps)
    with steps("diarize"):
        consistency = {_SPEAKER: consistency_as_one(frames, total_s(own), nets.embedder)}
    diarization = Diarization([Turn(s, _SPEAKER) for s in own], consistency, overlaps)
    speech = Speech(waveform=waveform, segments=heard, frames=frames, diarization=diarization)
    voice = voiceprint_of(speech, _SPEAKER, nets, steps, who="In the segments somebody")
    return replace(
        voice,
        diarization=_on_the_recordings_clock(excerpt, diarization),
        quality=replace(voice.quality, alike_from=ALIKE_AS_ONE),
        speech_s=total_s(own),
        audio_s=waveform.track.duration_s,
    )


def _on_the_recordings_clock(excerpt: Excerpt, diarization: Diarization) -> Diarization:
    segments = excerpt.on_the_recordings_clock([turn.segment for turn in diarization.turns])
    return replace(
        diarization,
        turns=[Turn(segment, _SPEAKER) for segment in segments],
        overlaps=excerpt.on_the_recordings_clock(diarization.overlaps),
    )
