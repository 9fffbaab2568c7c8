"""Filterbank features against Kaldi's: kept figures of kaldi-native-fbank 1.22.4, dither 0, on a made signal."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from models.fbank import kaldi_fbank
from shared.domain.audio import Samples
from tests.support.speech import DATA

#: Window, bands and scale of samples -> every 24th frame.
GOLDEN = json.loads((DATA / "kaldi_fbank.json").read_text())


def buzz() -> Samples:
    """Return half a second of a pulse train with an offset and a high tone."""
    time_s = np.arange(8_123) / 16_000
    phase = 2 * np.pi * 140 * time_s + 8 * np.sin(2 * np.pi * 0.7 * time_s)
    harmonics = np.sum([np.sin(k * phase) / k for k in range(1, 20)], axis=0)
    return (0.05 * harmonics + 0.02 + 0.01 * np.sin(2 * np.pi * 3_011 * time_s)).astype(np.float32)


def fbank(name: str) -> NDArray[np.float32]:
    window, num_mels, scale = name.split()
    return kaldi_fbank(buzz() * np.float32(scale), int(num_mels), window)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_fbank_is_that_of_kaldi(name: str) -> None:
    features = fbank(name)
    assert features.shape == (1 + (8_123 - 400) // 160, int(name.split()[1]))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[::24], GOLDEN[name], atol=1e-3)


def test_the_window_and_the_scale_matter() -> None:
    assert np.abs(fbank("hamming 80 1") - fbank("povey 80 1")).max() > 0.1
    assert np.abs(fbank("povey 80 32768") - fbank("povey 80 1")).max() > 1.0


def test_less_than_a_window_is_no_frame() -> None:
    assert kaldi_fbank(np.zeros(400, np.float32), 80, "povey").shape == (1, 80)
    with pytest.raises(ValueError, match="400 samples"):
        kaldi_fbank(np.zeros(399, np.float32), 80, "povey")
