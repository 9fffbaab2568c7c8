from itertools import permutations

import numpy as np
import pytest

from shared.domain.naming import Likeness, likenesses, log_weight
from shared.domain.verification import Comparison
from worker.voices.matching import match


def table(*rows, labels="ABC"):
    """Return likenesses of S0, S1, ... to the labels by the log-likelihood ratios of the pairs."""
    return {
        f"S{i}": likenesses(
            {label: Comparison(score=0.5, llr=llr) for label, llr in zip(labels, row, strict=False)},
            log_weight(row, len(row)),
        )
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
    # Of two people, one as likely as the rest of the world together has a ratio of 2.
    even = np.log(2 + np.exp(-5.0))
    likely = table([even, -5.0], [3.0, -5.0], labels="AB")
    assert match(likely, exclusive=False, threshold=49) == {"S0": "A", "S1": "A"}
    assert match(likely, exclusive=False, threshold=51) == {"S0": None, "S1": "A"}
    assert match(likely, exclusive=True, threshold=99) == {"S0": None, "S1": None}


@pytest.mark.parametrize("num", [1, 2, 50])
def test_a_threshold_is_met_from_its_probability_on(num):
    llr = np.log(99 * num)
    others = [-np.inf] * (num - 1)
    labels = ["A", *map(str, range(num))]
    assert match(table([llr + 1e-6, *others], labels=labels), exclusive=True, threshold=99) == {"S0": "A"}
    assert match(table([llr - 1e-6, *others], labels=labels), exclusive=True, threshold=99) == {"S0": None}


def test_with_threshold_0_somebody_is_always_named_as_long_as_labels_last():
    assert match(table([-9.0], [-8.0], labels="A"), exclusive=True, threshold=0) == {"S0": None, "S1": "A"}
    assert match(table([-9.0], [-8.0], labels="A"), exclusive=False, threshold=0) == {"S0": "A", "S1": "A"}
    # Beside a certain label, another one's probability is less than the least number.
    found = match(table([900.0, -900.0], [899.0, -900.0], labels="AB"), exclusive=True, threshold=0)
    assert set(found.values()) == {"A", "B"}


def test_more_labels_than_speakers_leave_some_unused():
    assert match(table([0.0, 4.0, 1.0]), exclusive=True, threshold=0) == {"S0": "B"}


def test_a_recording_without_speakers_has_no_matches():
    assert match({}, exclusive=True, threshold=0) == {}


def test_without_calibration_the_cosines_decide():
    likely = {"S0": {"A": Likeness(score=-0.9, probability=None), "B": Likeness(score=-0.2, probability=None)}}
    assert match(likely, exclusive=True, threshold=0) == {"S0": "B"}


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_best_of_all(seed):
    llrs = np.random.default_rng(seed).normal(0, 3, (3, 3))
    likely = table(*llrs)
    found = match(likely, exclusive=True, threshold=0)

    def gain(labels):
        return sum(likely[f"S{i}"][label].probability for i, label in enumerate(labels))

    assert gain(found.values()) == pytest.approx(max(map(gain, permutations("ABC"))))
