"""Voice activity detection: its rules by table, its network on real speech."""

import numpy as np
import pytest

from models.vad import CHUNK_S, SileroVad, close_gaps, hysteresis, widen
from shared.domain.audio import Segment, total_s
from tests.models.speech import Clip


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
    assert found == [Segment(start * CHUNK_S, end * CHUNK_S) for start, end in runs]


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
    assert widen(segments, 0.25, 3.0) == [Segment(0.0, 1.25), Segment(1.75, 3.0)]


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
