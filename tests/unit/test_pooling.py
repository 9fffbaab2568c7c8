from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidVoiceprint
from shared.domain.pooling import REFUSED_BELOW, WARNED_BELOW, Outlier, outliers, pool
from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint
from tests.support.toys import CLEAN, ZERO, toy_calibration, voiceprint

TOY = toy_calibration({"clean": ZERO, "noisy": ZERO, "telephone": ZERO})
SHORT = replace(CLEAN, net_speech_s=5.0)
TELEPHONE = replace(SHORT, narrowband=True)


def at(degrees: float, capture: Capture = CLEAN) -> Voiceprint:
    """Return a voice of the toy model; its confidence falls with the angle: 60 degrees give 50."""
    return voiceprint(float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), capture)


def named(*parts: Voiceprint) -> list[tuple[int, bool]]:
    return [(one.index, one.refused) for one in outliers(parts, TOY)]


def test_the_pool_is_the_mean_weighted_by_speech() -> None:
    pooled = pool(
        [voiceprint(1, 0, replace(CLEAN, net_speech_s=3.0)), voiceprint(0, 1, replace(CLEAN, net_speech_s=1.0))]
    )
    assert pooled.vector == pytest.approx(np.array([3, 1]) / np.sqrt(10))
    assert pooled.vector.dtype == np.float32


def test_speech_adds_up_and_noise_is_the_mean_weighted_by_speech() -> None:
    noisy = Capture(net_speech_s=5.0, snr_db=10.0, narrowband=False)
    assert pool([at(0), at(0, noisy)]).capture == Capture(net_speech_s=25.0, snr_db=26.0, narrowband=False)


@pytest.mark.parametrize(
    ("captures", "narrowband"),
    [([TELEPHONE, CLEAN], False), ([TELEPHONE, SHORT], False), ([TELEPHONE] * 5 + [CLEAN], True), ([TELEPHONE], True)],
)
def test_a_pool_is_that_of_a_telephone_if_most_of_the_speech_is(captures: list[Capture], narrowband: bool) -> None:
    assert pool([at(0, capture) for capture in captures]).capture.narrowband is narrowband


@given(
    st.lists(
        st.tuples(st.floats(-60, 60), st.floats(0.125, 1000, width=32), st.floats(0, 40, width=32), st.booleans()),
        min_size=1,
        max_size=9,
    )
)
def test_any_pool_can_be_written_as_a_string_and_compared(parts: list[tuple[float, float, float, bool]]) -> None:
    pooled = pool(
        [at(a, Capture(net_speech_s=seconds, snr_db=snr_db, narrowband=n)) for a, seconds, snr_db, n in parts]
    )
    read = Voiceprint.decode(pooled.encode())
    assert read.score(pooled) == pytest.approx(1.0)
    assert read.capture.narrowband == pooled.capture.narrowband
    assert min(p[2] for p in parts) - 1e-4 <= read.capture.snr_db <= max(p[2] for p in parts) + 1e-4


def test_samples_of_two_models_are_not_pooled() -> None:
    with pytest.raises(InvalidVoiceprint, match="toy@1"):
        pool([at(0), voiceprint(1, 0, model="toy@2")])
    with pytest.raises(InvalidVoiceprint, match="toy@1"):
        outliers([at(0), voiceprint(1, 0, model="toy@2")], TOY)


def test_voiceprints_that_someone_made_up_give_an_error_or_a_string() -> None:
    with pytest.raises(InvalidVoiceprint, match="cancel each other out"):
        pool([at(0), at(180)])
    endless = replace(CLEAN, net_speech_s=3e38)
    assert Voiceprint.decode(pool([at(0, endless), at(5, endless)]).encode()).capture.net_speech_s == 1e6


def test_samples_of_one_voice_are_no_outliers() -> None:
    assert named(at(0)) == named(at(0), at(50)) == named(at(0), at(20), at(-20), at(10)) == []


def test_a_foreign_voice_is_named_and_the_right_ones_are_not() -> None:
    assert named(at(0), at(10), at(150)) == [(2, True)]
    assert named(at(90), at(0), at(10), at(-10), at(5)) == [(0, True)]
    assert named(at(0), at(65), at(-5), at(0)) == [(1, False)]


def test_a_foreign_voice_that_talks_longest_does_not_hide_behind_itself() -> None:
    long = replace(CLEAN, net_speech_s=600.0)
    assert named(at(0, SHORT), at(100, long), at(5, SHORT)) == [(1, True)]


def test_of_two_samples_that_differ_both_are_named_alike() -> None:
    found = outliers([at(0), at(70)], TOY)
    assert [one.index for one in found] == [0, 1]
    assert [one.confidence for one in found] == [4, 4]
    assert [one.score for one in found] == pytest.approx([np.cos(np.radians(70))] * 2)


def test_two_foreign_voices_among_five_samples_are_both_named() -> None:
    assert named(at(0), at(120), at(5), at(-130), at(-5)) == [(1, True), (3, True)]


@pytest.mark.parametrize(("confidence", "refused"), [(0, True), (REFUSED_BELOW - 1, True), (REFUSED_BELOW, False)])
def test_the_limit_of_refusal_is_below_that_of_the_warning(confidence: int, refused: bool) -> None:
    assert Outlier(index=0, confidence=confidence, score=0.0).refused is refused
    assert REFUSED_BELOW < WARNED_BELOW


def test_without_calibration_nobody_is_an_outlier() -> None:
    assert outliers([at(0), at(180)], None) == []


def test_of_many_samples_each_is_looked_at_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    require = Voiceprint.require_same_model
    monkeypatch.setattr(Voiceprint, "require_same_model", lambda *both: looked.append(1) or require(*both))
    assert outliers([at(0)] * 100, TOY) == []
    assert len(looked) <= 300
