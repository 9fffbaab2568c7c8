"""Who of one chunk of a recording is who of another, with voices that are orthogonal."""

import numpy as np
import pytest

from shared.domain.diarization import SpeakerHints
from tests.support.toys import THRESHOLDS, chunk, voices
from worker.voices.chunks import LocalSpeaker
from worker.voices.clustering import by_appearance, cluster
from worker.voices.linking import link, link_speakers

ANY = SpeakerHints()


def locals_of(*who, seconds=10.0, seed=0):
    found = voices(*who, noise=0.05, seed=seed)
    return [LocalSpeaker(centroid=centroid, seconds=seconds, voice=None) for centroid in found]


def linked(*chunks, hints=ANY):
    speakers = [locals_of(*who, seed=i) for i, who in enumerate(chunks)]
    return [own.tolist() for own in link_speakers(speakers, THRESHOLDS, hints)]


def test_speakers_keep_their_number_from_piece_to_piece():
    assert linked([3, 5], [5, 3], [5], [], [7, 3]) == [[0, 1], [1, 0], [1], [], [2, 0]]


def test_silence_has_no_speakers():
    assert linked([], []) == [[], []]


def test_who_was_told_apart_in_one_piece_stays_apart():
    blend = LocalSpeaker(centroid=unit(voices(1)[0] + voices(2)[0]), seconds=10.0, voice=None)
    chunks = [locals_of(1, 2), [blend], locals_of(1, 2, seed=1)]
    numbers = [own.tolist() for own in link_speakers(chunks, THRESHOLDS, ANY)]
    assert numbers[0] == numbers[2] == [0, 1]


def test_halves_of_one_voice_in_a_piece_are_made_one_again():
    assert linked([1, 1], [1]) == [[0, 0], [0]]


@pytest.mark.parametrize(
    ("hints", "count"),
    [
        (SpeakerHints(), 3),
        (SpeakerHints(max_speakers=5), 3),
        (SpeakerHints(max_speakers=2), 2),
        (SpeakerHints(max_speakers=1), 1),
        (SpeakerHints(min_speakers=4), 4),
        (SpeakerHints(min_speakers=2, max_speakers=2), 2),
        (SpeakerHints(min_speakers=9, max_speakers=9), 6),
    ],
)
def test_hints_come_before_everything_else(hints, count):
    numbers = linked([1, 2, 3], [1, 2], [3], hints=hints)
    assert len({number for own in numbers for number in own}) == count


@pytest.mark.parametrize(("least", "most"), [(3, 3), (1, 1), (2, None), (6, 6), (5, None)])
def test_a_piece_that_is_the_whole_recording_has_as_many_speakers_as_was_asked_for(least, most):
    labels = cluster(voices(*[0] * 12, *[1] * 12, *[2] * 12), THRESHOLDS, SpeakerHints(least, most))
    count = labels.max() + 1
    assert least <= count <= (most or 12)


def test_who_was_overheard_in_one_piece_is_known_from_the_others():
    third_missed = chunk([0] * 10 + [1] * 10 + [2] * 6, [0] * 10 + [1] * 16)
    chunks = [chunk([0] * 10 + [2] * 10, [0] * 10 + [1] * 10), third_missed, chunk([1] * 12, [0] * 12)]
    labels = np.concatenate(link(chunks, THRESHOLDS, ANY))
    true = [0] * 10 + [2] * 10 + [0] * 10 + [1] * 10 + [2] * 6 + [1] * 12
    assert labels.tolist() == by_appearance(np.array(true)).tolist()


def unit(vector):
    return vector / np.linalg.norm(vector)
