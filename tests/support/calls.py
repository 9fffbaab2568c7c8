"""Recorded calls of two people, a channel each: built of real speech, with leaks between the channels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from scipy.signal import fftconvolve

from shared.domain.audio import SAMPLE_RATE_HZ, Planar, Samples, Segment
from shared.sound.conditioning import active_level_db

#: Steps of the reference, in seconds; speech is what is less than 25 dB below its active level.
_STEP_S = 0.01
_QUIET_DB = 25.0
_SILENT_DB = -100.0
#: Pauses that belong to a turn, in seconds.
_PAUSE_S = 0.3
#: Noise of each line, 80 dB below full scale.
_NOISE = 1e-4


@dataclass(frozen=True, eq=False)
class Call:
    """Sound of a call, (2, num_samples), and who speaks when: the segments of each channel."""

    sound: Planar
    speech: tuple[list[Segment], list[Segment]]

    @property
    def flac(self) -> bytes:
        """Return it as a file."""
        file = io.BytesIO()
        soundfile.write(file, self.sound.T / max(1.0, np.abs(self.sound).max()), SAMPLE_RATE_HZ, format="FLAC")
        return file.getvalue()


def call(
    clips: tuple[Sequence[Samples], Sequence[Samples]],
    seconds: float,
    *,
    share: float = 0.5,
    together: float = 0.0,
    least_s: float = 1.0,
    seed: int = 0,
) -> Call:
    """Return a call in which two people take turns, of 6 s at most.

    Parameters
    ----------
    clips : sound of each of them.
    share : of the turns that are the first one's.
    least_s : shortest turn.
    together : share of the turns that begin while the other one still speaks.
    """
    rng = np.random.default_rng(seed)
    sound = np.zeros((2, round(seconds * SAMPLE_RATE_HZ)), np.float32)
    taken = [0, 0]
    at = SAMPLE_RATE_HZ // 2
    who = 1
    while True:
        who = 1 - who if share == 0.5 else int(rng.random() >= share)
        clip = clips[who][taken[who] % len(clips[who])]
        said = clip[: round(rng.uniform(least_s, 6.0) * SAMPLE_RATE_HZ)]
        if at + len(said) > sound.shape[1]:
            break
        sound[who, at : at + len(said)] += said
        taken[who] += 1
        gap_s = (
            -rng.uniform(0.1, 0.8) * len(said) / SAMPLE_RATE_HZ if rng.random() < together else rng.uniform(0.1, 0.8)
        )
        at = max(0, at + len(said) + round(gap_s * SAMPLE_RATE_HZ))
    speech = (_speech(sound[0]), _speech(sound[1]))
    return Call((sound + _NOISE * rng.standard_normal(sound.shape)).astype(np.float32), speech)


def leaking(planar: Planar, leak_db: float, seed: int = 0) -> Planar:
    """Return a call in which each channel leaks into the other through a room, at a level relative to its own."""
    rng = np.random.default_rng(seed)
    room = rng.standard_normal(400) * np.exp(-np.arange(400) / 60) * 0.3
    room[rng.integers(0, 80)] += 1.0
    room *= 10 ** (leak_db / 20) / np.linalg.norm(room)
    leaks = np.stack([fftconvolve(channel, room)[: planar.shape[1]] for channel in planar[::-1]])
    return (planar + leaks).astype(np.float32)


def _speech(samples: Samples) -> list[Segment]:
    step = round(_STEP_S * SAMPLE_RATE_HZ)
    powers = np.square(samples[: len(samples) // step * step].reshape(-1, step)).mean(axis=1)
    levels_db = 10 * np.log10(powers + 1e-12)
    found: list[Segment] = []
    least_db = max(_SILENT_DB, active_level_db(levels_db) - _QUIET_DB)
    for start_s in (_STEP_S * np.flatnonzero(levels_db > least_db)).tolist():
        goes_on = found and start_s - found[-1].end_s < _PAUSE_S
        found.append(Segment(found.pop().start_s if goes_on else start_s, start_s + _STEP_S))
    return [segment for segment in found if segment.duration_s > 0.1]
