"""Trial signals: made sound by which an installation compares networks, or tries one."""

import numpy as np

from shared.domain.audio import SAMPLE_RATE_HZ, Samples

#: Lengths in samples: none is a whole number of frames or of NeMo's padding (16 frames).
_TRIAL_SAMPLES = (11_317, 50_021, 128_777)


def trial_signals() -> list[Samples]:
    """Return noise and a voice-like buzz of several lengths, at 16 kHz."""
    return [signal for length in _TRIAL_SAMPLES for signal in (_beating_noise(length), _buzz(length))]


def _beating_noise(num_samples: int) -> Samples:
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(num_samples).normal(0.0, 0.1, num_samples)
    return (noise * (0.6 + 0.4 * np.sin(2 * np.pi * 3.0 * time_s))).astype(np.float32)


def _buzz(num_samples: int) -> Samples:
    # A pulse train like a voice: its pitch varies around 140 Hz, in faint noise.
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * 140.0 * time_s + 8.0 * np.sin(2 * np.pi * 0.7 * time_s)
    harmonics = np.sum([np.sin(k * phase) / k for k in range(1, 20)], axis=0)
    return (0.05 * harmonics + 0.01 * _beating_noise(num_samples)).astype(np.float32)
