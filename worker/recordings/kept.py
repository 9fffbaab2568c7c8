"""Kept recordings: sound as the worker hears it, written as WAV and read again."""

import io
import wave

import numpy as np

from shared.domain.audio import SAMPLE_RATE_HZ, Track, Waveform

_FULL_SCALE = 32_768


def to_wav(waveform: Waveform) -> bytes:
    """Return sound at 16 kHz as WAV, 16 bits mono; what is louder than full scale is clipped."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        numbers = np.clip(np.round(waveform.samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
        sound.writeframes(numbers.astype("<i2").tobytes())
    return file.getvalue()


def from_wav(raw: bytes) -> Waveform:
    """Read what `to_wav` wrote."""
    with wave.open(io.BytesIO(raw)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / np.float32(
            _FULL_SCALE
        )
    return Waveform(samples, SAMPLE_RATE_HZ, Track(duration_s=len(samples) / SAMPLE_RATE_HZ))
