"""Quality of a recording: length of speech, noise, bandwidth and clipping."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Samples, Segment, Waveform, total_s

#: Length of a frame: short enough for pauses, long enough for a low voice's period.
_FRAME_S = 0.02
#: Range of the estimates: below it speech cannot be told from noise, above it the noise makes no difference.
SNR_RANGE_DB = (0.0, 40.0)
#: Band in which a telephone has no energy, in Hz. It starts above 4.5 kHz, because resampling from 8 to 16 kHz leaves
#: images up to there.
_HIGH_HZ = (4600.0, 7000.0)
#: Band in which every voice has energy, in Hz.
_VOICE_HZ = (300.0, 3400.0)
#: Ratio of the two bands' power below which a block of speech has no sound above 4 kHz, and the share of such blocks
#: from which on a recording is narrowband: a stretch of hiss or music that counts as speech does not decide. The upper
#: quarter of blocks is above -52 dB in no telephone copy, and above -44 dB in all wideband ones (models/README.md).
_NARROWBAND_DB = -46.0
_MOST = 0.75
#: Pauses at both ends of a segment of speech, in seconds: voice activity detection keeps a margin.
_EDGE_S = 0.1
#: Blocks this far below the mean power of speech are pauses.
_PAUSE_DB = -15.9
#: Frames this far below the mean power of speech are digital silence, of a noise gate or an editor.
_SILENCE_DB = -55.0
#: Longest distance of a pause from speech, in seconds: noise further away is none in the speech.
_NEAR_S = 0.5
#: The noise is that of the quietest frames of speech and pauses: this share of them. For 121 recordings in pink noise
#: at 5 to 20 dB the estimates deviate by 1.0 to 1.3 dB. Measured in the pauses alone, it was 1.1 to 1.7 dB.
_QUIET = 0.1
#: What the quietest frames of a steady noise are below its mean.
_QUIETER_DB = 0.5
#: Range of estimates in which a recording goes over from noisy to clean, so that no score jumps. It is some 10 to 25 dB
#: of pink noise, whose rumble is not counted: nine in ten recordings at 10 dB are estimated at 13 to 16 dB, at 20 dB at
#: 22 to 26 dB. On speakers whom the fit had not heard, recordings at 15 dB had a Cllr of 0.037 against clean ones. It
#: was 0.043 with 16 to 26 dB, and 0.060 with a step at 22 dB.
NOISY_TO_CLEAN_DB = (12.0, 28.0)

# Limits below or above which a voiceprint gets a warning, measured with the bundled model.
_ENOUGH_SPEECH_S = 5.0
_ENOUGH_SNR_DB = 15.0
_CLEAR_LEAD = 0.10
_ALIKE = 0.75
#: The same where all speech is taken for one person's, without a look for others. Of excerpts of 20 s of LibriSpeech,
#: 14 of one person have 0.83 to 0.89. 14 that are half another's have 0.76 to 0.79, and 14 that are a quarter another's
#: 0.78 to 0.82.
ALIKE_AS_ONE = 0.82


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


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Quality of the recording that a voiceprint was made from."""

    capture: Capture
    num_speakers: int
    #: The speaker's share of all speech, 0 to 1.
    share: float
    #: Difference to the share of the next speaker, 0 to 1; 1 where the client named the speaker.
    lead: float
    #: Mean cosine of the speaker's windows to their centroid; high if they sound like one voice.
    consistency: float
    #: Whether the recording was too loud for the device that recorded it.
    clipped: bool
    #: Consistency below which the speaker's parts are hardly one voice.
    alike_from: float = _ALIKE

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
        if self.consistency < self.alike_from:
            yield "the speaker's parts do not sound much alike"


def measure(waveform: Waveform, speech: Sequence[Segment], own: Sequence[Segment]) -> Capture:
    """Return the capture of a voice whose `own` segments lie within all `speech` of the recording."""
    return Capture(
        net_speech_s=total_s(own),
        snr_db=snr_db(waveform, speech, own),
        narrowband=is_narrowband(waveform, own),
    )


def snr_db(waveform: Waveform, speech: Sequence[Segment], own: Sequence[Segment]) -> float:
    """Estimate the signal-to-noise ratio in dB of a voice from the power of its `own` segments of all `speech`.

    Noise is what is left in the quietest moments of the voice and of the pauses next to it. So music, hiss or a tone
    of ringing that sounds in pauses only does not disturb the voice.
    """
    powers = _powers(waveform)
    middles_s = (np.arange(len(powers), dtype=np.float64) + 0.5) * _FRAME_S
    inside = _within(middles_s, own)
    voice = float(powers[inside].mean()) if inside.any() else 0.0
    near = inside | (_within(middles_s, own, _NEAR_S) & ~_within(middles_s, speech))
    noise = _quietest(powers[near & (powers >= voice * 10 ** (_SILENCE_DB / 10))]) + 1e-12
    signal = max(voice - noise, 1e-12)
    return float(np.clip(10 * np.log10(signal / noise), *SNR_RANGE_DB))


def _quietest(powers: NDArray[np.float64]) -> float:
    """Return the geometric mean of the quietest of `powers`: it grows with them without a jump, unlike a percentile."""
    quiet = np.sort(powers)[: 1 + round(_QUIET * len(powers))]
    return float(np.exp(np.log(quiet + 1e-12).mean())) * 10 ** (_QUIETER_DB / 10) if len(quiet) else 0.0


def is_narrowband(waveform: Waveform, speech: Iterable[Segment]) -> bool:
    """Return whether there is no sound above 4 kHz in `speech`; what sounds in the pauses does not count."""
    size = 4 * round(_FRAME_S * waveform.sample_rate_hz)
    blocks = np.concatenate([_blocks(waveform.crop(_inner(segment)), size) for segment in speech])
    if len(blocks) == 0:
        return False
    powers = np.square(np.abs(np.fft.rfft(blocks * np.hanning(size))))
    hz = np.fft.rfftfreq(size, 1 / waveform.sample_rate_hz)
    high, voice = (powers[:, (hz >= low) & (hz < top)].mean(axis=1) for low, top in (_HIGH_HZ, _VOICE_HZ))
    spoken = voice >= voice.mean() * 10 ** (_PAUSE_DB / 10)
    without = high[spoken] < voice[spoken] * 10 ** (_NARROWBAND_DB / 10)
    return bool(without.mean() > _MOST)


def _inner(segment: Segment) -> Segment:
    edge_s = min(_EDGE_S, segment.duration_s / 3)
    return Segment(segment.start_s + edge_s, segment.end_s - edge_s)


def _powers(waveform: Waveform) -> NDArray[np.float64]:
    """Return the power of each frame, (num_frames,)."""
    frames = _blocks(waveform.samples, round(_FRAME_S * waveform.sample_rate_hz))
    return np.square(frames).mean(axis=1, dtype=np.float64)


def _blocks(samples: Samples, size: int) -> Samples:
    """Return the whole blocks of `size` samples, (num_blocks, size)."""
    return samples[: len(samples) // size * size].reshape(-1, size)


def _within(times_s: NDArray[np.float64], segments: Iterable[Segment], margin_s: float = 0.0) -> NDArray[np.bool]:
    """Return which of the times lie in a segment, or at most `margin_s` from one, (num_times,)."""
    found = [(times_s >= s.start_s - margin_s) & (times_s < s.end_s + margin_s) for s in segments]
    return np.any(found, axis=0)
