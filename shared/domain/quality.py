"""Quality of a recording: length of speech, noise, bandwidth and clipping."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Segment, Waveform

#: Length of a frame: short enough for pauses, long enough for a low voice's period.
_FRAME_S = 0.02
#: Range of the estimates: below it speech cannot be told from noise, above it the noise makes no difference.
SNR_RANGE_DB = (0.0, 40.0)
#: Band in which a telephone has no energy, in Hz. It starts above 4.5 kHz, because resampling from 8 to 16 kHz leaves
#: images up to there.
_HIGH_HZ = (4600.0, 7000.0)
#: Band in which every voice has energy, in Hz.
_VOICE_HZ = (300.0, 3400.0)
#: Ratio of the two bands' power below which a recording is narrowband. Measured after decoding: files at 8 kHz are
#: below -61 dB, their copies at 16 kHz below -42 dB, and most of these in Opus at 12 kbit/s. Wideband files, Opus and
#: 11 kHz included, are above -36 dB.
_NARROWBAND_DB = -40.0
#: Frames this far below the recording's mean power are digital silence, of a noise gate or an editor.
_SILENCE_DB = -55.0
#: Below this a recording counts as noisy.
NOISY_DB = 15.0

#: Share of samples near the peak above which a recording is clipped. Measured: of 297 recordings one has 0.3 %, the
#: others below 0.05 %; amplified by 8 and cut off, each has 1 % or more, half of them over 10 %.
_CLIPPED = 0.005
#: Share of the peak from which a sample is near it.
_PLATEAU = 0.95

# Limits below or above which a voiceprint gets a warning, measured with the bundled model.
_ENOUGH_SPEECH_S = 5.0
_ENOUGH_SNR_DB = 15.0
_CLEAR_LEAD = 0.10
_ALIKE = 0.75


class Condition(StrEnum):
    """Kind of recording; the scores of each kind have a correction of their own."""

    CLEAN = "clean"
    NOISY = "noisy"
    TELEPHONE = "telephone"


@dataclass(frozen=True, kw_only=True)
class Capture:
    """Conditions under which a voice was recorded, as far as scores of its voiceprint depend on them."""

    #: Speech of the speaker whose voice it is, in seconds.
    net_speech_s: float
    #: Estimated power of speech over that of pauses, in dB, 0 to 40; voices in the background make it too high.
    snr_db: float
    #: Whether there is no sound above 4 kHz, as on a telephone.
    narrowband: bool

    @property
    def condition(self) -> Condition:
        """Return the condition whose correction a score needs."""
        if self.narrowband:
            return Condition.TELEPHONE
        return Condition.NOISY if self.snr_db < NOISY_DB else Condition.CLEAN


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Quality of the recording that a voiceprint was made from."""

    capture: Capture
    num_speakers: int
    #: The speaker's share of all speech, 0 to 1.
    share: float
    #: Difference to the share of the next speaker, 0 to 1.
    lead: float
    #: Mean cosine of the speaker's windows to their centroid; high if they sound like one voice.
    consistency: float
    #: Whether the recording was too loud for the device that recorded it.
    clipped: bool

    @property
    def warning(self) -> str | None:
        """Return a sentence with the reasons to doubt the voiceprint and its scores; None without any."""
        reasons = list(self._doubts())
        return f"This result is less certain than usual: {'; '.join(reasons)}." if reasons else None

    def _doubts(self) -> Iterator[str]:
        if self.capture.net_speech_s < _ENOUGH_SPEECH_S:
            yield f"the speaker talks for {self.capture.net_speech_s:.1f} s only"
        if self.capture.snr_db < _ENOUGH_SNR_DB:
            yield f"the recording is noisy ({self.capture.snr_db:.0f} dB)"
        if self.clipped:
            yield "the recording is clipped"
        if self.lead < _CLEAR_LEAD:
            yield "two voices speak for nearly the same time"
        if self.consistency < _ALIKE:
            yield "the speaker's parts do not sound much alike"


def snr_db(waveform: Waveform, speech: Sequence[Segment]) -> float:
    """Estimate the signal-to-noise ratio in dB from the power inside and outside of `speech`, one segment at least."""
    means, variances = _moments(waveform)
    sounding = variances >= variances.mean() * 10 ** (_SILENCE_DB / 10)
    # A constant offset is not noise.
    powers = variances + np.square(means - means[sounding].mean())
    middles = (np.arange(len(powers)) + 0.5) * _FRAME_S
    inside = np.any([(middles >= s.start_s) & (middles < s.end_s) for s in speech], axis=0)
    pauses = powers[~inside & sounding]
    # Without pauses the quietest tenth of the frames replaces them.
    outside = pauses if len(pauses) * _FRAME_S >= 0.2 else np.sort(powers[sounding])[: 1 + sounding.sum() // 10]
    noise = float(np.median(outside)) + 1e-12
    signal = max(float(powers[inside].mean()) - noise if inside.any() else 0.0, 1e-12)
    return float(np.clip(10 * np.log10(signal / noise), *SNR_RANGE_DB))


def is_narrowband(waveform: Waveform) -> bool:
    """Return whether there is no sound above 4 kHz."""
    size = 4 * round(_FRAME_S * waveform.sample_rate_hz)
    blocks = waveform.samples[: len(waveform.samples) // size * size].reshape(-1, size)
    if len(blocks) == 0:
        return False
    power = np.square(np.abs(np.fft.rfft(blocks * np.hanning(size)))).mean(axis=0)
    hz = np.fft.rfftfreq(size, 1 / waveform.sample_rate_hz)
    high, voice = (power[(hz >= low) & (hz < top)].mean() for low, top in (_HIGH_HZ, _VOICE_HZ))
    return bool(high < voice * 10 ** (_NARROWBAND_DB / 10))


def is_clipped(waveform: Waveform) -> bool:
    """Return whether the peaks are cut off, at full scale or at a lower level after an attenuation."""
    levels = np.abs(waveform.samples)
    return bool(np.mean(levels >= _PLATEAU * levels.max()) > _CLIPPED)


def _moments(waveform: Waveform) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each frame, without a copy in double precision."""
    size = round(_FRAME_S * waveform.sample_rate_hz)
    frames = waveform.samples[: len(waveform.samples) // size * size].reshape(-1, size)
    means = frames.mean(axis=1, dtype=np.float64)
    return means, np.square(frames).mean(axis=1, dtype=np.float64) - np.square(means)
