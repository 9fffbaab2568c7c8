"""Conditioning of sound: several channels become one, without offset, rumble and hum, at the usual level of speech.

`Survey` measures a whole recording, and plans what to do; `Conditioner` does it block by block.

1. High-pass filter (Chebyshev, type II). Microphones add a constant offset, wind and handling add rumble, and mains add
   50 or 60 Hz. All of them lie below the voice, and each moves an embedding further than another speaker does.
2. Mix: channels without sound are dropped, and those that are noisier than the best one, or later copies of it.
   Inverted channels are turned over. The mean of the rest is taken, so that nothing can clip.
3. Level: the active speech level (ITU-T P.56) becomes 20 dB below full scale. At lower levels the voice activity
   detection misses speech: by telephone 12 % of it at 26 dB below full scale.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from scipy.signal import cheby2, sosfilt, sosfilt_zi

from shared.domain.audio import SAMPLE_RATE_HZ, Planar, Samples

#: 50 dB less at 61 Hz and below, all of a constant offset, 1 dB less at 95 Hz. With it, recordings by telephone were
#: told apart better than without: their equal error rate fell from 12.4 to 8.9 %.
_HIGH_PASS = cheby2(7, 50, 61, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
_LEVEL_DB = -20.0
#: Frames this far below the active level are pauses (ITU-T P.56, 2011: the margin).
_MARGIN_DB = 15.9
_FRAME = SAMPLE_RATE_HZ // 50
#: Level of a frame without any sound.
_NOTHING_DB = -200.0
#: Lowest active level of a channel in which something sounds. Coded silence is quieter.
_SILENT_DB = -80.0
#: Range of the signal-to-noise ratio: more of it makes no difference.
_MOST_SNR_DB = 40.0
#: Frames this far below the active level hold no noise of a microphone: a gate or an editor has cut it off.
_CUT_OFF_DB = 55.0
#: Share of the quietest frames in which there is nothing but noise, in %.
_PAUSES = 10
#: Channels that are noisier than the best one by more than this are dropped.
_NOISIER_DB = 6.0
#: Least signal-to-noise ratio of a channel in which somebody may speak.
_VOICE_DB = 10.0
#: A channel leads another one where it is louder by more than this, each measured against its own active level.
_LEAD_DB = 10.0
#: Share of the time for which each of two channels must lead the other, if they hold different people.
_OWN_TIME = 0.15
#: Frames by which one channel may be later than the other, 0.1 s to either side.
_LATER = 11
#: Share of the time for which a channel must lead the best one, if it adds something.
_ADDED_TIME = 0.01
#: Least correlation with the best channel, apart from noise, of a channel that adds nothing. Below it the mix is a comb
#: filter: with a copy that is 0.5 ms later, as of a microphone 17 cm away, voiceprints moved by 0.1.
_IN_PHASE = 0.85
#: Share of samples near the peak from which on a channel is clipped. Of 297 recordings one has 0.3 %, the others have
#: below 0.05 %; amplified by 8 and cut off, each has 1 % or more.
_CLIPPED = 0.005
#: Share of the peak from which on a sample is near it.
_PLATEAU = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix:
    """Plan for the channels of a recording."""

    #: One for each channel, (num_channels,); the level is set by them too.
    weights: NDArray[np.float32]
    #: Indices of the channels that are heard.
    used: tuple[int, ...]
    #: Active level of the loudest channel, in dB below full scale.
    level_db: float
    #: Signal-to-noise ratio of the best channel.
    snr_db: float
    #: Whether two channels hold two different people.
    two_people: bool
    clipped: bool

    @property
    def sounds(self) -> bool:
        """Return whether anything can be heard."""
        return self.level_db > _SILENT_DB

    @property
    def may_speak(self) -> bool:
        """Return whether it is more than silence, noise or one tone."""
        return self.sounds and self.snr_db >= _VOICE_DB


class Survey:
    """Measurements of a whole recording, taken block by block."""

    def __init__(self) -> None:
        #: By number of channels, which may change within a recording.
        self._channels: dict[int, _Channels] = {}

    def add(self, block: Planar) -> None:
        """Measure the next block."""
        if len(block) not in self._channels:
            self._channels[len(block)] = _Channels(len(block))
        self._channels[len(block)].add(block)

    def mixes(self) -> dict[int, Mix]:
        """Return the plan for each number of channels that occurred, the one that lasted longest first."""
        longest_first = sorted(self._channels.items(), key=lambda item: -item[1].num_samples)
        return {number: channels.mix() for number, channels in longest_first}


class Conditioner:
    """Conditioning of a recording, block by block.

    Parameters
    ----------
    mixes : what `Survey.mixes` returned for the recording.
    """

    def __init__(self, mixes: Mapping[int, Mix]) -> None:
        self._mixes = mixes
        self._high_pass = _HighPass()

    def __call__(self, block: Planar) -> Samples:
        """Return the next block as one channel, (num_samples,)."""
        return self._high_pass(self._mixes[len(block)].weights[None] @ block)[0]


def condition(blocks: Iterable[Planar]) -> Samples:
    """Return a recording of any number of channels as one channel, (num_samples,)."""
    kept = list(blocks)
    survey = Survey()
    for block in kept:
        survey.add(block)
    conditioner = Conditioner(survey.mixes())
    return np.concatenate([np.empty(0, np.float32), *map(conditioner, kept)])


class _HighPass:
    """The high-pass filter, whose state is kept from block to block."""

    def __init__(self) -> None:
        self._state: NDArray[np.float64] | None = None

    def __call__(self, block: Planar) -> Planar:
        if block.size == 0:
            return block
        if self._state is None:
            # As if the first sample had lasted for ever: an offset that begins with the recording makes no click.
            self._state = sosfilt_zi(_HIGH_PASS)[:, None] * block[:, :1].astype(np.float64)
        filtered, self._state = sosfilt(_HIGH_PASS, block, zi=self._state)
        return filtered.astype(np.float32)


class _Channels:
    """Measurements of the part of a recording that has so many channels."""

    def __init__(self, number: int) -> None:
        self.num_samples = 0
        self._number = number
        self._high_pass = _HighPass()
        #: Sums of the products of each two channels.
        self._products = np.zeros((number, number))
        #: Samples that do not fill a frame yet.
        self._rest = np.zeros((number, 0))
        #: For each block the levels of its frames in dB, (number, num_frames): two hours take 0.7 MB a channel.
        self._levels: list[NDArray[np.float16]] = []
        #: For each block its peak, and how many of its samples are near it, (number,).
        self._peaks: list[NDArray[np.float32]] = []
        self._near: list[NDArray[np.intp]] = []

    def add(self, block: Planar) -> None:
        self.num_samples += block.shape[1]
        sizes = np.abs(block)
        self._peaks.append(sizes.max(axis=1, initial=0.0))
        self._near.append((sizes >= _PLATEAU * self._peaks[-1][:, None]).sum(axis=1))
        heard = self._high_pass(block).astype(np.float64)
        self._products += heard @ heard.T
        waiting = np.concatenate([self._rest, heard], axis=1)
        whole = waiting.shape[1] // _FRAME * _FRAME
        self._rest = waiting[:, whole:]
        frames = waiting[:, :whole].reshape(self._number, -1, _FRAME)
        self._levels.append(_decibels(np.square(frames).mean(axis=2)).astype(np.float16))

    def mix(self) -> Mix:
        levels = np.concatenate(self._levels, axis=1).astype(np.float32)
        active = np.array([active_level_db(one) for one in levels], np.float32)
        ratios = np.array([_snr_db(*pair) for pair in zip(levels, active, strict=True)])
        best = max(range(self._number), key=lambda i: (ratios[i], active[i]))
        heard = active > max(_SILENT_DB, active.max() - _MOST_SNR_DB)
        voices = heard & (ratios >= _VOICE_DB)
        two_people = _two_people(levels[voices], active[voices])
        used = heard & (ratios >= (_VOICE_DB if two_people else ratios[best] - _NOISIER_DB))
        used &= two_people | self._mixable(best, levels - active[:, None], ratios)
        used[best] = True
        signs = np.where(self._products[best] < 0, -1.0, 1.0)
        mean = np.where(used, signs, 0.0) / used.sum()
        return Mix(
            weights=(mean * self._gain(mean, best, active[best])).astype(np.float32),
            used=tuple(np.flatnonzero(used).tolist()),
            level_db=float(active.max()),
            snr_db=float(ratios[best]),
            two_people=two_people,
            clipped=bool((used & self._clipped()).any()),
        )

    def _mixable(self, best: int, loudness: NDArray[np.float32], ratios: NDArray[np.float64]) -> NDArray[np.bool]:
        """Return which channels are in phase with the best one, or hold something that it lacks."""
        powers = np.diag(self._products)
        alike = np.abs(self._products[best]) / np.sqrt(np.maximum(powers * powers[best], 1e-30))
        clean = 1.0 - 10 ** (-np.maximum(ratios, 0.0) / 10)
        adds = [_adds(one, loudness[best]) for one in loudness]
        return (alike >= _IN_PHASE * np.sqrt(clean * clean[best])) | np.array(adds)

    def _gain(self, mean: NDArray[np.float64], best: int, active_db: float) -> float:
        """Return the gain for the mix, whose level follows from that of its best channel and the powers of both."""
        power = mean @ self._products @ mean
        if active_db <= _NOTHING_DB or power <= 0.0:
            return 1.0
        return float(np.sqrt(10 ** ((_LEVEL_DB - active_db) / 10) * self._products[best, best] / power))

    def _clipped(self) -> NDArray[np.bool]:
        """Return which channels have peaks that are cut off, at full scale or at a lower level."""
        peaks = np.stack(self._peaks)
        # A block whose own peak is lower was not cut off there.
        near = np.where(peaks >= 0.98 * peaks.max(axis=0), np.stack(self._near), 0)
        return near.sum(axis=0) > _CLIPPED * self.num_samples


def active_level_db(levels_db: NDArray[np.floating]) -> float:
    """Return the active speech level of frames in dB (ITU-T P.56): the mean power of those that are no pause.

    Parameters
    ----------
    levels_db : level of each frame, (num_frames,).
    """
    powers = 10 ** (levels_db / 10)
    active = float(powers.mean()) if len(powers) else 0.0
    for _ in range(20):
        louder = powers[powers >= active * 10 ** (-_MARGIN_DB / 10)]
        active = float(louder.mean()) if len(louder) else active
    return float(_decibels(active))


def _snr_db(levels_db: NDArray[np.float32], active_db: float) -> float:
    microphone = levels_db[levels_db > active_db - _CUT_OFF_DB]
    if active_db <= _SILENT_DB or len(microphone) == 0:
        return -np.inf
    return min(_MOST_SNR_DB, active_db - float(np.percentile(microphone, _PAUSES)))


def _two_people(levels_db: NDArray[np.float32], active_db: NDArray[np.float32]) -> bool:
    """Return whether two channels take turns: one voice in two microphones rises and falls in both at once."""
    loudness = levels_db - active_db[:, None]
    # Pair by pair: all at once, eight channels of two hours take 180 MB.
    return any(_take_turns(one, other) for one, other in combinations(loudness, 2))


def _take_turns(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    lead = one - other
    speaking = one > -_MARGIN_DB
    speaking_too = other > -_MARGIN_DB
    own = min(np.sum(speaking & (lead > _LEAD_DB)), np.sum(speaking_too & (lead < -_LEAD_DB)))
    return bool(own > _OWN_TIME * np.sum(speaking | speaking_too))


def _adds(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Return whether `one` has speech that `other` lacks, and is no copy of it that comes a little later."""
    lead = one - maximum_filter1d(other, _LATER)
    return bool(np.sum((one > -_MARGIN_DB) & (lead > _LEAD_DB)) > _ADDED_TIME * len(one))


def _decibels(power: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return 10 * np.log10(np.maximum(power, 10 ** (_NOTHING_DB / 10)))
