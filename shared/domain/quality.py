"""How far a recording can be trusted: what of it was heard, how noisy it is, through what channel it came."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Segment, Waveform

#: Frames of 20 ms: short enough for pauses, long enough for a low voice's period.
_FRAME_S = 0.02
#: Estimates are cut to this range: below, speech cannot be told from noise; above, it makes no difference.
SNR_RANGE_DB = (0.0, 40.0)
#: Where a telephone has no energy, and where every voice has; in Hz. Whatever turns 8 kHz into 16 leaves images up to
#: some 4.5 kHz. Measured behind the decoder: the ratio of 8 kHz files is below -61 dB, that of copies of them at 16 kHz
#: below -42 dB, Opus at 12 kbit/s of them mostly so; a wide band's, Opus and 11 kHz included, is above -36 dB.
_HIGH_HZ, _VOICE_HZ = (4600.0, 7000.0), (300.0, 3400.0)
_NARROWBAND_DB = -40.0
#: What lies so far below the recording's mean is a gate's or an editor's silence, in which no noise can be heard.
_SILENCE_DB = -55.0
#: Below this a recording counts as noisy.
NOISY_DB = 15.0

#: A recording is clipped if more than this share of its samples lies this near to its peak. Measured: of 297 recordings
#: one has 0.3 %, the others below 0.05 %; amplified by 8 and cut each has 1 % or more, half of them over 10 %.
_CLIPPED, _PLATEAU = 0.005, 0.95

# When a voiceprint is shaky. The limits were measured with the bundled model.
_ENOUGH_SPEECH_S = 5.0
_ENOUGH_SNR_DB = 15.0
_CLEAR_LEAD = 0.10
_ALIKE = 0.75


class Condition(StrEnum):
    """The kinds of recording whose scores need a correction of their own."""

    CLEAN = "clean"
    NOISY = "noisy"
    TELEPHONE = "telephone"


@dataclass(frozen=True, kw_only=True)
class Capture:
    """How a voice was heard: what a score of its voiceprint must be corrected for."""

    #: Speech of the speaker whose voice it is, in seconds.
    net_speech_s: float
    #: Power of speech over that of what is heard between, in dB, 0 to 40; an estimate that babble deceives.
    snr_db: float
    #: Whether nothing is heard above 4 kHz, as on a telephone.
    narrowband: bool

    @property
    def condition(self) -> Condition:
        """Return which correction a score needs."""
        if self.narrowband:
            return Condition.TELEPHONE
        return Condition.NOISY if self.snr_db < NOISY_DB else Condition.CLEAN


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What a voiceprint was made from."""

    capture: Capture
    num_speakers: int
    #: The speaker's part of all speech, and by how much it exceeds the next one's, both 0 to 1.
    share: float
    lead: float
    #: Mean cosine of the speaker's windows to their centroid: how much they sound like one voice.
    consistency: float
    #: Whether the recording was too loud for what recorded it.
    clipped: bool

    @property
    def warning(self) -> str | None:
        """Say in a sentence why the voiceprint, and what is made of it, is shaky; None when it is not."""
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
    """Estimate the signal-to-noise ratio in dB from the power inside and outside of `speech`, which is not empty."""
    means, variances = _moments(waveform)
    sounding = variances >= variances.mean() * 10 ** (_SILENCE_DB / 10)
    # A constant offset is no noise.
    powers = variances + np.square(means - means[sounding].mean())
    middles = (np.arange(len(powers)) + 0.5) * _FRAME_S
    inside = np.any([(middles >= s.start_s) & (middles < s.end_s) for s in speech], axis=0)
    pauses = powers[~inside & sounding]
    # Without pauses the quietest tenth of what is heard stands in for them.
    outside = pauses if len(pauses) * _FRAME_S >= 0.2 else np.sort(powers[sounding])[: 1 + sounding.sum() // 10]
    noise = float(np.median(outside)) + 1e-12
    signal = max(float(powers[inside].mean()) - noise if inside.any() else 0.0, 1e-12)
    return float(np.clip(10 * np.log10(signal / noise), *SNR_RANGE_DB))


def is_narrowband(waveform: Waveform) -> bool:
    """Say whether nothing is heard above 4 kHz."""
    size = 4 * round(_FRAME_S * waveform.sample_rate_hz)
    blocks = waveform.samples[: len(waveform.samples) // size * size].reshape(-1, size)
    if len(blocks) == 0:
        return False
    power = np.square(np.abs(np.fft.rfft(blocks * np.hanning(size)))).mean(axis=0)
    hz = np.fft.rfftfreq(size, 1 / waveform.sample_rate_hz)
    high, voice = (power[(hz >= low) & (hz < top)].mean() for low, top in (_HIGH_HZ, _VOICE_HZ))
    return bool(high < voice * 10 ** (_NARROWBAND_DB / 10))


def is_clipped(waveform: Waveform) -> bool:
    """Say whether the peaks are cut off, at full scale or wherever the sound was turned down to since."""
    levels = np.abs(waveform.samples)
    return bool(np.mean(levels >= _PLATEAU * levels.max()) > _CLIPPED)


def _moments(waveform: Waveform) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each frame, without a copy in double precision."""
    size = round(_FRAME_S * waveform.sample_rate_hz)
    frames = waveform.samples[: len(waveform.samples) // size * size].reshape(-1, size)
    means = frames.mean(axis=1, dtype=np.float64)
    return means, np.square(frames).mean(axis=1, dtype=np.float64) - np.square(means)
