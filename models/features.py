"""Mel features for NeMo's networks and GE2E in numpy, without torch or librosa.

All functions take samples (num_samples,) at 16 kHz and return one frame every 10 ms.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from shared.domain.audio import SAMPLE_RATE_HZ, Samples

#: Samples from one frame to the next, 10 ms, in all features and so in every `Frames`.
HOP = 160
#: Frames per second of every `shared.networks.Frames`.
FRAME_RATE_HZ = SAMPLE_RATE_HZ // HOP
_WINDOW = 400

_PREEMPHASIS = 0.97
_LOG_GUARD = 2.0**-24
_STD_GUARD = 1e-5

# GE2E (Wan et al., "Generalized end-to-end loss for speaker verification", 2018), as Resemblyzer 0.1.4 feeds it.
_GE2E_MELS = 40

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, 27 steps per factor of 6.4 above.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


@dataclass(frozen=True)
class NemoMel:
    """Settings of NeMo's AudioToMelSpectrogramPreprocessor in which its models differ; those of TitaNet by default."""

    num_mels: int = 80
    #: Samples of an analysis window, 25 ms, and of the Fourier transform in whose middle it stands.
    window: int = _WINDOW
    n_fft: int = 512


TITANET_MEL = NemoMel()


def nemo_features(samples: Samples, mel: NemoMel = TITANET_MEL) -> NDArray[np.float32]:
    """Return log-mel frames, shape (num_mels, num_samples // 160), each band with mean 0 and deviation 1 over time.

    They are those of NeMo's preprocessor in evaluation, without dither. There is no frame of padding: in the exported
    network padding would leak into the pooled statistics.

    Raises
    ------
    ValueError
        The samples do not fill one frame (10 ms).
    """
    return standardised(nemo_log_mel(samples, mel))


def nemo_log_mel(samples: Samples, mel: NemoMel) -> NDArray[np.float32]:
    """Return the frames of `nemo_features` as they are before each band is standardised."""
    num_frames = len(samples) // HOP
    if num_frames == 0:
        raise ValueError(f"At least {HOP} samples are needed for a frame, not {len(samples)}")
    emphasised = np.concatenate([samples[:1], samples[1:] - np.float32(_PREEMPHASIS) * samples[:-1]])
    power = _power_spectra(emphasised, _nemo_window(mel), num_frames)
    return np.log(mel_filterbank(mel.n_fft, mel.num_mels) @ power.T + np.float32(_LOG_GUARD))


def ge2e_features(samples: Samples) -> NDArray[np.float32]:
    """Return power-mel frames without logarithm, shape (1 + num_samples // 160, 40).

    Frame i is centred on 10 ms * i.
    """
    power = _power_spectra(samples, hann(_WINDOW), 1 + len(samples) // HOP)
    return power @ mel_filterbank(_WINDOW, _GE2E_MELS).T


@cache
def mel_filterbank(n_fft: int, n_mels: int) -> NDArray[np.float32]:
    """Return triangles of area 1 on Slaney's mel scale, 0 to 8 kHz: shape (n_mels, n_fft // 2 + 1)."""
    top_mel = _BREAK_MEL + np.log(SAMPLE_RATE_HZ / 2 / _BREAK_HZ) / _LOG_STEP
    corners_hz = _mel_to_hz(np.linspace(0.0, top_mel, n_mels + 2))
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / SAMPLE_RATE_HZ)
    low, peak, high = (corners_hz[i : i + n_mels, np.newaxis] for i in range(3))
    triangles = np.minimum((bins_hz - low) / (peak - low), (high - bins_hz) / (high - peak))
    return (np.maximum(0.0, triangles) * 2.0 / (high - low)).astype(np.float32)


@cache
def hann(length: int, *, periodic: bool = True) -> NDArray[np.float32]:
    """Return a Hann window, shape (length,); a periodic one omits the last zero."""
    return np.hanning(length + 1)[:-1].astype(np.float32) if periodic else np.hanning(length).astype(np.float32)


@cache
def _nemo_window(mel: NemoMel) -> NDArray[np.float32]:
    left = (mel.n_fft - mel.window) // 2
    return np.pad(hann(mel.window, periodic=False), (left, mel.n_fft - mel.window - left))


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HZ_PER_MEL, above)


def _power_spectra(samples: Samples, window: NDArray[np.float32], num_frames: int) -> NDArray[np.float32]:
    # shape: (num_frames, len(window) // 2 + 1); frame i is centred on sample 160 i, with zeros outside the recording.
    padded = np.pad(samples, len(window) // 2)
    frames = sliding_window_view(padded, len(window))[::HOP][:num_frames]
    spectra = np.fft.rfft(frames * window)
    return (spectra.real**2 + spectra.imag**2).astype(np.float32, copy=False)


def standardised(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give each band of (num_mels, num_frames) mean 0 and deviation 1 over time, as NeMo's `per_feature` does."""
    # Deviation with N - 1, as in NeMo; that of a single frame is 0.
    centred = features - features.mean(axis=1, keepdims=True)
    variance = np.square(centred).sum(axis=1, keepdims=True) / max(1, features.shape[1] - 1)
    return centred / (np.sqrt(variance) + np.float32(_STD_GUARD))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row of `vectors`, shape (num_vectors, dimension), to L2 norm 1; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)
