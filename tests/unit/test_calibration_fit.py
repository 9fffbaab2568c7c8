"""Fits of calibrations for models of any size and scale, on voices that are made up: no sound, no network."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from models.calibration import store
from models.calibration.calibrate import require_useful
from models.calibration.fit import fit
from models.calibration.held_out import cross_validate
from models.calibration.listening import VARIANTS, Halves
from models.calibration.store import Fitted
from shared.domain.errors import CalibrationError
from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint

_SNR_DB = {"clean": 35.0, "telephone": 30.0, "noise 15 dB": 18.0, "noise 5 dB": 6.0}


def people(number: int, dimension: int, *, offset: float = 0.0, likeness: float = 4.0) -> list[Halves]:
    """Make up recordings of people: `offset` moves all vectors to one place, `likeness` tells a person from noise."""
    rng = np.random.default_rng(dimension)
    place = offset * rng.standard_normal(dimension)
    moves = {channel: 0.3 * rng.standard_normal(dimension) for channel in _SNR_DB}

    def half(voice: np.ndarray) -> dict:
        return {
            (channel, limit_s): heard(
                place + voice + moves[channel] + rng.standard_normal(dimension) / likeness, limit_s, channel
            )
            for channel, limit_s in VARIANTS
        }

    voices = rng.standard_normal((number, dimension))
    return [Halves(f"person {i}", half(voice), half(voice)) for i, voice in enumerate(voices)]


def heard(vector: np.ndarray, limit_s: float, channel: str) -> Voiceprint:
    capture = Capture(net_speech_s=min(limit_s, 6.0), snr_db=_SNR_DB[channel], narrowband=channel == "telephone")
    return Voiceprint("made@1", (vector / np.linalg.norm(vector)).astype(np.float32), capture)


@pytest.mark.parametrize(("dimension", "most"), [(2, 0.8), (16, 0.05), (192, 0.05)])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_models_of_any_dimension_and_scale_are_calibrated(dimension: int, most: float, offset: float) -> None:
    recordings = people(20, dimension, offset=offset)
    found = cross_validate(recordings)
    assert 0.0 < found.cllr < most
    assert found.false_accepts_at_90 < 0.1
    assert (found.speakers, found.recordings) == (20, 20)
    calibration = fit(recordings, "made up")
    same = [calibration.llr(one.enrolled[VARIANTS[0]], one.tried[VARIANTS[0]]) for one in recordings]
    other = [calibration.llr(a.enrolled[VARIANTS[0]], b.tried[VARIANTS[0]]) for a, b in pairwise(recordings)]
    assert np.median(same) > 0 > np.median(other)


@pytest.mark.parametrize("dimension", [2, 16])
def test_a_calibration_is_read_as_it_was_written(dimension: int, tmp_path: Path) -> None:
    recordings = people(8, dimension, offset=300.0)
    fitted = Fitted(fit(recordings, "made up"), cross_validate(recordings))
    store.write(fitted, "ab" * 32, tmp_path / "made" / "calibration.json")
    found = store.read(tmp_path / "made" / "calibration.json", "made@1", "ab" * 32)
    assert found is not None
    assert found.nuisance.shape == fitted.calibration.nuisance.shape == (dimension // 4, dimension)
    pair = recordings[0].enrolled[VARIANTS[0]], recordings[0].tried[VARIANTS[1]]
    assert found.llr(*pair) == pytest.approx(fitted.calibration.llr(*pair), abs=0.05)


def test_several_recordings_of_one_person_are_never_a_pair_of_strangers() -> None:
    recordings = people(12, 16) * 2
    found = cross_validate(recordings)
    assert (found.speakers, found.recordings) == (12, 24)
    assert found.cllr < 0.1
    assert found.eer == 0.0


def test_a_model_that_cannot_tell_speakers_apart_is_refused() -> None:
    found = cross_validate(people(20, 16, likeness=0.02))
    with pytest.raises(CalibrationError, match=r"made@1 cannot tell speakers apart: .* \(Cllr\) is [01]\.\d\d"):
        require_useful(found, "made@1")
    require_useful(cross_validate(people(20, 16)), "made@1")


@pytest.mark.parametrize("number", [0, 1, 3])
def test_too_few_speakers_are_refused(number: int) -> None:
    with pytest.raises(CalibrationError, match=f"^{number} speakers have .* at least 4 are needed"):
        cross_validate(people(number, 16))


def test_four_speakers_are_enough_for_a_fit() -> None:
    assert cross_validate(people(4, 16)).speakers == 4


def test_recordings_whose_halves_hold_no_speech_are_refused() -> None:
    silent = [Halves(one.speaker, one.enrolled, {}) for one in people(6, 16)]
    with pytest.raises(CalibrationError, match="Too little speech"):
        cross_validate(silent)


def test_a_channel_in_which_nobody_is_heard_is_left_out_of_the_fit() -> None:
    recordings = [
        Halves(
            one.speaker,
            *({k: v for k, v in half.items() if k[0] != "noise 5 dB"} for half in (one.enrolled, one.tried)),
        )
        for one in people(6, 16)
    ]
    assert fit(recordings, "made up").nuisance.shape == (4, 16)
