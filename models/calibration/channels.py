"""Simulated channels: telephone and noise. They make many conditions of one clean recording."""

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.signal

from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Waveform
from shared.sound.conditioning import condition

#: Curvature of mu-law (G.711).
_MU = 255.0
#: Signal-to-noise ratios of the noisy channels.
_NOISES_DB = (20, 15, 10, 5)


def through(channel: str, samples: Samples) -> Waveform:
    """Return a recording through a channel, as the worker would hear it; `samples` are not conditioned yet."""
    return Waveform(condition([CHANNELS[channel](samples)[None]]), SAMPLE_RATE_HZ)


def clean(samples: Samples) -> Samples:
    """Return the samples as they are."""
    return samples


def telephone(samples: Samples) -> Samples:
    """Simulate a telephone: 8 kHz, 300 to 3400 Hz, mu-law in 8 bits."""
    narrow = scipy.signal.resample_poly(samples, 1, 2)
    band = scipy.signal.sosfilt(scipy.signal.butter(4, [300, 3400], "band", fs=8000, output="sos"), narrow)
    band = band / max(np.abs(band).max(), 1e-9) * 0.7
    coded = np.round(np.sign(band) * np.log1p(_MU * np.abs(band)) / np.log1p(_MU) * 127) / 127
    decoded = np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(_MU)) / _MU
    return scipy.signal.resample_poly(decoded, 2, 1)[: len(samples)].astype(np.float32)


def noisy(samples: Samples, snr_db: float) -> Samples:
    """Add pink noise, always the same for one recording."""
    spectrum = np.fft.rfft(np.random.default_rng(len(samples)).standard_normal(len(samples)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(samples))
    gain = np.sqrt(np.mean(np.square(samples)) / np.mean(np.square(noise)) / 10 ** (snr_db / 10))
    return (samples + gain * noise).astype(np.float32)


CHANNELS: dict[str, Callable[[Samples], Samples]] = {
    "clean": clean,
    "telephone": telephone,
    **{f"noise {snr_db} dB": partial(noisy, snr_db=snr_db) for snr_db in _NOISES_DB},
}
