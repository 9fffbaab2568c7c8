"""Spoken digits, cut out of the recordings of FSDD, in which twenty are joined without a pause.

Recordings of one name have the same digits. They were written down from what most of the three speakers are heard to
say. Hidden Markov models of one speaker's digits, trained on all their recordings, find where each digit begins.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from models.features import HOP, nemo_features
from shared.domain.audio import SAMPLE_RATE_HZ, Samples
from tests.eval.recordings import Row
from tests.support.sounds import read_unconditioned

#: Digits of a recording by the end of its name; of number 7 the speakers' differ.
SAID = {
    "0": "49772510264964572794", "1": "65294803315424547043", "2": "44214187233501204951",
    "3": "63230739633675580235", "4": "33838742749146694571", "5": "64136018484823800588",
    "6": "19667676387624352170", "8": "45893522188256720837", "9": "92745071905660289602",
}  # fmt: skip
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: States of a digit's model, which pass in their order; coefficients of a frame; rounds of training.
_STATES = 7
_COEFFICIENTS = 13
_ROUNDS = 15
_LEAST_VARIANCE = 0.15
#: Loudness of each digit, its fade at both ends, and the shortest and the longest pause between two, in seconds.
_RMS = 0.05
_FADE_S = 0.005
_PAUSES_S = (0.3, 0.5)

_Frames = NDArray[np.float64]


def digits(rows: Sequence[Row]) -> dict[str, dict[str, list[Samples]]]:
    """Return the clips of each digit by speaker and name."""
    voices: dict[str, dict[str, list[Samples]]] = defaultdict(lambda: defaultdict(list))
    for speaker in sorted({row.speaker for row in rows}):
        own = [row for row in rows if row.speaker == speaker and row.path.stem[-1] in SAID]
        recordings = [read_unconditioned(row.path) for row in own]
        said = [np.array([int(digit) for digit in SAID[row.path.stem[-1]]]) for row in own]
        frames = [_cepstra(samples) for samples in recordings]
        for samples, labels, path in zip(recordings, said, aligned(frames, said), strict=True):
            edges = [*(np.searchsorted(path, np.arange(len(labels)) * _STATES) * HOP), len(samples)]
            for place, label in enumerate(labels):
                voices[speaker][_NAMES[label]].append(samples[edges[place] : edges[place + 1]])
    return voices


def aligned(recordings: Sequence[_Frames], said: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the state of each frame, counted through the recording: models and paths are fitted in turn (Viterbi)."""
    paths = [
        np.arange(len(frames)) * (len(labels) * _STATES) // len(frames)
        for frames, labels in zip(recordings, said, strict=True)
    ]
    for _ in range(_ROUNDS):
        every = np.concatenate(recordings)
        states = np.concatenate(
            [labels[path // _STATES] * _STATES + path % _STATES for labels, path in zip(said, paths, strict=True)]
        )
        own = states == np.arange(len(_NAMES) * _STATES)[:, np.newaxis]
        counts = np.maximum(1, own.sum(axis=1, keepdims=True))
        means = own @ every / counts
        variances = np.maximum(own @ np.square(every) / counts - np.square(means), _LEAST_VARIANCE)
        for i, (frames, labels) in enumerate(zip(recordings, said, strict=True)):
            order = (labels[:, np.newaxis] * _STATES + np.arange(_STATES)).ravel()
            distances = np.square(frames[:, np.newaxis] - means[order]) / variances[order] + np.log(variances[order])
            paths[i] = _best_path(-distances.sum(axis=2) / 2)
    return paths


def _best_path(scores: _Frames) -> NDArray[np.int64]:
    """Return the state of each frame, from the first to the last one, of the best sum of scores (frames, states)."""
    moved = np.zeros(scores.shape, bool)
    best = np.where(np.arange(scores.shape[1]) == 0, scores[0], -np.inf)
    for frame in range(1, len(scores)):
        before = np.concatenate([[-np.inf], best[:-1]])
        moved[frame] = before > best
        best = np.maximum(before, best) + scores[frame]
    path = np.full(len(scores), scores.shape[1] - 1)
    for frame in range(len(scores) - 1, 0, -1):
        path[frame - 1] = path[frame] - moved[frame, path[frame]]
    return path


def _cepstra(samples: Samples) -> _Frames:
    # Without the bands above 4 kHz, which recordings of 8 kHz lack.
    bands = nemo_features(samples)[:60].T.astype(np.float64)
    cepstra = dct(bands, norm="ortho", axis=1)[:, :_COEFFICIENTS]
    both = np.concatenate([cepstra, np.gradient(cepstra, axis=0)], axis=1)
    return (both - both.mean(axis=0)) / both.std(axis=0)


def read_out(clips: Sequence[Samples], rng: np.random.Generator) -> Samples:
    """Join clips, equally loud, with pauses in which there is a little noise."""
    parts = [_pause(rng)]
    for clip in clips:
        edge = np.minimum(1.0, np.arange(len(clip)) / (_FADE_S * SAMPLE_RATE_HZ))
        even = clip * (_RMS / np.sqrt(np.mean(np.square(clip)))) * edge * edge[::-1]
        parts += [even.astype(np.float32), _pause(rng)]
    return np.concatenate(parts)


def _pause(rng: np.random.Generator) -> Samples:
    return rng.normal(0, 1e-3, round(rng.uniform(*_PAUSES_S) * SAMPLE_RATE_HZ)).astype(np.float32)
