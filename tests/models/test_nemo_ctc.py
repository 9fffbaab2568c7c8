"""Conformer-CTC recognisers without a network: stretches of long recordings, and words of log probabilities."""

from pathlib import Path

import numpy as np
import pytest

from models.nemo_ctc import MAX_STRETCH_S, Vocabulary, stretches
from shared.domain.audio import Samples

RATE_HZ = 16_000


def noise(seconds: float) -> Samples:
    samples = np.random.default_rng(5).normal(0.0, 0.1, round(seconds * RATE_HZ))
    return samples.astype(np.float32)


def spoken(vocabulary: Vocabulary, outputs: list[int]) -> str:
    """Return the text of frames whose likeliest outputs these are."""
    return vocabulary.text(np.eye(len(vocabulary.pieces) + 1, dtype=np.float32)[outputs])


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ([], ""),
        ([5, 5, 5], ""),
        ([0, 1, 2], "guten tag"),
        ([0, 0, 5, 1, 1, 2, 2, 5], "guten tag"),
        ([1, 5, 1], "tenten"),
        ([2, 5, 2], "tag tag"),
        ([5, 2, 3, 4], "tag! \u2047"),
    ],
)
def test_greedy_decoding_joins_pieces_and_drops_repeats_and_blanks(outputs: list[int], text: str) -> None:
    vocabulary = Vocabulary(pieces=["\u2581gu", "ten", "\u2581tag", "\u2581!", " \u2047 "], punctuation="!")
    assert spoken(vocabulary, outputs) == text


def test_a_vocabulary_without_punctuation_keeps_each_space() -> None:
    assert spoken(Vocabulary(pieces=["\u2581a", "\u2581!"], punctuation=""), [0, 1]) == "a !"


def test_a_vocabulary_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Vocabulary(pieces=["\u2581gr\u00fc\u00df", "\"e'"], punctuation="'-]\\")
    written.write(tmp_path / "vocabulary.json")
    read = Vocabulary.read(tmp_path / "vocabulary.json")
    assert read == written
    assert spoken(read, [0, 1]) == "gr\u00fc\u00df\"e'"


def test_a_recording_without_a_frame_has_no_stretch() -> None:
    assert list(stretches(np.zeros(159, np.float32))) == []
    assert [len(one) for one in stretches(np.zeros(160, np.float32))] == [160]


def test_a_short_recording_is_heard_at_once() -> None:
    samples = noise(20.0)
    assert [len(one) for one in stretches(samples)] == [MAX_STRETCH_S * RATE_HZ]


def test_a_long_recording_is_cut_in_its_pauses_and_nothing_is_lost() -> None:
    samples = noise(70.0)
    pauses_s = (7.0, 14.0, 29.5, 45.0, 60.0)
    for start_s in pauses_s:
        samples[round(start_s * RATE_HZ) : round((start_s + 0.5) * RATE_HZ)] *= 0.01
    cut = list(stretches(samples))
    np.testing.assert_array_equal(np.concatenate(cut), samples)
    assert max(len(one) for one in cut) <= MAX_STRETCH_S * RATE_HZ
    ends_s = np.cumsum([len(one) for one in cut])[:-1] / RATE_HZ
    assert len(ends_s) == 4
    assert all(any(start_s < end_s < start_s + 0.5 for start_s in pauses_s) for end_s in ends_s)


def test_sound_without_pauses_is_cut_all_the_same() -> None:
    cut = list(stretches(np.ones(50 * RATE_HZ, np.float32)))
    assert sum(len(one) for one in cut) == 50 * RATE_HZ
    assert max(len(one) for one in cut) <= MAX_STRETCH_S * RATE_HZ
