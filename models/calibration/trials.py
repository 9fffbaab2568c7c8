"""Trials to fit and to test a calibration: pairs of recordings, and the features of their comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.calibration.listening import Half, Halves, Variant
from shared.domain.calibration import Calibration, Captures, features
from shared.domain.errors import CalibrationError
from shared.domain.quality import Capture

#: Most pairs of recordings of one speaker, and of two: more say nothing new, and fill the memory.
_MOST_PAIRS = 12_000
#: Capture in the place of a voice that was not heard.
_NONE = Capture(net_speech_s=1.0, snr_db=0.0, narrowband=False)


@dataclass(frozen=True, eq=False)
class Trials:
    """Comparisons of enrolled halves of recordings with other halves."""

    #: (num, NUM_FEATURES).
    features: NDArray[np.float64]
    #: Whether both are of one speaker, (num,).
    same: NDArray[np.bool]

    @classmethod
    def joined(cls, parts: Sequence["Trials"]) -> "Trials":
        """Return the trials of several parts."""
        return cls(np.concatenate([part.features for part in parts]), np.concatenate([part.same for part in parts]))


def require_both(same: NDArray[np.bool]) -> None:
    """Refuse trials that are all of one speaker, or all of two; raises CalibrationError."""
    if same.all() or not same.any():
        raise CalibrationError("Too little speech is heard in the halves of the recordings; add longer ones.")


def compare(
    recordings: Sequence[Halves], calibration: Calibration, variants: Sequence[tuple[Variant, Variant]]
) -> Trials:
    """Compare recordings, the enrolled half in the first and the tried half in the second variant of each pair."""
    enrolled = {one: _Voices.of([halves.enrolled for halves in recordings], one, calibration) for one, _ in variants}
    tried = {two: _Voices.of([halves.tried for halves in recordings], two, calibration) for _, two in variants}
    speakers = np.array([halves.speaker for halves in recordings])
    i, j = _pairs(speakers)
    return Trials.joined([_compared(enrolled[one], tried[two], speakers, i, j) for one, two in variants])


@dataclass(frozen=True, eq=False)
class _Voices:
    """Voices of one half of each recording in one variant."""

    #: Whether there was enough speech, (num_recordings,).
    there: NDArray[np.bool]
    #: Compensated vectors, (num_recordings, dimension); zeros where there are none.
    vectors: NDArray[np.float32]
    captures: Captures

    @classmethod
    def of(cls, halves: Sequence[Half], variant: Variant, calibration: Calibration) -> "_Voices":
        voiceprints = [half.get(variant) for half in halves]
        none = np.zeros(calibration.nuisance.shape[1], np.float32)
        return cls(
            np.array([voiceprint is not None for voiceprint in voiceprints]),
            np.stack([calibration.compensated(found) if found else none for found in voiceprints]),
            Captures.of([found.capture if found else _NONE for found in voiceprints]),
        )


def _pairs(speakers: NDArray[np.str_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of recordings to compare."""
    rng = np.random.default_rng(0)
    same = speakers[:, None] == speakers
    # Sorted, so that few recordings are compared in the same order as many.
    chosen = [rng.permutation(np.flatnonzero(wanted))[:_MOST_PAIRS] for wanted in (same, ~same)]
    i, j = np.divmod(np.concatenate(chosen), len(speakers))
    return i, j


def _compared(
    enrolled: _Voices, tried: _Voices, speakers: NDArray[np.str_], i: NDArray[np.intp], j: NDArray[np.intp]
) -> Trials:
    heard = enrolled.there[i] & tried.there[j]
    i = i[heard]
    j = j[heard]
    cosines = np.einsum("ij,ij->i", enrolled.vectors[i], tried.vectors[j])
    rows = features(cosines, _taken(enrolled.captures, i), _taken(tried.captures, j))
    return Trials(rows, speakers[i] == speakers[j])


def _taken(captures: Captures, rows: NDArray[np.intp]) -> Captures:
    return Captures(**{field.name: getattr(captures, field.name)[rows] for field in fields(captures)})
