"""Filterbank features (fbank) as Kaldi defines them, in numpy: what WeSpeaker, 3D-Speaker and sherpa-onnx feed.

Povey et al., "The Kaldi speech recognition toolkit" (ASRU 2011): windows of 25 ms every 10 ms that lie wholly within
the recording, without dither. `tests/models/test_fbank.py` holds them against kaldi-native-fbank 1.22.4.
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.features import HOP
from shared.domain.audio import SAMPLE_RATE_HZ, Samples

#: Samples of an analysis window, 25 ms.
WINDOW = 400
_N_FFT = 512
_PREEMPHASIS = 0.97
_LOWEST_HZ = 20.0
#: Least energy of a band before the logarithm.
_FLOOR = np.finfo(np.float32).eps


def kaldi_fbank(samples: Samples, num_mels: int, window: str) -> NDArray[np.float32]:
    """Return log energies, shape (1 + (num_samples - 400) // 160, num_mels); frame i begins at sample 160 i.

    Parameters
    ----------
    window : "hamming" or "povey".

    Raises
    ------
    ValueError
        The samples do not fill a window (25 ms).
    """
    if len(samples) < WINDOW:
        raise ValueError(f"At least {WINDOW} samples are needed for a frame, not {len(samples)}")
    frames = sliding_window_view(samples, WINDOW)[::HOP]
    centred = frames - frames.mean(axis=1, keepdims=True, dtype=np.float32)
    # The first sample has itself for a neighbour.
    before = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
    spectra = np.fft.rfft((centred - np.float32(_PREEMPHASIS) * before) * _window(window), _N_FFT)[:, : _N_FFT // 2]
    power = (spectra.real**2 + spectra.imag**2).astype(np.float32, copy=False)
    return np.log(np.maximum(power @ _filterbank(num_mels).T, _FLOOR))


@cache
def _window(name: str) -> NDArray[np.float32]:
    # Povey's is a Hann window to the power of 0.85.
    window = np.hamming(WINDOW) if name == "hamming" else np.hanning(WINDOW) ** 0.85
    return window.astype(np.float32)


@cache
def _filterbank(num_mels: int) -> NDArray[np.float32]:
    """Return triangles of height 1 on HTK's mel scale, 20 Hz to 8 kHz, without the last bin: (num_mels, 256)."""
    lowest, highest = _mel(np.array([_LOWEST_HZ, SAMPLE_RATE_HZ / 2]))
    corners = np.linspace(lowest, highest, num_mels + 2)
    bins = _mel(np.arange(_N_FFT // 2, dtype=np.float64) * (SAMPLE_RATE_HZ / _N_FFT))
    low, peak, high = (corners[i : i + num_mels, np.newaxis] for i in range(3))
    triangles = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    return np.maximum(0.0, triangles).astype(np.float32)


def _mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1127.0 * np.log1p(hz / 700.0)
