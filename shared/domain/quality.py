"""Quality of a recording: length of speech, noise, bandwidth and clipping."""

from collections.abc import Iterable, Iterator, Sequence
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
#: Frames this far below the mean power of speech are digital silence, of a noise gate or an editor.
_SILENCE_DB = -55.0
#: Longest distance of a pause from speech, in seconds: noise further away is none in the speech.
_NEAR_S = 0.5
#: The noise is that of the quieter frames of the pauses: this percentile of them.
_QUIET = 25
#: Least length of such pauses, in seconds; with less the quietest parts of the speech replace them.
_ENOUGH_PAUSES_S = 0.2
#: Below this a recording counts as noisy, so that scores are corrected for noise. Of recordings in pink noise at 15 dB
#: nine in ten are estimated at 18 to 21 dB, at 20 dB at 22 to 26 dB; the rumble in such noise is not counted.
NOISY_DB = 22.0

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
    """Estimate the signal-to-noise ratio in dB from the power inside and outside of `speech`, one segment at least.

    Noise is measured in the pauses next to speech, and there at the quiet end. Music, a tone of ringing or traffic
    elsewhere in the recording does not disturb the voice.
    """
    powers = _powers(waveform)
    middles_s = (np.arange(len(powers), dtype=np.float64) + 0.5) * _FRAME_S
    inside = _within(middles_s, speech)
    voice = float(powers[inside].mean()) if inside.any() else 0.0
    sounding = powers >= voice * 10 ** (_SILENCE_DB / 10)
    pauses = powers[~inside & sounding & _within(middles_s, speech, _NEAR_S)]
    if len(pauses) * _FRAME_S >= _ENOUGH_PAUSES_S:
        noise = float(np.percentile(pauses, _QUIET))
    else:
        noise = _quietest(powers[inside & sounding])
    noise += 1e-12
    signal = max(voice - noise, 1e-12)
    return float(np.clip(10 * np.log10(signal / noise), *SNR_RANGE_DB))


def _quietest(powers: NDArray[np.float64]) -> float:
    """Return the median of the quietest tenth of `powers`."""
    quiet = np.sort(powers)[: 1 + len(powers) // 10]
    return float(np.median(quiet)) if len(quiet) else 0.0


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


def _powers(waveform: Waveform) -> NDArray[np.float64]:
    """Return the power of each frame, (num_frames,)."""
    size = round(_FRAME_S * waveform.sample_rate_hz)
    frames = waveform.samples[: len(waveform.samples) // size * size].reshape(-1, size)
    return np.square(frames).mean(axis=1, dtype=np.float64)


def _within(times_s: NDArray[np.float64], segments: Iterable[Segment], margin_s: float = 0.0) -> NDArray[np.bool]:
    """Return which of the times lie in a segment, or at most `margin_s` from one, (num_times,)."""
    found = [(times_s >= s.start_s - margin_s) & (times_s < s.end_s + margin_s) for s in segments]
    return np.any(found, axis=0)
