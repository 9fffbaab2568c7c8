from dataclasses import replace

import numpy as np
import pytest

from shared.domain.audio import Segment, Waveform
from shared.domain.diarization import Diarization, label, merge_turns
from tests.support.toys import THRESHOLDS, ToyEmbedder, turn, voices
from worker.voices.clustering import (
    by_appearance,
    cluster,
    diarize_speech,
    first_heard,
    merge_alike,
    reassign_short_speakers,
    resegment,
    silhouette,
    turns,
    viterbi,
    windows,
)


def test_the_dominant_speaker_speaks_longest_in_all():
    diarization = Diarization([turn(0, 4, "SPEAKER_00"), turn(4, 7, "SPEAKER_01"), turn(8, 10, "SPEAKER_01")])
    assert diarization.dominant_speaker() == "SPEAKER_01"
    assert diarization.seconds() == {"SPEAKER_00": 4, "SPEAKER_01": 5}
    assert diarization.segments("SPEAKER_01") == [Segment(4, 7), Segment(8, 10)]


def test_a_tie_goes_to_whoever_spoke_first():
    assert Diarization([turn(0, 2, "B"), turn(2, 4, "A")]).dominant_speaker() == "B"


def test_only_touching_turns_of_one_speaker_are_joined():
    merged = merge_turns([turn(0, 1, "A"), turn(1, 2, "A"), turn(2, 3, "B"), turn(3.5, 4, "B")])
    assert merged == [turn(0, 2, "A"), turn(2, 3, "B"), turn(3.5, 4, "B")]


def test_labels_have_two_digits():
    assert [label(0), label(11)] == ["SPEAKER_00", "SPEAKER_11"]


def test_joining_segments_gives_their_samples_end_to_end():
    waveform = Waveform(np.arange(16_000, dtype=np.float32), 16_000)
    joined = waveform.join([Segment(0.25, 0.5), Segment(0.75, 1.0)])
    assert joined.tolist() == [*range(4_000, 8_000), *range(12_000, 16_000)]


@pytest.mark.parametrize(
    ("speech_s", "expected"),
    [
        (0.3, [(0, 0.3)]),
        (1.0, [(0, 1.0), (0, 1.0)]),
        (2.5, [(0, 1.5), (0, 1.5), (0.5, 2.0), (1.0, 2.5), (1.0, 2.5)]),
    ],
)
def test_there_is_a_window_round_each_moment_and_none_sticks_out(speech_s, expected):
    assert [(w.start_s, w.end_s) for w in windows(speech_s, 1.5, 0.5)] == expected


def test_one_stray_moment_does_not_change_the_speaker_but_a_turn_does():
    scores = np.array([[1, 0], [1, 0], [0, 1], [2, 0], [0, 1], [0, 1], [0, 1]], np.float32)
    assert viterbi(scores, price=1.5).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert viterbi(scores, price=0.1).tolist() == [0, 0, 1, 0, 1, 1, 1]
    assert viterbi(scores[:1], price=1.0).tolist() == [0]


def test_boundaries_move_to_where_the_voice_changes():
    true, guessed = [0] * 8 + [1] * 8, np.array([0] * 6 + [1] * 10)
    assert resegment(voices(*true), guessed, THRESHOLDS).tolist() == true


def test_halves_of_one_voice_are_made_one_again():
    split = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert merge_alike(voices(0, 0, 0, 0, 0, 0, 1, 1, 1), split, THRESHOLDS).tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_one_voice_is_not_split():
    assert set(cluster(voices(*[3] * 12), THRESHOLDS)) == {0}


@pytest.mark.parametrize("who", [[0] * 6 + [1] * 6, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 1], [0, 1, 2, 3] * 4])
def test_different_voices_are_told_apart(who):
    assert by_appearance(cluster(voices(*who), THRESHOLDS)).tolist() == by_appearance(np.array(who)).tolist()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_windows_does_not_break_clustering(count):
    assert len(cluster(voices(*range(count)), THRESHOLDS)) == count


def test_a_speaker_of_a_moment_goes_to_the_nearest_other():
    labels = reassign_short_speakers(voices(0, 0, 0, 1, 2, 2, 2), np.array([0, 0, 0, 1, 2, 2, 2]), THRESHOLDS)
    assert labels.tolist()[:3] == [0, 0, 0]
    assert labels.tolist()[4:] == [1, 1, 1]


def test_the_silhouette_is_that_of_its_definition():
    points = np.array([0.0, 1.0, 10.0, 11.0, 30.0])
    distances = np.abs(points[:, None] - points)
    widths = [1 - 1 / 10.5, 1 - 1 / 9.5, 1 - 1 / 9.5, 1 - 1 / 10.5, 0.0]
    assert silhouette(distances, np.array([0, 0, 1, 1, 2])) == pytest.approx(np.mean(widths))


def test_no_turn_is_empty_where_speech_pauses_just_between_two_moments():
    speech = [Segment(0.0, 0.6), Segment(1.0, 1.4)]
    assert [t.speaker for t in turns(np.arange(5), 0.2, speech)] == [label(i) for i in range(5)]


def test_speech_that_begins_after_the_last_hop_belongs_to_it():
    # 0.74 s of speech are one hop of 0.5 s, since a second one would have its middle at 0.75 s.
    speech = [Segment(0.0, 0.5), Segment(1.0, 1.24)]
    assert list(turns(np.zeros(1, int), 0.5, speech)) == [turn(0.0, 0.5, label(0)), turn(1.0, 1.24, label(0))]


def test_a_recording_is_diarized_on_its_own_clock():
    speech = [Segment(1.0, 7.0), Segment(10.0, 14.0)]
    voice_per_joined_second = np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 0])
    found = diarize_speech(voice_per_joined_second, speech, ToyEmbedder()).turns
    assert [t.speaker for t in found] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00"]
    assert found[0].segment.start_s == 1.0
    assert found[0].segment.end_s == pytest.approx(4.0, abs=0.5)
    assert found[1].segment.end_s == 7.0
    assert found[2].segment == Segment(10.0, 14.0)


@pytest.mark.parametrize("times", [2, 5])
def test_a_sentence_that_is_repeated_counts_once(times):
    # Sounds of one voice: alike, but no two the same.
    sentence = voices(*[3] * 8, noise=0.2, seed=1)
    again = np.concatenate([sentence] * times)
    thresholds = replace(THRESHOLDS, repeat_cosine=0.99)
    assert first_heard(again, thresholds).tolist() == [*range(8)] * times
    assert cluster(again, thresholds).tolist() == cluster(sentence, thresholds).tolist() * times


def test_neighbours_that_share_their_sound_are_no_repetition():
    sound = voices(0, 0, 0, 0, noise=0.0)
    # Windows of 1.5 s at every 0.5 s share their sound with the two after them.
    assert first_heard(sound, replace(THRESHOLDS, repeat_cosine=0.99)).tolist() == [0, 1, 2, 0]
