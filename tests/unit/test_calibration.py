import json
from dataclasses import replace

import numpy as np
import pytest

from models.registry import default_card
from shared.domain.calibration import NUM_FEATURES, Captures, confidence, features
from shared.domain.errors import InvalidVoiceprint
from shared.domain.stored_calibrations import NOT_A_CALIBRATION, calibration_of, stored
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings
from tests.support.toys import CLEAN, ZERO, toy_calibration, voiceprint

TELEPHONE = replace(CLEAN, narrowband=True)


@pytest.mark.parametrize(("llr", "percent"), [(0.0, 50), (900.0, 100), (-900.0, 0)])
def test_confidence_is_the_probability_when_both_cases_are_as_likely(llr, percent):
    assert confidence(llr) == percent


@pytest.mark.parametrize("percent", [1, 50, 90, 95, 99])
def test_a_confidence_means_at_least_that_probability(percent):
    llr = np.log(percent / (100 - percent))
    assert (confidence(llr - 1e-6), confidence(llr + 1e-6)) == (percent - 1, percent)


def test_the_ratio_weighs_the_cosine_and_both_qualities():
    calibration = toy_calibration({"clean": ZERO, "telephone": ZERO})
    assert calibration.llr(voiceprint(1, 0), voiceprint(1, 0)) == pytest.approx(10.0)
    assert calibration.llr(voiceprint(1, 0), voiceprint(0, 1, TELEPHONE)) == pytest.approx(-10.0)


def test_each_vector_is_seen_from_the_mean_of_its_condition():
    means = {"clean": ZERO, "telephone": np.array([0.0, 1.0], np.float32)}
    calibration = toy_calibration(means)
    same_once_the_channel_is_gone = calibration.llr(voiceprint(1, 0), voiceprint(1, 1, TELEPHONE))
    assert same_once_the_channel_is_gone == pytest.approx(10.0)
    assert calibration.compensated(voiceprint(0, 0)).tolist() == [0, 0]


def test_features_hold_the_worse_of_both_and_whether_the_channels_differ():
    worse = Captures.of([replace(TELEPHONE, net_speech_s=3.0, snr_db=10.0)])
    (found,) = features(np.array([0.5]), Captures.of([CLEAN]), worse)
    assert found.shape == (NUM_FEATURES,)
    assert found[:4] == pytest.approx([1, np.log(3), 0.75, 1])
    assert found[4:] == pytest.approx(0.5 * found[:4])


@pytest.mark.parametrize(
    ("changes", "shares"),
    [
        ({"snr_db": 28.0}, [1, 0, 0]),
        ({"snr_db": 20.0}, [0.5, 0.5, 0]),
        ({"snr_db": 12.0}, [0, 1, 0]),
        ({"narrowband": True, "snr_db": 10.0}, [0, 0, 1]),
    ],
)
def test_a_recording_goes_over_from_clean_to_noisy_without_a_jump(changes, shares):
    assert Captures.of([replace(CLEAN, **changes)]).shares()[0].tolist() == pytest.approx(shares)


def test_voiceprints_of_two_models_are_not_compared():
    calibration = toy_calibration()
    with pytest.raises(InvalidVoiceprint, match="toy@1 cannot be compared with one of toy@2"):
        calibration.llr(voiceprint(1, 0), voiceprint(1, 0, model="toy@2"))


def test_directions_in_which_channels_move_a_voice_do_not_count():
    calibration = toy_calibration(nuisance=np.array([[0.0, 1.0]], np.float32))
    assert calibration.llr(voiceprint(0.6, 0.8), voiceprint(0.6, -0.8)) == pytest.approx(10.0)


@pytest.mark.parametrize("seconds", [1e-9, 0.3, 1.0])
def test_however_short_the_speech_a_stranger_is_no_match(seconds):
    weights = default_card(Settings().weights_dir).calibration.weights
    short, clean = (Captures.of([one] * 3) for one in (replace(CLEAN, net_speech_s=seconds), CLEAN))
    found = [confidence(llr) for llr in features(np.array([-0.5, 0.0, 0.9]), short, clean) @ weights]
    assert found == sorted(found)
    assert found[1] < 50 < found[2]


def test_no_confidence_jumps_with_the_estimated_noise():
    calibration = default_card(Settings().weights_dir).calibration
    clean, noisy = (calibration.means[condition] for condition in ("clean", "noisy"))
    # Two voices that lie between the conditions, so that it matters which of the two is taken from them.
    voices = np.random.default_rng(0).standard_normal((2, len(clean))).astype(np.float32) * 0.03 + (clean + noisy) / 2
    one, other = (Voiceprint(calibration.model_id, voice, CLEAN) for voice in voices)
    heard = [replace(other, capture=replace(CLEAN, snr_db=snr_db)) for snr_db in np.linspace(0.0, 40.0, 4001)]
    ratios = np.array([calibration.llr(one, voice) for voice in heard])
    # A hundredth of a decibel from one to the next.
    assert np.abs(np.diff(ratios)).max() < 0.05
    assert np.ptp(ratios) > 0.5


def test_a_stored_calibration_is_read_as_it_was(tmp_path):
    fitted = default_card(tmp_path).calibration
    found = calibration_of(json.loads(json.dumps(stored(fitted))))
    assert (found.model_id, found.data, found.fitted_at) == (fitted.model_id, fitted.data, fitted.fitted_at)
    assert found.weights.tolist() == fitted.weights.tolist()
    assert found.nuisance.tolist() == fitted.nuisance.tolist()
    assert {name: mean.tolist() for name, mean in found.means.items()} == {
        name: mean.tolist() for name, mean in fitted.means.items()
    }


@pytest.mark.parametrize("change", [{"weights": [1.0]}, {"weights": None}, {"means": {}}, {"nuisance": ["AAAA"]}])
def test_a_stored_calibration_that_is_damaged_is_refused(tmp_path, change):
    with pytest.raises(NOT_A_CALIBRATION):
        calibration_of(stored(default_card(tmp_path).calibration) | change)
