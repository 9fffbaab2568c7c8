"""Fingerprint of a recording's speech, by which copies of it are found, and digest of its sound.

The bits are those of Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import scipy.fft
import scipy.signal
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from shared.domain.audio import Samples, Segment, Waveform
from shared.domain.fingerprints import HOP_S, Fingerprint

#: Rate at which the bits are measured; the bands end at 3 kHz.
_RATE_HZ = 8_000
_HOP = round(HOP_S * _RATE_HZ)
_FRAME = 2_048
_BITS = 32
#: Edges of the bands, evenly spaced on a logarithmic scale, within what a telephone lets through.
_EDGES = np.round(np.geomspace(300, 3_000, _BITS + 2) * _FRAME / _RATE_HZ).astype(int)
_WINDOW = np.hanning(_FRAME).astype(np.float32)
_WEIGHTS = np.uint32(1) << np.arange(_BITS, dtype=np.uint32)
#: Frames that are transformed at once, 4 MB of them.
_BATCH = 512
#: Least change from one frame to the next, as a share of the energy. A steady tone changes by less.
_LEAST_CHANGE = 0.02
#: Least energy of a frame, as the transform gives it; below it there is only the noise of arithmetic.
_LEAST_ENERGY = 1e-6


def fingerprint(waveform: Waveform, speech: Sequence[Segment]) -> Fingerprint:
    """Return the fingerprint of the `speech` in a recording at 16 kHz.

    Frames whose middle lies outside `speech`, and frames of constant sound, carry no bits. So silence, hum, tones, and
    music before the speech, which several recordings share, make none of them a copy.
    """
    words = _words(_band_energies(waveform.samples))
    middles_s = np.arange(len(words)) * HOP_S + (_FRAME + _HOP) / 2 / _RATE_HZ
    spoken = np.zeros(len(words), bool)
    for segment in speech:
        spoken |= (middles_s >= segment.start_s) & (middles_s < segment.end_s)
    return Fingerprint(np.where(spoken, words, np.uint32(0)))


def sound_digest(waveform: Waveform) -> bytes:
    """Return the SHA-256 of the samples as 16-bit numbers, 32 bytes: the same for one sound in any lossless file."""
    rounded = np.clip(np.round(waveform.samples * 32_768.0), -32_768, 32_767)
    return hashlib.sha256(rounded.astype("<i2").tobytes()).digest()


def _band_energies(samples: Samples) -> NDArray[np.float32]:
    """Return the energies of the bands of each frame, (num_frames, 33)."""
    narrow = scipy.signal.resample_poly(samples, 1, 2).astype(np.float32)
    if len(narrow) < _FRAME:
        return np.empty((0, _BITS + 1), np.float32)
    frames = sliding_window_view(narrow, _FRAME)[::_HOP]
    batches = (frames[at : at + _BATCH] * _WINDOW for at in range(0, len(frames), _BATCH))
    return np.concatenate([_energies(batch) for batch in batches])


def _energies(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum = scipy.fft.rfft(frames)[:, : _EDGES[-1]]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    return np.add.reduceat(power, _EDGES[:-1], axis=1)


def _words(energies: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the words of all frames but the first; 0 for a frame that hardly differs from the one before."""
    slopes = np.diff(energies[1:], axis=1) - np.diff(energies[:-1], axis=1)
    least = np.maximum(_LEAST_CHANGE * energies[1:].sum(axis=1), _LEAST_ENERGY)
    changes = np.abs(slopes).sum(axis=1) > least
    return ((slopes < 0) @ _WEIGHTS).astype(np.uint32) * changes
