"""The numpy front ends against the libraries the networks were trained with."""

import numpy as np
import pytest

from models.features import ge2e_features, hann, mel_filterbank, nemo_features
from tests.support.speech import Clip

LENGTHS = [1_600, 11_317, 16_000, 47_999]


@pytest.mark.nemo
@pytest.mark.parametrize(("n_fft", "n_mels"), [(512, 80), (400, 40)])
def test_the_filterbank_is_that_of_librosa(n_fft: int, n_mels: int) -> None:
    import librosa

    reference = librosa.filters.mel(sr=16_000, n_fft=n_fft, n_mels=n_mels)
    np.testing.assert_allclose(mel_filterbank(n_fft, n_mels), reference, atol=1e-8)


@pytest.mark.nemo
def test_the_windows_are_those_of_librosa() -> None:
    import librosa

    np.testing.assert_allclose(hann(400), librosa.filters.get_window("hann", 400, fftbins=True), atol=1e-7)
    np.testing.assert_allclose(
        hann(400, periodic=False), librosa.filters.get_window("hann", 400, fftbins=False), atol=1e-7
    )


@pytest.mark.nemo
@pytest.mark.parametrize("num_samples", LENGTHS)
def test_ge2e_hears_what_librosa_computes(clips: list[Clip], num_samples: int) -> None:
    import librosa

    samples = clips[0].samples[:num_samples]
    reference = librosa.feature.melspectrogram(y=samples, sr=16_000, n_fft=400, hop_length=160, n_mels=40)
    np.testing.assert_allclose(ge2e_features(samples), reference.T, rtol=1e-4, atol=1e-6 * reference.max())


@pytest.mark.nemo
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("num_samples", LENGTHS)
def test_titanet_hears_what_nemo_computes(clips: list[Clip], num_samples: int) -> None:
    import torch
    from nemo.collections.asr.modules import AudioToMelSpectrogramPreprocessor

    preprocessor = AudioToMelSpectrogramPreprocessor(features=80, window_size=0.025, normalize="per_feature").eval()
    samples = clips[0].samples[:num_samples]
    reference, length = preprocessor(input_signal=torch.from_numpy(samples)[None], length=torch.tensor([num_samples]))
    ours = nemo_features(samples)
    assert ours.shape == (80, int(length)) == (80, num_samples // 160)
    # In units of each band's deviation; NeMo's own float32 is 1e-3 from its float64.
    np.testing.assert_allclose(ours, reference[0, :, : int(length)].numpy(), atol=2e-3)


def test_titanet_features_have_mean_0_and_deviation_1(clips: list[Clip]) -> None:
    features = nemo_features(clips[0].samples)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean(axis=1), 0.0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=1, ddof=1), 1.0, atol=1e-4)


def test_silence_gives_finite_features() -> None:
    silence = np.zeros(16_000, np.float32)
    assert np.isfinite(nemo_features(silence)).all()
    assert (ge2e_features(silence) == 0.0).all()


def test_less_than_one_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="160 samples"):
        nemo_features(np.zeros(159, np.float32))
