"""Held-out figures of a fit: each fifth of the speakers is judged by a fit on the others."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.calibration.fit import fit
from models.calibration.listening import FITTED, WHOLE_S, Halves
from models.calibration.metrics import cllr, eer
from models.calibration.store import HeldOut
from models.calibration.trials import compare, require_both
from shared.domain.calibration import Calibration, confidence
from shared.domain.errors import CalibrationError

_FOLDS = 5
#: Least number of speakers: each of two folds needs two, for a trial of two speakers.
_LEAST_SPEAKERS = 4
#: Confidence whose false accepts are counted.
_STRICT = 90

#: Log-likelihood ratios, and whether they are of one speaker.
Scores = tuple[NDArray[np.float64], NDArray[np.bool]]


def cross_validate(recordings: Sequence[Halves], channels: Sequence[str] = FITTED) -> HeldOut:
    """Return the figures of calibrations that are fitted on four fifths of the speakers, for the last fifth.

    Raises
    ------
    CalibrationError
        There are fewer than four speakers.
    """
    speakers = np.unique([halves.speaker for halves in recordings])
    if len(speakers) < _LEAST_SPEAKERS:
        raise CalibrationError(
            f"{len(speakers)} speakers have a recording with 6 s of speech; at least {_LEAST_SPEAKERS} are needed."
        )
    by_fold = [_judged(recordings, fold, channels) for fold in folds(speakers)]
    figures = [rates(*map(np.concatenate, zip(*parts, strict=True))) for parts in zip(*by_fold, strict=True)]
    cost, equal, strict = np.mean(figures, axis=0).tolist()
    return HeldOut(speakers=len(speakers), recordings=len(recordings), cllr=cost, eer=equal, false_accepts_at_90=strict)


def folds(speakers: NDArray[np.str_]) -> list[NDArray[np.str_]]:
    """Return the speakers in some parts of about the same size, two in each at least."""
    shuffled = np.random.default_rng(0).permutation(speakers)
    number = min(_FOLDS, len(speakers) // 2)
    return [shuffled[first::number] for first in range(number)]


def _judged(recordings: Sequence[Halves], fold: NDArray[np.str_], channels: Sequence[str]) -> list[Scores]:
    """Fit on all but the speakers of `fold`, and return their scores in each channel."""
    calibration = fit([halves for halves in recordings if halves.speaker not in fold], "")
    return list(scored([halves for halves in recordings if halves.speaker in fold], calibration, channels))


def scored(recordings: Sequence[Halves], calibration: Calibration, channels: Sequence[str]) -> Iterator[Scores]:
    """Yield the scores of clean enrolments against each channel, with all speech there is."""
    for channel in channels:
        found = compare(recordings, calibration, [((FITTED[0], WHOLE_S), (channel, WHOLE_S))])
        yield found.features @ calibration.weights, found.same


def rates(llrs: NDArray[np.float64], same: NDArray[np.bool]) -> tuple[float, float, float]:
    """Return the cost (Cllr), the equal error rate, and the share of false accepts at 90; raises CalibrationError."""
    require_both(same)
    strict = [confidence(llr) >= _STRICT for llr in llrs[~same].tolist()]
    return cllr(llrs, same), eer(llrs, same), float(np.mean(strict))
