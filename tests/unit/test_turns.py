"""Turns laid on the recording's clock: none is too short to be one, whatever the hops and the segments are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audio import Segment, total_s
from shared.domain.diarization import merge_turns
from tests.support.toys import chunk, turn
from worker.voices.clustering import MIN_TURN_S, turns, windows, without_short_turns
from worker.voices.confidence import probabilities, turn_confidence

HOPS_S = st.sampled_from([0.2, 0.5])
LEAST_S = MIN_TURN_S - 1e-6


def speech_of(least_ms):
    """Segments of `least_ms` and more, in order, with pauses between them."""
    spans = st.tuples(st.integers(1, 900), st.integers(least_ms, 2000))

    def laid(lengths_ms):
        edges_s = np.cumsum(lengths_ms).reshape(-1, 2) / 1000
        return [Segment(float(start_s), float(end_s)) for start_s, end_s in edges_s]

    return st.lists(spans, min_size=1, max_size=8).map(laid)


def labels_of(speech, hop_s, data):
    count = len(windows(total_s(speech), 1.0, hop_s))
    return np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))


@given(speech_of(least_ms=1), HOPS_S, st.data())
def test_no_turn_is_short_and_only_segments_that_are_short_themselves_go_missing(speech, hop_s, data):
    found = without_short_turns(turns(labels_of(speech, hop_s, data), hop_s, speech))
    assert all(t.segment.duration_s >= LEAST_S for t in found)
    edges_s = [edge_s for t in found for edge_s in (t.segment.start_s, t.segment.end_s)]
    assert edges_s == sorted(edges_s)
    assert all(any(s.start_s <= t.segment.start_s and t.segment.end_s <= s.end_s for s in speech) for t in found)
    missing = [s for s in speech if s.duration_s < LEAST_S]
    assert total_s(t.segment for t in found) == pytest.approx(total_s(speech) - total_s(missing))


@given(speech_of(least_ms=224), st.data())
def test_no_speaker_is_lost_in_segments_that_are_longer_than_a_hop(speech, data):
    labels = labels_of(speech, 0.2, data)
    before = list(turns(labels, 0.2, speech))
    assert {t.speaker for t in without_short_turns(before)} == {t.speaker for t in before}


@given(speech_of(least_ms=1), HOPS_S, st.data())
def test_turns_that_are_long_enough_keep_all_their_time(speech, hop_s, data):
    before = merge_turns(turns(labels_of(speech, hop_s, data), hop_s, speech))
    after = without_short_turns(before)
    for t in before:
        if t.segment.duration_s >= LEAST_S:
            holders = [
                a for a in after if a.segment.start_s <= t.segment.start_s and t.segment.end_s <= a.segment.end_s
            ]
            assert [a.speaker for a in holders] == [t.speaker]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([turn(0, 1, "A"), turn(1, 1.024, "B"), turn(2, 3, "B")], [turn(0, 1.024, "A"), turn(2, 3, "B")]),
        ([turn(0, 1, "A"), turn(2, 2.04, "A"), turn(2.04, 3, "B")], [turn(0, 1, "A"), turn(2, 3, "B")]),
        ([turn(0, 1, "A"), turn(1, 1.05, "B"), turn(1.05, 3, "C")], [turn(0, 1, "A"), turn(1, 3, "C")]),
        ([turn(0, 1, "A"), turn(1, 1.05, "B"), turn(1.05, 3, "A")], [turn(0, 3, "A")]),
        ([turn(0, 0.07, "A"), turn(0.07, 0.15, "B")], [turn(0, 0.15, "B")]),
        ([turn(0, 1, "A"), turn(2, 2.05, "B"), turn(3, 4, "A")], [turn(0, 1, "A"), turn(3, 4, "A")]),
        ([turn(0, 0.05, "A")], []),
        ([], []),
    ],
    ids=["end of a segment", "start", "longer neighbour", "between", "two short", "alone", "only one", "none"],
)
def test_a_short_turn_goes_to_the_longest_turn_that_touches_it(before, after):
    assert without_short_turns(before) == after


def test_each_turn_of_a_chunk_has_a_confidence():
    # 0.52 s of speech, then a pause: 20 ms of the second hop, whose speaker is another, are left before it.
    one = chunk([0, 1, 1, 1], [0, 1, 1, 1], speech=[Segment(0.0, 0.52), Segment(2.0, 3.48)])
    found = one.turns(one.labels)
    assert found == [turn(0.0, 0.52, "SPEAKER_00"), turn(2.0, 3.48, "SPEAKER_01")]
    sure = turn_confidence(one, found, probabilities(one, np.eye(16, dtype=np.float32)[:2]))
    assert [max(each, key=each.__getitem__) for each in sure] == ["SPEAKER_00", "SPEAKER_01"]
