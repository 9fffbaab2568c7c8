from itertools import permutations

import numpy as np
import pytest

from shared.domain.calibration import probability
from shared.domain.verification import Comparison
from worker.voices.matching import match


def table(*rows, labels="ABC"):
    """Return comparisons of S0, S1, ... with the labels by their log-likelihood ratios."""
    return {
        f"S{i}": {label: Comparison(score=0.5, llr=llr) for label, llr in zip(labels, row, strict=False)}
        for i, row in enumerate(rows)
    }


def test_with_exclusive_matching_the_best_pairs_as_a_whole_win():
    # Both are most like A; S1 is hardly like anybody else.
    found = match(table([2.0, 1.9], [1.8, -3.0], labels="AB"), exclusive=True, threshold=0)
    assert found == {"S0": "B", "S1": "A"}


def test_without_it_everybody_is_whom_they_are_most_like():
    found = match(table([2.0, 1.9], [1.8, -3.0], labels="AB"), exclusive=False, threshold=0)
    assert found == {"S0": "A", "S1": "A"}


def test_below_the_threshold_nobody_is_named():
    comparisons = table([0.0, -5.0], [3.0, -5.0], labels="AB")
    assert match(comparisons, exclusive=False, threshold=50) == {"S0": "A", "S1": "A"}
    assert match(comparisons, exclusive=False, threshold=51) == {"S0": None, "S1": "A"}
    assert match(comparisons, exclusive=True, threshold=99) == {"S0": None, "S1": None}


def test_a_threshold_is_met_from_its_probability_on():
    llr = np.log(99)
    assert match(table([llr + 1e-6], labels="A"), exclusive=True, threshold=99) == {"S0": "A"}
    assert match(table([llr - 1e-6], labels="A"), exclusive=True, threshold=99) == {"S0": None}


def test_with_threshold_0_somebody_is_always_named_as_long_as_labels_last():
    assert match(table([-9.0], [-8.0], labels="A"), exclusive=True, threshold=0) == {"S0": None, "S1": "A"}
    assert match(table([-9.0], [-8.0], labels="A"), exclusive=False, threshold=0) == {"S0": "A", "S1": "A"}


def test_more_labels_than_speakers_leave_some_unused():
    assert match(table([0.0, 4.0, 1.0]), exclusive=True, threshold=0) == {"S0": "B"}


def test_a_recording_without_speakers_has_no_matches():
    assert match({}, exclusive=True, threshold=0) == {}


def test_without_calibration_the_cosines_decide():
    comparisons = {"S0": {"A": Comparison(score=-0.9, llr=None), "B": Comparison(score=-0.2, llr=None)}}
    assert match(comparisons, exclusive=True, threshold=0) == {"S0": "B"}


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_best_of_all(seed):
    llrs = np.random.default_rng(seed).normal(0, 3, (3, 3))
    found = match(table(*llrs), exclusive=True, threshold=0)

    def gain(labels):
        return sum(probability(llrs[i]["ABC".index(label)]) for i, label in enumerate(labels))

    assert gain(found.values()) == pytest.approx(max(map(gain, permutations("ABC"))))
