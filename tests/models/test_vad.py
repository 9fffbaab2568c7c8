"""Voice activity detection: its rules by table, its network on real speech."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from models.vad import FRAME_S, SileroStream, SileroVad, close_gaps, hysteresis, widen
from shared.domain.audio import Chunk, Samples, Segment, total_s
from tests.support.speech import Clip


@pytest.mark.parametrize(
    ("probabilities", "runs"),
    [
        ([], []),
        ([0.1, 0.2], []),
        ([0.49, 0.4], []),
        ([0.5], [(0, 1)]),
        ([0.1, 0.9, 0.9, 0.1], [(1, 3)]),
        ([0.9, 0.4, 0.36, 0.9, 0.3], [(0, 4)]),
        ([0.9, 0.3, 0.45, 0.9], [(0, 1), (3, 4)]),
        ([0.9, 0.1, 0.9], [(0, 1), (2, 3)]),
    ],
)
def test_speech_starts_at_the_threshold_and_ends_below_the_lower_one(
    probabilities: list[float], runs: list[tuple[int, int]]
) -> None:
    found = hysteresis(np.array(probabilities, np.float32), on=0.5, off=0.35)
    assert found == [Segment(start * FRAME_S, end * FRAME_S) for start, end in runs]


@pytest.mark.parametrize(
    ("segments", "min_gap_s", "joined"),
    [
        ([], 0.1, []),
        ([(0.0, 1.0)], 0.1, [(0.0, 1.0)]),
        ([(0.0, 1.0), (1.05, 2.0)], 0.1, [(0.0, 2.0)]),
        ([(0.0, 1.0), (1.5, 2.0)], 0.1, [(0.0, 1.0), (1.5, 2.0)]),
        ([(0.0, 1.0), (1.0, 2.0)], 0.0, [(0.0, 2.0)]),
        ([(0.0, 1.2), (1.0, 2.0), (1.9, 3.0)], 0.0, [(0.0, 3.0)]),
    ],
)
def test_pauses_shorter_than_the_least_belong_to_speech(
    segments: list[tuple[float, float]], min_gap_s: float, joined: list[tuple[float, float]]
) -> None:
    assert close_gaps([Segment(*s) for s in segments], min_gap_s) == [Segment(*s) for s in joined]


def test_widening_stays_inside_the_recording() -> None:
    segments = [Segment(0.1, 1.0), Segment(2.0, 2.9)]
    assert widen(segments, 0.25, Segment(0.0, 3.0)) == [Segment(0.0, 1.25), Segment(1.75, 3.0)]


def test_an_utterance_is_found_between_silences(vad: SileroVad, clips: list[Clip]) -> None:
    silence = np.zeros(32_000, np.float32)
    utterance = clips[0].samples
    speech = vad.speech_segments(np.concatenate([silence, utterance, silence]))
    assert 1.9 < speech[0].start_s < 3.0
    assert 2.0 + len(utterance) / 16_000 - 1.0 < speech[-1].end_s < 2.2 + len(utterance) / 16_000
    assert total_s(speech) > 0.6 * len(utterance) / 16_000


def test_segments_are_ordered_disjoint_and_inside_the_recording(vad: SileroVad, clips: list[Clip]) -> None:
    samples = np.concatenate([clip.samples for clip in clips])
    for pad_s in (0.03, 0.2):
        speech = vad.speech_segments(samples, pad_s=pad_s)
        edges = [edge for segment in speech for edge in (segment.start_s, segment.end_s)]
        assert edges == sorted(edges)
        assert edges[0] >= 0.0 and edges[-1] <= len(samples) / 16_000


def test_a_lower_threshold_finds_more_speech(vad: SileroVad, clips: list[Clip]) -> None:
    samples = clips[0].samples
    assert total_s(vad.speech_segments(samples, threshold=0.2)) >= total_s(vad.speech_segments(samples, threshold=0.8))


def test_silence_noise_and_a_tone_hold_no_speech(vad: SileroVad) -> None:
    noise = np.random.default_rng(1).normal(0.0, 0.05, 48_000).astype(np.float32)
    tone = (0.3 * np.sin(2 * np.pi * 440 / 16_000 * np.arange(48_000))).astype(np.float32)
    for samples in (np.zeros(48_000, np.float32), np.zeros(0, np.float32), noise, tone):
        assert vad.speech_segments(samples) == []


@pytest.mark.parametrize(("num_samples", "num_chunks"), [(0, 0), (1, 1), (512, 1), (513, 2), (48_000, 94)])
def test_there_is_one_probability_for_each_32_ms(vad: SileroVad, num_samples: int, num_chunks: int) -> None:
    probabilities = vad.probabilities(np.zeros(num_samples, np.float32))
    assert probabilities.shape == (num_chunks,)
    assert probabilities.dtype == np.float32


def test_the_beginning_does_not_depend_on_what_follows(vad: SileroVad, clips: list[Clip]) -> None:
    samples = clips[0].samples
    np.testing.assert_allclose(vad.probabilities(samples[: 512 * 40]), vad.probabilities(samples)[:40], atol=1e-5)


def heard(vad: SileroVad, samples: Samples, block: int) -> list[Chunk]:
    stream = vad.listen()
    chunks = [chunk for i in range(0, len(samples), block) for chunk in stream.hear(samples[i : i + block])]
    return [*chunks, stream.end()]


@pytest.mark.parametrize("block", [16_001, 480_000, 10_000_000])
def test_a_recording_in_blocks_holds_the_speech_that_one_pass_finds(
    vad: SileroVad, clips: list[Clip], block: int
) -> None:
    samples = np.concatenate([clip.samples for clip in clips] * 12)[: 400 * 16_000 + 77]
    chunks = heard(vad, samples, block)
    assert len(chunks) > 3
    assert [s for chunk in chunks for s in chunk.speech] == vad.speech_segments(samples)
    np.testing.assert_array_equal(np.concatenate([chunk.waveform.samples for chunk in chunks]), samples)
    np.testing.assert_allclose(
        np.concatenate([chunk.probabilities for chunk in chunks]), vad.probabilities(samples), atol=1e-4
    )


def test_pieces_follow_each_other_and_are_never_longer_than_two_minutes(vad: SileroVad, clips: list[Clip]) -> None:
    chunks = heard(vad, np.concatenate([clip.samples for clip in clips] * 8), 480_000)
    for chunk, following in pairwise(chunks):
        assert following.start_s == pytest.approx(chunk.start_s + chunk.waveform.duration_s)
        assert 60.0 <= chunk.waveform.duration_s <= 120.0
    assert not any(chunk.is_whole for chunk in chunks)


def test_two_minutes_are_one_piece(vad: SileroVad, clips: list[Clip]) -> None:
    (chunk,) = heard(vad, np.concatenate([clip.samples for clip in clips] * 8)[: 119 * 16_000], 480_000)
    assert chunk.is_whole


def test_where_nobody_pauses_a_piece_ends_in_the_midst_of_speech() -> None:
    endless = SileroStream(AllSpeech(), threshold=0.35, pad_s=0.1)  # type: ignore[arg-type]
    chunks = [*endless.hear(np.zeros(300 * 16_000, np.float32)), endless.end()]
    assert [chunk.speech for chunk in chunks] == [
        [Segment(0.0, 120.0)],
        [Segment(120.0, 240.0)],
        [Segment(240.0, 300.0)],
    ]


class AllSpeech:
    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        return np.ones(len(samples) // 512, np.float32)

    def end(self) -> NDArray[np.float32]:
        return np.ones(0, np.float32)
