"""Two people at once: who speaks when and whose voice it is, with the bundled networks and a detector of overlaps."""

from itertools import pairwise

import numpy as np
import pytest

from models.vad import SileroVad
from shared.domain.audio import Samples, Segment, Stream, Waveform, total_s
from shared.domain.diarization import SpeakerHints, Turn, outside
from shared.domain.results import RecordingDiarization, VoiceprintResult
from shared.networks import Embedder, OverlapDetector
from tests.support.overlaps import RATE_HZ, Overlapped, Told, overlapped
from tests.support.speech import Clip
from tests.support.toys import Reader
from worker.voices.diarization import diarize_recording
from worker.voices.overlap import inside
from worker.voices.progress import Steps
from worker.voices.transcription import transcribe_speaker
from worker.voices.voiceprint import Nets, make_voiceprint

ANY = SpeakerHints()
#: Longer than one chunk may be.
LONG_S = 130.0


class Everywhere:
    """Detector that was told where people overlap in a recording that it hears in parts, one after the other."""

    def __init__(self, overlaps: list[Segment]) -> None:
        self.told = overlaps
        self.heard_s = 0.0

    def overlaps(self, samples: Samples) -> list[Segment]:
        """Return the overlaps of the next part."""
        start_s = self.heard_s
        self.heard_s += len(samples) / RATE_HZ
        parts = [part for overlap in self.told for part in inside(overlap, [Segment(start_s, self.heard_s)])]
        return [Segment(part.start_s - start_s, part.end_s - start_s) for part in parts]


@pytest.fixture(scope="module")
def in_turn(clips: list[Clip]) -> Overlapped:
    """Two people in turn, each beginning a second before the other ends."""
    first, second, third, fourth = clips[0], clips[2], clips[1], clips[3]
    return overlapped([(first, 0.0, 1.0), (second, 1.0, 1.0), (third, 1.0, 1.0), (fourth, 1.0, 1.0)])


@pytest.fixture(scope="module")
def talked_over(clips: list[Clip]) -> Overlapped:
    """The first person speaks longest alone; the second one talks over a third, so that they speak longest in all."""
    first, second, third, stranger, fourth = clips[0], clips[2], clips[1], clips[4], clips[3]
    return overlapped([
        (first, 0.0, 1.0), (second, -0.3, 1.0), (third, -0.3, 1.0), (stranger, -0.3, 0.4), (fourth, 4.3, 1.3)
    ])  # fmt: skip


@pytest.fixture(scope="module")
def long(clips: list[Clip]) -> Overlapped:
    """Two people in turn for some minutes; every other change of speaker overlaps."""
    order = [clips[i] for i in (0, 2, 1, 3)]
    return overlapped([
        (order[i % 4], 1.0 if i % 2 else -0.4, 1.0) if i else (order[0], 0.0, 1.0) for i in range(round(LONG_S / 4))
    ])  # fmt: skip


@pytest.fixture(scope="module")
def long_plain(long: Overlapped, vad: SileroVad, ge2e: Embedder) -> RecordingDiarization:
    return listen(long, vad, ge2e, None)


def hear(made: Overlapped, vad: SileroVad, ge2e: Embedder, detector: OverlapDetector | None) -> VoiceprintResult:
    return make_voiceprint(Waveform(made.samples, RATE_HZ), Nets(vad, ge2e, detector), Steps())


def listen(made: Overlapped, vad: SileroVad, ge2e: Embedder, detector: OverlapDetector | None) -> RecordingDiarization:
    stream = Stream(iter(np.array_split(made.samples, 50)))
    return diarize_recording(stream, Nets(vad, ge2e, detector), Steps(), ANY, voices=True)


def nearest(clips: list[Clip], ge2e: Embedder, vector: np.ndarray) -> str:
    return max(clips, key=lambda clip: float(ge2e.embed(clip.samples) @ vector)).speaker


def together(turns: list[Turn]) -> list[Segment]:
    """Return where turns of two people overlap."""
    return [
        Segment(b.segment.start_s, min(a.segment.end_s, b.segment.end_s))
        for a, b in pairwise(turns)
        if b.segment.start_s < a.segment.end_s
    ]


def test_turns_overlap_where_people_do(in_turn: Overlapped, vad: SileroVad, ge2e: Embedder) -> None:
    assert together(hear(in_turn, vad, ge2e, None).diarization.turns) == []
    found = hear(in_turn, vad, ge2e, Told(in_turn.overlaps))
    assert together(found.diarization.turns) == in_turn.overlaps
    assert found.diarization.speakers == ["SPEAKER_00", "SPEAKER_01"]
    assert list(found.timings_s) == ["vad", "encode", "overlap", "diarize", "embed"]


def test_overlap_is_left_out_of_the_voice_and_its_seconds(in_turn: Overlapped, vad: SileroVad, ge2e: Embedder) -> None:
    found = hear(in_turn, vad, ge2e, Told(in_turn.overlaps))
    own = found.diarization.segments(found.dominant_speaker)
    assert found.segments == outside(own, in_turn.overlaps)
    assert total_s(own) - total_s(found.segments) > 2.5
    assert found.voiceprint.capture.net_speech_s == total_s(found.segments)
    assert found.quality.share == pytest.approx(found.diarization.seconds_alone()[found.dominant_speaker] / sum(
        found.diarization.seconds_alone().values()
    ))  # fmt: skip


def test_who_only_speaks_longest_over_others_is_not_the_dominant_speaker(
    talked_over: Overlapped, clips: list[Clip], vad: SileroVad, ge2e: Embedder
) -> None:
    before = hear(talked_over, vad, ge2e, None)
    assert nearest(clips, ge2e, before.voiceprint.vector) == clips[2].speaker
    found = hear(talked_over, vad, ge2e, Told(talked_over.overlaps))
    assert nearest(clips, ge2e, found.voiceprint.vector) == clips[0].speaker
    assert found.warning is None or "nearly the same time" not in found.warning


def test_a_recording_of_overlap_alone_still_has_a_voice(in_turn: Overlapped, vad: SileroVad, ge2e: Embedder) -> None:
    whole = Segment(0.0, len(in_turn.samples) / RATE_HZ)
    found = hear(in_turn, vad, ge2e, Told([whole]))
    assert found.quality.share == 0.0
    assert found.segments == found.diarization.segments("SPEAKER_00")
    assert "two voices speak for nearly the same time" in (found.warning or "")


def test_what_the_dominant_speaker_says_over_others_is_transcribed(
    in_turn: Overlapped, vad: SileroVad, ge2e: Embedder
) -> None:
    heard: list[Samples] = []

    class Recorder(Reader):
        def transcribe(self, samples: Samples) -> str:
            heard.append(samples)
            return "words"

    found = hear(in_turn, vad, ge2e, Told(in_turn.overlaps))
    waveform = Waveform(in_turn.samples, RATE_HZ)
    transcribe_speaker(waveform, found.diarization, found.dominant_speaker, Recorder(), Steps())
    first = found.diarization.segments(found.dominant_speaker)[0]
    overlap = in_turn.overlaps[0]
    kept = Waveform(heard[0], RATE_HZ).crop(
        Segment(overlap.start_s - first.start_s, overlap.end_s - first.start_s)
    )  # fmt: skip
    np.testing.assert_array_equal(kept, waveform.crop(overlap))


def test_a_detector_that_finds_nothing_changes_no_bit(in_turn: Overlapped, vad: SileroVad, ge2e: Embedder) -> None:
    plain, found = (hear(in_turn, vad, ge2e, detector) for detector in (None, Told()))
    np.testing.assert_array_equal(found.voiceprint.vector, plain.voiceprint.vector)
    assert found.voiceprint.capture == plain.voiceprint.capture
    assert (found.diarization, found.quality) == (plain.diarization, plain.quality)
    assert list(plain.timings_s) == ["vad", "encode", "diarize", "embed"]


def test_without_a_detector_a_long_recording_is_as_with_one_that_finds_nothing(
    long: Overlapped, long_plain: RecordingDiarization, vad: SileroVad, ge2e: Embedder
) -> None:
    plain, found = long_plain, listen(long, vad, ge2e, Everywhere([]))
    assert plain.exclusive == plain.diarization.turns
    assert (found.diarization, found.exclusive) == (plain.diarization, plain.exclusive)
    for speaker, voice in plain.voices.items():
        np.testing.assert_array_equal(found.voices[speaker].vector, voice.vector)
        assert found.voices[speaker].capture == voice.capture
    assert "overlap" not in plain.timings_s


def test_a_long_recording_has_overlapping_turns_and_exclusive_ones(
    long: Overlapped, long_plain: RecordingDiarization, clips: list[Clip], vad: SileroVad, ge2e: Embedder
) -> None:
    plain = long_plain
    found = listen(long, vad, ge2e, Everywhere(long.overlaps))
    assert found.exclusive == plain.exclusive
    edges = [edge for turn in found.exclusive or [] for edge in (turn.segment.start_s, turn.segment.end_s)]
    assert edges == sorted(edges)
    starts = [turn.segment.start_s for turn in found.diarization.turns]
    assert starts == sorted(starts)
    assert missed(found.diarization.turns, long) < 0.02 < 0.9 < missed(plain.diarization.turns, long)
    assert all(set(turn.confidence or {}) == {"SPEAKER_00", "SPEAKER_01"} for turn in found.diarization.turns)
    assert {nearest(clips, ge2e, voice.vector) for voice in found.voices.values()} == {"1688", "2609"}
    for speaker, voice in found.voices.items():
        assert voice.capture.net_speech_s == pytest.approx(found.diarization.seconds_alone()[speaker], rel=0.05)


def test_a_chunk_of_overlap_alone_spoils_no_voice_that_other_chunks_hold(
    long: Overlapped, vad: SileroVad, ge2e: Embedder
) -> None:
    found = listen(long, vad, ge2e, Everywhere([Segment(40.0, len(long.samples) / RATE_HZ)]))
    assert set(found.voices) == set(found.diarization.seconds_alone())
    for speaker, voice in found.voices.items():
        assert voice.capture.net_speech_s == pytest.approx(found.diarization.seconds_alone()[speaker], rel=0.05)


def missed(turns: list[Turn], made: Overlapped) -> float:
    """Return the share of the overlaps in which fewer than two people were found, pauses of the clips left out."""
    times_s = np.concatenate([np.arange(o.start_s + 0.3, o.end_s - 0.3, 0.02) for o in made.overlaps])
    count = sum(((times_s >= t.segment.start_s) & (times_s < t.segment.end_s)).astype(int) for t in turns)
    return float(np.mean(count < 2))
