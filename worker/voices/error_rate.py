"""Diarization error rate (DER): speech that is missed, found where nobody speaks, or given to the wrong speaker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from shared.domain.diarization import Turn

#: Time steps of the measure, in seconds. Edges are rounded to them.
STEP_S = 0.01
#: NIST's forgiveness: time this near to an edge of the reference is not judged.
COLLAR_S = 0.25


@dataclass(frozen=True, kw_only=True)
class DiarizationError:
    """Errors of a diarization in seconds of speech; where two speak at once, each of them counts."""

    speech_s: float
    missed_s: float
    false_alarm_s: float
    confused_s: float

    @property
    def wrong_s(self) -> float:
        """Return the seconds of all three errors."""
        return self.missed_s + self.false_alarm_s + self.confused_s


def diarization_error(
    reference: Sequence[Turn], found: Sequence[Turn], duration_s: float, collar_s: float = COLLAR_S
) -> DiarizationError:
    """Compare the turns found in a recording with the true ones, under the best mapping of speakers.

    The rate is `wrong_s / speech_s`. It is that of pyannote.metrics, up to the rounding of edges to `STEP_S`.
    """
    judged = _outside_collars(reference, duration_s, collar_s)
    true = _speaking(reference, duration_s)[:, judged]
    guessed = _speaking(found, duration_s)[:, judged]
    together = true.astype(np.float64) @ guessed.T.astype(np.float64)
    right = together[linear_sum_assignment(-together)].sum()
    num_true = true.sum(axis=0)
    num_guessed = guessed.sum(axis=0)
    return DiarizationError(
        speech_s=STEP_S * float(num_true.sum()),
        missed_s=STEP_S * float(np.maximum(num_true - num_guessed, 0).sum()),
        false_alarm_s=STEP_S * float(np.maximum(num_guessed - num_true, 0).sum()),
        confused_s=STEP_S * float(np.minimum(num_true, num_guessed).sum() - right),
    )


def _speaking(turns: Sequence[Turn], duration_s: float) -> NDArray[np.bool_]:
    """Return whether each speaker speaks at each step, (num_speakers, num_steps)."""
    speakers = sorted({turn.speaker for turn in turns})
    speaking = np.zeros((len(speakers), round(duration_s / STEP_S)), np.bool_)
    for turn in turns:
        speaking[speakers.index(turn.speaker), _step(turn.segment.start_s) : _step(turn.segment.end_s)] = True
    return speaking


def _outside_collars(reference: Sequence[Turn], duration_s: float, collar_s: float) -> NDArray[np.bool_]:
    judged = np.ones(round(duration_s / STEP_S), np.bool_)
    for edge_s in (edge_s for turn in reference for edge_s in (turn.segment.start_s, turn.segment.end_s)):
        judged[_step(edge_s - collar_s) : _step(edge_s + collar_s)] = False
    return judged


def _step(time_s: float) -> int:
    return max(0, round(time_s / STEP_S))
