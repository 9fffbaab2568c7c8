"""Overlapped speech: the second speaker gets it too, and it counts for nobody's length of speech."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audio import Segment, total_s
from shared.domain.diarization import Diarization, clear_speech, outside
from tests.support.overlaps import Told
from tests.support.toys import THRESHOLDS, ToyEmbedder, chunk, turn
from worker.voices.clustering import diarize_speech
from worker.voices.overlap import find_overlaps, overlapping, runners_up
from worker.voices.progress import Steps


def segments(*edges_s):
    return [Segment(start_s, end_s) for start_s, end_s in edges_s]


def of_thousandths(edges):
    marks = np.cumsum(edges) / 1000
    return [Segment(float(a), float(b)) for a, b in marks[: len(marks) // 2 * 2].reshape(-1, 2)]


SOME = st.lists(st.integers(1, 3000), max_size=12).map(of_thousandths)


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        ([], [(0, 4), (5, 9)]),
        ([(1, 2)], [(0, 1), (2, 4), (5, 9)]),
        ([(3, 6)], [(0, 3), (6, 9)]),
        ([(0, 1), (2, 3), (8, 10)], [(1, 2), (3, 4), (5, 8)]),
        ([(4, 5)], [(0, 4), (5, 9)]),
        ([(0, 10)], []),
    ],
)
def test_what_lies_outside_is_left(gone, left):
    assert outside(segments((0, 4), (5, 9)), segments(*gone)) == segments(*left)


@given(SOME, SOME)
def test_what_is_left_and_what_is_gone_make_the_whole(speech, gone):
    left = outside(speech, gone)
    common = sum(max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s)) for a in speech for b in gone)
    assert total_s(left) + common == pytest.approx(total_s(speech))
    assert left == sorted(left)


@given(SOME)
def test_without_overlaps_the_very_segments_are_left(speech):
    assert outside(speech, []) == clear_speech(speech, []) == speech


def test_overlap_counts_for_nobody_when_the_dominant_speaker_is_found():
    turns = [turn(0, 6, "A"), turn(5.5, 13, "B")]
    assert Diarization(turns).dominant_speaker() == "B"
    found = Diarization(turns, overlaps=segments((5.5, 9)))
    assert found.dominant_speaker() == "A"
    assert found.seconds_alone() == {"A": 5.5, "B": 4.0}
    assert found.seconds() == {"A": 6.0, "B": 7.5}
    assert found.voice_segments("B") == segments((9, 13))


def test_a_voice_is_made_of_overlapped_speech_where_there_is_too_little_else():
    assert clear_speech(segments((0, 5)), segments((1, 3))) == segments((0, 1), (3, 5))
    assert clear_speech(segments((0, 5)), segments((1, 3.1))) == segments((0, 5))


def test_where_nobody_speaks_alone_the_first_one_is_dominant():
    assert Diarization([turn(0, 2, "B"), turn(0, 2, "A")], overlaps=segments((0, 2))).dominant_speaker() == "B"


def test_the_second_speaker_of_a_moment_is_the_nearest_other_one():
    scores = np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.7], [0.3, 0.2, 0.1]], np.float32)
    assert runners_up(scores, np.array([0, 2, 2])).tolist() == [2, 1, 0]


def test_turns_overlap_where_two_people_speak_and_nowhere_else():
    alone = [turn(0, 4, "A"), turn(4, 8, "B"), turn(9, 12, "A")]
    second = [turn(0, 4, "B"), turn(4, 8, "A"), turn(9, 12, "B")]
    found = overlapping(alone, second, segments((3, 4.5), (6, 6.5), (8, 9), (11, 12)))
    assert found == [
        turn(0, 4.5, "A"), turn(3, 8, "B"), turn(6, 6.5, "A"), turn(9, 12, "A"), turn(11, 12, "B")
    ]  # fmt: skip


def test_turns_stay_as_they_are_without_overlap():
    alone = [turn(0, 4, "A"), turn(4, 8, "B"), turn(9, 12, "A")]
    assert overlapping(alone, [turn(0, 4, "B")], []) == alone


def test_a_second_turn_never_shortens_the_turn_it_lies_in():
    # The turn of a short hop was given to the neighbour, who is also second there.
    assert overlapping([turn(0, 4, "A")], [turn(1, 2, "A")], segments((1, 2))) == [turn(0, 4, "A")]


def test_the_overlap_of_a_change_of_speaker_belongs_to_both():
    speech = [Segment(0.0, 8.0)]
    frames = [0, 0, 0, 0, 1, 1, 1, 1]
    plain = diarize_speech(frames, speech, ToyEmbedder())
    assert plain.turns == [turn(0, 4, "SPEAKER_00"), turn(4, 8, "SPEAKER_01")]
    found = diarize_speech(frames, speech, ToyEmbedder(), segments((3.2, 4.3)))
    assert found.turns == [turn(0, 4.3, "SPEAKER_00"), turn(3.2, 8, "SPEAKER_01")]
    assert found.seconds_alone() == pytest.approx({"SPEAKER_00": 3.2, "SPEAKER_01": 3.7})


def test_one_voice_alone_has_nobody_to_overlap_with():
    found = diarize_speech([0] * 8, [Segment(0.0, 8.0)], ToyEmbedder(), segments((3, 4)))
    assert found.turns == [turn(0, 8, "SPEAKER_00")]
    assert found.voice_segments("SPEAKER_00") == segments((0, 3), (4, 8))


def test_a_chunk_gives_overlaps_to_the_nearest_other_speaker_of_the_recording():
    one = chunk([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1])
    alone = one.turns(one.labels)
    scores = np.eye(3, dtype=np.float32)[one.labels] + np.array([0.1, 0.0, 0.2], np.float32)
    assert one.overlapping_turns(alone, one.labels, scores) == alone
    heard = type(one)(**vars(one) | {"overlaps": segments((1.0, 1.5), (3.0, 3.25))})
    found = heard.overlapping_turns(alone, one.labels, scores)
    assert found == [
        turn(0, 2, "SPEAKER_00"), turn(1, 1.5, "SPEAKER_02"), turn(2, 4, "SPEAKER_01"), turn(3, 3.25, "SPEAKER_02")
    ]  # fmt: skip
    assert heard.overlapping_turns(alone, one.labels, scores[:, :1]) == alone
    assert THRESHOLDS.hop_s == 0.5


def test_overlaps_are_on_the_recordings_clock_and_none_is_shorter_than_a_tenth():
    steps = Steps()
    samples = np.zeros(16_000, np.float32)
    told = Told(segments((0.1, 0.3), (0.4, 0.49), (0.5, 0.7)))
    assert find_overlaps(samples, told, steps, 60.0) == segments((60.1, 60.3), (60.5, 60.7))
    assert list(steps.seconds) == ["overlap"]


def test_without_a_detector_there_is_no_overlap_and_no_step():
    steps = Steps()
    assert find_overlaps(np.zeros(16_000, np.float32), None, steps) == []
    assert steps.seconds == {}
