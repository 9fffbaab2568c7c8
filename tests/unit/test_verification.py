import numpy as np
import pytest

from shared.domain.verification import Comparison, OperatingPoint, compare
from tests.support.toys import toy_calibration, voiceprint


@pytest.mark.parametrize(
    ("llr", "accepted"), [(-0.1, ""), (0.0, "balanced"), (3.0, "balanced strict"), (5.0, "balanced strict strictest")]
)
def test_each_operating_point_accepts_from_its_confidence_on(llr, accepted):
    comparison = Comparison(score=0.5, llr=llr)
    assert [str(point) for point in OperatingPoint if comparison.accepted(point)] == accepted.split()


@pytest.mark.parametrize("point", OperatingPoint)
def test_an_operating_point_accepts_from_its_probability_on(point):
    llr = np.log(point.least_confidence / (100 - point.least_confidence))
    assert Comparison(score=0.5, llr=llr + 1e-6).accepted(point)
    assert not Comparison(score=0.5, llr=llr - 1e-6).accepted(point)


def test_without_calibration_nothing_is_decided():
    comparison = compare(voiceprint(1, 0), voiceprint(0.6, 0.8), None)
    assert comparison.score == pytest.approx(0.6)
    assert comparison.confidence is None
    assert all(comparison.accepted(point) is None for point in OperatingPoint)


def test_with_calibration_the_confidence_is_its():
    assert compare(voiceprint(1, 0), voiceprint(1, 0), toy_calibration()).confidence == 99
