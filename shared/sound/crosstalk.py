"""Crosstalk: the voice of one channel that leaks into another, more quietly.

Telephones and neighbouring microphones leak, and a voice is found in a leak as well as in speech. Two channels with a
person each differ in level by one amount while the first speaks, and by another while the second does. A channel holds
a leak where the difference is that of the other's speech. No level of a channel alone can tell: if its person says
little, most of its sound is leaks.

Two people who speak at once differ by any amount. So a second measure must agree: a leak grows louder and quieter with
the voice that it is of, from one frame to the next.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d

#: Frames of 20 ms over which levels are averaged, 0.3 s: shorter than a turn, longer than a sound of speech.
_SMOOTH = 15
#: Least distance of the two differences, in dB. Below it no frame is known to be a leak.
_APART_DB = 10.0
#: Distance below which both channels may hold the same sound. Copies had 4 dB at most.
_SAME_DB = 5.0
#: Least correlation of the changes of a leak's level with those of its voice's, from frame to frame: this much, and so
#: much more by the square root of the number of frames, since few agree by chance. Of 163 groups of frames in which two
#: people spoke at once without leaks, all were below it by 0.18 or more.
_ALIKE = 0.4
_CHANCE = 2.0
#: Frames by which a leak may be later than its voice, 0.2 s.
_LATEST = 10
#: Level below the active one that counts as silence, in dB.
_SILENT_DB = 50.0
#: Distance in dB from the difference of the other's speech up to which a frame is a leak, and the most of it as a share
#: of the distance of both. In calls with much overlap and leaks at -12 dB, 10 dB took 11 % of the speech, 6 took 7 %.
_NEAR_DB = 6.0
_NEAR = 0.4
#: Frames that a channel must lead, as loud as speech, to have speech of its own: 0.3 s.
_OWN = 15
_LOUD_DB = 6.0
#: Frames that are kept round a channel's own speech: 0.1 s to either side.
_AROUND = 11
#: Most rounds of new centres; they nearly always stop changing after five.
_ROUNDS = 30


def find_leaks(
    levels_db: NDArray[np.float32], active_db: NDArray[np.float32], merits: NDArray[np.floating]
) -> tuple[NDArray[np.bool], set[int]]:
    """Return where each channel holds a leak, (num_channels, num_frames), and the channels without sound of their own.

    Parameters
    ----------
    levels_db : level of each frame of 20 ms, (num_channels, num_frames).
    active_db : active level of each channel, (num_channels,).
    merits : merit of each channel, (num_channels,): of two that hold the same sound the one with less has none.
    """
    leaks = np.zeros(levels_db.shape, np.bool)
    empty: set[int] = set()
    for one, other in combinations(range(len(levels_db)), 2):
        pair = [one, other]
        found, own = _leaks(levels_db[pair], active_db[pair])
        if own.all():
            leaks[pair] |= found
        elif own.any():
            empty.add(pair[int(own.argmin())])
        else:
            empty.add(one if merits[one] < merits[other] else other)
    return minimum_filter1d(leaks, _AROUND, axis=1), empty


def _leaks(levels_db: NDArray[np.float32], active_db: NDArray[np.float32]) -> tuple[NDArray[np.bool], NDArray[np.bool]]:
    """Return the leaks of two channels, (2, num_frames), and whether each has sound of its own, (2,)."""
    loud = levels_db > active_db[:, None] - _LOUD_DB
    lead_db = np.subtract(*_smooth(levels_db))
    low_db, high_db = _centres(lead_db[loud.any(axis=0)])
    changes_db = _changes(levels_db, active_db)
    if high_db - low_db < _APART_DB:
        same = high_db - low_db < _SAME_DB and _follow(changes_db, loud[::-1]).any()
        return np.zeros(levels_db.shape, np.bool), np.full(2, not same)
    near_db = min(_NEAR_DB, _NEAR * (high_db - low_db))
    found = np.stack([lead_db < low_db + near_db, lead_db > high_db - near_db])
    follows = _follow(changes_db, found & loud[::-1])
    leads = lead_db > (low_db + high_db) / 2
    own = np.stack([leads, ~leads]) & loud
    return found & follows[:, None], (own.sum(axis=1) >= _OWN) | ~follows


def _changes(levels_db: NDArray[np.float32], active_db: NDArray[np.float32]) -> NDArray[np.float32]:
    heard_db = np.maximum(levels_db, active_db[:, None] - _SILENT_DB)
    return np.diff(heard_db, axis=1, prepend=heard_db[:, :1])


def _follow(changes_db: NDArray[np.float32], frames: NDArray[np.bool]) -> NDArray[np.bool]:
    """Return whether each of two channels follows the other in its frames, (2,)."""
    return np.array([_follows(*pair) for pair in zip(changes_db, changes_db[::-1], frames, strict=True)])


def _follows(changes_db: NDArray[np.float32], voice_db: NDArray[np.float32], frames: NDArray[np.bool]) -> bool:
    """Return whether a channel's level changes in these frames, or a little later, with that of a voice."""
    at = np.flatnonzero(frames)
    at = at[at < len(voice_db) - _LATEST]
    if len(at) < _OWN:
        return False
    alike = max(_correlation(changes_db[at + late], voice_db[at]) for late in range(_LATEST + 1))
    return alike >= _ALIKE + _CHANCE / len(at) ** 0.5


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    pair = np.stack([one - one.mean(), other - other.mean()]).astype(np.float64)
    products = pair @ pair.T
    return float(products[0, 1] / max(1e-9, np.sqrt(products[0, 0] * products[1, 1])))


def _smooth(levels_db: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = uniform_filter1d(10 ** (levels_db / 10), _SMOOTH, mode="nearest")
    return 10 * np.log10(np.maximum(powers, 1e-20))


def _centres(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the medians of two groups of values (Lloyd 1982), from the extremes on: a small group counts too."""
    low = float(values.min(initial=0.0))
    high = float(values.max(initial=0.0))
    for _ in range(_ROUNDS):
        upper = values > (low + high) / 2
        if upper.all() or not upper.any():
            break
        before = (low, high)
        low = float(np.median(values[~upper]))
        high = float(np.median(values[upper]))
        if (low, high) == before:
            break
    return low, high
