"""Tuning of thresholds on toy voices, and which gain counts as one."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from shared.domain.audio import Segment
from tests.support.toys import THRESHOLDS, turn, voices
from worker.voices.chunks import EmbeddedChunk
from worker.voices.error_rate import DiarizationError
from worker.voices.tuning import Comparison, Conversation, Tuner


def conversation(seed, *lengths):
    """Two toy voices who take turns of so many seconds, the whole recording one chunk."""
    hops = [k % 2 for k, length in enumerate(lengths) for _ in range(2 * length)]
    edges = np.cumsum([0, *lengths]).tolist()
    embeddings = voices(*hops, seed=seed)
    chunk = EmbeddedChunk(
        segment=Segment(0.0, edges[-1]), speech=[Segment(0.0, edges[-1])], activity=np.zeros(0, np.uint8),
        is_whole=True, embeddings=embeddings, coordinates=embeddings.astype(np.float16),
        basis=np.eye(16, dtype=np.float16),
    )  # fmt: skip
    reference = [turn(*span, "ab"[k % 2]) for k, span in enumerate(pairwise(edges))]
    return Conversation(name=f"{seed}.wav", reference=reference, duration_s=edges[-1], chunks=[chunk])


CONVERSATIONS = [conversation(seed, 3 + seed, 5, 4, 3) for seed in range(6)]


def errors(*wrong_s):
    return [DiarizationError(speech_s=20.0, missed_s=0.0, false_alarm_s=0.0, confused_s=wrong) for wrong in wrong_s]


def test_thresholds_that_merge_everybody_are_mended_on_conversations_held_out():
    merging = replace(THRESHOLDS, merge_cosine=-1.0)
    tuner = Tuner(CONVERSATIONS, merging)
    comparison = tuner.cross_validate(lambda line: None)
    before, after = comparison.rates
    assert before > 0.3
    assert after < 0.05
    assert comparison.is_better
    assert tuner.tune().merge_cosine > 0.0


def test_thresholds_that_cannot_be_bettered_are_left_as_they_are():
    tuner = Tuner(CONVERSATIONS, THRESHOLDS)
    assert tuner.tune() == THRESHOLDS
    assert not tuner.cross_validate(lambda line: None).is_better


@pytest.mark.parametrize(
    ("before", "after", "is_better"),
    [
        ((5, 6, 5, 6, 5, 6), (4, 4, 4, 5, 3, 5), True),
        ((5, 6, 5, 6, 5, 6), (5, 6, 5, 6, 5, 6), False),
        # One conversation of six gained much.
        ((9, 6, 5, 6, 5, 6), (1, 6, 5, 6, 5, 6), False),
        ((5, 6, 5, 6, 5, 6), (2, 9, 1, 8, 2, 8), False),
        ((5, 6, 5, 6, 5, 6), (6, 7, 6, 7, 6, 7), False),
    ],
)
def test_a_gain_counts_if_it_is_beyond_two_standard_errors(before, after, is_better):
    assert Comparison(before=errors(*before), after=errors(*after)).is_better == is_better
