"""Naming one of N: an identification counts as a search does."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from shared.domain.audio import Segment, Track
from shared.domain.calibration import Calibration, confidence
from shared.domain.diarization import Diarization, Turn
from shared.domain.results import Identification, RecordingDiarization
from shared.domain.search import Entry, Gallery, search
from shared.domain.voiceprints import Voiceprint
from tests.support.toys import toy_calibration, voiceprint
from worker.voices.identification import People, identify

TOY = toy_calibration()


def voice(llr: float) -> Voiceprint:
    """Return a voiceprint whose log-likelihood ratio with `SPEAKER_00` is `llr`, -30 to 10."""
    cosine = (llr + 10) / 20
    return voiceprint(cosine, math.sqrt(1 - cosine**2))


def recording(**voices: Voiceprint) -> RecordingDiarization:
    turns = [Turn(Segment(float(i), i + 1.0), speaker) for i, speaker in enumerate(voices)]
    return RecordingDiarization(
        diarization=Diarization(turns), exclusive=None, frame_confidence=None, voices=voices, speech_s=1.0, audio_s=1.0,
        track=Track(), warning=None, timings_s={},
    )  # fmt: skip


ALONE = recording(SPEAKER_00=voiceprint(1, 0))


def named(
    people: Mapping[str, Sequence[float]], calibration: Calibration | None = TOY, threshold: float = 0
) -> Identification:
    """Identify the one speaker of a recording among people by the ratios of their voiceprints."""
    given = {label: [voice(llr) for llr in llrs] for label, llrs in people.items()}
    return identify(ALONE, People(given=given), calibration, exclusive=True, threshold=threshold)


def confidences(found: Identification) -> dict[str, int | None]:
    return found.speaker_matches[0].confidence


@pytest.mark.parametrize("llr", [-3.0, 0.0, 0.1, 4.6])
def test_of_one_person_the_confidence_is_that_of_a_verification(llr: float) -> None:
    assert confidences(named({"ann": [llr]}))["ann"] == pytest.approx(confidence(llr), abs=1)


def test_the_confidences_of_all_labels_and_nobody_share_the_certainty_by_bayes() -> None:
    ratios = {"ann": math.exp(5.0), "bob": math.exp(4.0), "eve": math.exp(-2.0)}
    found = confidences(named({"ann": [5.0], "bob": [4.0], "eve": [-2.0]}))
    total = 3 + sum(ratios.values())
    assert found == {label: int(100 * ratio / total) for label, ratio in ratios.items()}


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_stranger_a_little_like_one_of_fifty_is_nobody(exclusive: bool) -> None:
    given = {str(i): [voice(2.0 if i == 7 else -4.0)] for i in range(50)}
    for threshold, match in ((50, None), (0, "7")):
        found = identify(ALONE, People(given=given), TOY, exclusive=exclusive, threshold=threshold)
        assert found.matches == {"SPEAKER_00": match}
    assert confidence(2.0) > 50
    assert confidences(found)["7"] == int(100 * math.exp(2) / (50 + math.exp(2) + 49 * math.exp(-4)))


def test_of_several_voiceprints_of_a_person_the_best_counts_once() -> None:
    found = named({"ann": [-8.0, 4.0, 1.0], "bob": [0.0]})
    assert found.likenesses["SPEAKER_00"]["ann"].probability == pytest.approx(math.exp(4) / (2 + math.exp(4) + 1))


def test_a_person_under_two_labels_shares_what_one_label_would_have() -> None:
    found = confidences(named({"ann, telephone": [6.0], "ann, desk": [6.0]}))
    assert set(found.values()) == {int(100 * math.exp(6) / (2 + 2 * math.exp(6)))} == {49}


def test_without_calibration_the_best_cosine_is_named_and_there_is_no_confidence() -> None:
    found = named({"ann": [-8.0, 3.0], "bob": [2.0]}, calibration=None)
    assert (found.matches, confidences(found)) == ({"SPEAKER_00": "ann"}, {"ann": None, "bob": None})


def gallery(ratios: Mapping[str, float]) -> Gallery:
    entries = [Entry(key=name, identity=name, voiceprint=voice(llr)) for name, llr in ratios.items()]
    return Gallery.build("toy@1", 2, entries, TOY)


def test_people_who_were_found_in_a_space_have_the_confidences_of_the_search() -> None:
    space = {"ann": 6.0, "bob": 1.5} | {f"other {i}": -3.0 + i / 10 for i in range(30)}
    two = recording(SPEAKER_00=voiceprint(1, 0), SPEAKER_01=voiceprint(0.8, 0.6))
    searched = {who: search(gallery(space), one, limit=50, least_confidence=0) for who, one in two.voices.items()}
    found = {name: [voice(space[name])] for name in ("ann", "bob")}
    weights = {who: one.weight for who, one in searched.items()}
    people = People(given={}, found=found, weights=weights)
    named = identify(two, people, TOY, exclusive=True, threshold=0)
    for who, its in searched.items():
        expected = {one.identity: one.confidence for one in its.candidates if one.identity in found}
        assert {label: one.confidence for label, one in named.likenesses[who].items()} == expected


def test_people_given_beside_a_space_count_among_all() -> None:
    weight = search(gallery({"ann": 5.0, "bob": 0.0}), voiceprint(1, 0), limit=1, least_confidence=0).weight
    people = People(given={"eve": [voice(3.0)]}, found={"ann": [voice(5.0)]}, weights={"SPEAKER_00": weight})
    found = identify(ALONE, people, TOY, exclusive=True, threshold=0).likenesses["SPEAKER_00"]
    total = 3 + math.exp(5) + 1 + math.exp(3)
    assert found["ann"].probability == pytest.approx(math.exp(5) / total)
    assert found["eve"].probability == pytest.approx(math.exp(3) / total)


@pytest.mark.parametrize("given", [5.0, 4.0, 6.0, -2.0])
def test_a_label_that_is_given_and_found_is_one_person(given: float) -> None:
    weight = search(gallery({"ann": 5.0, "bob": 0.0}), voiceprint(1, 0), limit=1, least_confidence=0).weight
    people = People(
        given={"ann": [voice(given)], "eve": [voice(1.0)]}, found={"ann": [voice(5.0)]}, weights={"SPEAKER_00": weight}
    )
    found = identify(ALONE, people, TOY, exclusive=True, threshold=0).likenesses["SPEAKER_00"]
    best = math.exp(max(given, 5.0))
    assert found["ann"].probability == pytest.approx(best / (3 + best + 1 + math.exp(1)))
    assert found["eve"].probability == pytest.approx(math.exp(1) / (3 + best + 1 + math.exp(1)))


def test_an_empty_space_changes_nothing() -> None:
    weight = search(gallery({}), voiceprint(1, 0), limit=1, least_confidence=0).weight
    assert weight == -np.inf
    people = People(given={"eve": [voice(0.0)]}, weights={"SPEAKER_00": weight})
    assert identify(ALONE, people, TOY, exclusive=True, threshold=0).likenesses["SPEAKER_00"]["eve"].confidence == 50
