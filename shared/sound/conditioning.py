"""Conditioning of sound: several channels become one, without offset, rumble and hum, at the usual level of speech.

`Survey` measures a whole recording, and plans what to do; `Conditioner` does it block by block.

1. High-pass filter (Chebyshev, type II). Microphones add a constant offset, wind and handling add rumble, and mains add
   50 or 60 Hz. All of them lie below the voice, and each moves an embedding further than another speaker does.
2. Mix: channels without sound are dropped, and those that are noisier than the best one, or later copies of it.
   Inverted channels are turned over. The mean of the rest is taken, so that nothing can clip.
3. Level: the active speech level (ITU-T P.56) becomes 20 dB below full scale. At lower levels the voice activity
   detection misses speech: by telephone 12 % of it at 26 dB below full scale.

In place of the mix one channel may be heard, or each apart from the others. Then leaks between them are silenced.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter1d
from scipy.signal import cheby2, sosfilt, sosfilt_zi

from shared.domain.audio import SAMPLE_RATE_HZ, Planar, Samples
from shared.sound.crosstalk import find_leaks

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
    """Plan for the channels of a recording: how each channel that comes out is mixed from those of the file."""

    #: (num_out, num_channels); the level is set by them too.
    weights: NDArray[np.float32]
    #: Indices of the channels that are heard.
    used: tuple[int, ...]
    #: Indices of the channels in which somebody may speak.
    voices: tuple[int, ...]
    #: Active level of the loudest channel, in dB below full scale.
    level_db: float
    #: Signal-to-noise ratio of the best channel.
    snr_db: float
    #: Whether two channels hold two different people.
    two_people: bool
    clipped: bool
    #: Frames in which a channel that comes out is silenced, (num_out, num_frames); None: nowhere.
    leaks: NDArray[np.bool] | None = None

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
        return {number: channels.mix() for number, channels in self._longest_first()}

    def one(self, channel: int) -> dict[int, Mix]:
        """Return the plans by which one channel is heard; it is silent where it is lacking."""
        return {number: channels.one(channel) for number, channels in self._longest_first()}

    def each(self) -> dict[int, Mix]:
        """Return the plans by which each channel is heard apart; those that are lacking somewhere are silent there."""
        return {number: channels.each(self.num_channels) for number, channels in self._longest_first()}

    @property
    def num_channels(self) -> int:
        """Return the greatest number of channels that occurred."""
        return max(self._channels)

    def _longest_first(self) -> list[tuple[int, "_Channels"]]:
        return sorted(self._channels.items(), key=lambda item: -item[1].num_samples)


class Conditioner:
    """Conditioning of a recording, block by block.

    Parameters
    ----------
    mixes : plans that `Survey` made for the recording.
    """

    def __init__(self, mixes: Mapping[int, Mix]) -> None:
        self._mixes = mixes
        self._high_pass = _HighPass()
        #: Samples that went by, by number of channels.
        self._heard: Counter[int] = Counter()

    def __call__(self, block: Planar) -> Planar:
        """Return the next block, (num_out, num_samples)."""
        mix = self._mixes[len(block)]
        found = self._high_pass(mix.weights @ block)
        if mix.leaks is not None:
            found *= ~_frames_at(mix.leaks, self._heard[len(block)], block.shape[1])
        self._heard[len(block)] += block.shape[1]
        return found


def condition(blocks: Iterable[Planar]) -> Samples:
    """Return a recording of any number of channels as one channel, (num_samples,)."""
    kept = list(blocks)
    survey = Survey()
    for block in kept:
        survey.add(block)
    conditioner = Conditioner(survey.mixes())
    return np.concatenate([np.empty(0, np.float32), *(conditioner(block)[0] for block in kept)])


def _frames_at(frames: NDArray[np.bool], start: int, count: int) -> NDArray[np.bool]:
    """Return the frame's value for each of so many samples from `start` on; the last frame lasts for ever."""
    at = np.minimum(np.arange(start, start + count) // _FRAME, frames.shape[1] - 1)
    return frames[:, at]


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
        found = self._loudness()
        best = found.best
        two_people = _two_people(found.levels_db[found.voices], found.active_db[found.voices])
        used = found.heard & (found.snrs_db >= (_VOICE_DB if two_people else found.snrs_db[best] - _NOISIER_DB))
        used &= two_people | self._mixable(best, found.levels_db - found.active_db[:, None], found.snrs_db)
        used[best] = True
        signs = np.where(self._products[best] < 0, -1.0, 1.0)
        mean = np.where(used, signs, 0.0) / used.sum()
        return self._plan(found, used, [mean * self._gain(mean, best, found.active_db[best])], two_people=two_people)

    def one(self, channel: int) -> Mix:
        found = self._loudness()
        used = np.arange(self._number) == channel
        gains = [self._gain(used, i, found.active_db[i]) for i in np.flatnonzero(used).tolist()]
        return self._plan(found, used, [np.where(used, sum(gains), 0.0)])

    def each(self, num_out: int) -> Mix:
        found = self._loudness()
        leaks = np.zeros((num_out, found.levels_db.shape[1]), np.bool)
        voices = np.flatnonzero(found.voices)
        leaks[voices], empty = find_leaks(
            found.levels_db[voices], found.active_db[voices], found.snrs_db[voices] + found.active_db[voices] / 1000
        )
        used = found.heard.copy()
        used[voices[list(empty)]] = False
        weights = np.zeros((num_out, self._number))
        for i in np.flatnonzero(used).tolist():
            alone = np.arange(self._number) == i
            weights[i] = alone * self._gain(alone, i, active_level_db(found.levels_db[i, ~leaks[i]]))
        return replace(self._plan(found, used, weights), leaks=leaks if leaks.any() else None)

    def _loudness(self) -> "_Loudness":
        levels = np.concatenate(self._levels, axis=1).astype(np.float32)
        active = np.array([active_level_db(one) for one in levels], np.float32)
        ratios = np.array([_snr_db(*pair) for pair in zip(levels, active, strict=True)])
        return _Loudness(levels, active, ratios)

    def _plan(
        self,
        found: "_Loudness",
        used: NDArray[np.bool],
        weights: ArrayLike,
        *,
        two_people: bool = False,
    ) -> Mix:
        return Mix(
            weights=np.asarray(weights, np.float32),
            used=tuple(np.flatnonzero(used).tolist()),
            voices=tuple(np.flatnonzero(found.voices).tolist()),
            level_db=float(found.active_db.max()),
            snr_db=float(found.snrs_db[found.best]),
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

    def _gain(self, mean: NDArray[np.float64] | NDArray[np.bool], best: int, active_db: float) -> float:
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


@dataclass(frozen=True, eq=False)
class _Loudness:
    """Loudness of each channel of a part."""

    #: Level of each frame, (number, num_frames); active level and signal-to-noise ratio, (number,).
    levels_db: NDArray[np.float32]
    active_db: NDArray[np.float32]
    snrs_db: NDArray[np.float64]

    @property
    def best(self) -> int:
        return max(range(len(self.active_db)), key=lambda i: (self.snrs_db[i], self.active_db[i]))

    @property
    def heard(self) -> NDArray[np.bool]:
        return self.active_db > max(_SILENT_DB, self.active_db.max() - _MOST_SNR_DB)

    @property
    def voices(self) -> NDArray[np.bool]:
        return self.heard & (self.snrs_db >= _VOICE_DB)


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
