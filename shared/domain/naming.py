"""Naming one of N: the probability that a voice is one person's, and nobody else's of all who are compared.

The false accepts of a fixed threshold grow with the number of people compared. So a confidence here is another than
that of a verification. It assumes that the person is one of the N with probability 1/2, and all of them alike::

    p_i = LR_i / (N + sum LR)        nobody = N / (N + sum LR)

LR_i is the likelihood ratio of the best voiceprint of person i. For N = 1 that is the confidence of a verification.
Searches in a space and identifications both count so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.verification import Comparison


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Likeness of a voice to one of the people it is compared with."""

    #: Cosine of the vectors, -1 to 1.
    score: float
    #: Probability that it is this person and no other, 0 to 1; None if the model is not calibrated.
    probability: float | None

    @property
    def confidence(self) -> int | None:
        """Return the probability as a confidence, 0 to 100, rounded down; None if the model is not calibrated."""
        return None if self.probability is None else percent(self.probability)


#: Likenesses by speaker of a recording, then by label of the people compared.
Likenesses = Mapping[str, Mapping[str, Likeness]]


def log_weight(llrs: Sequence[float] | NDArray[np.float64], num: int) -> float:
    """Return ln(N + sum LR), by which the probabilities of a voice are divided.

    Parameters
    ----------
    llrs : log-likelihood ratio of each person, by the best voiceprint.
    num : number of people compared; of nobody the weight is -inf.
    """
    return joined(np.append(llrs, math.log(num))) if num else -np.inf


def joined(weights: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the `log_weight` of all people together, by that of each group of them."""
    values = np.asarray(weights)
    most = values.max(initial=-np.inf)
    return float(most + np.log(np.exp(values - most).sum())) if most > -np.inf else -np.inf


def likenesses(comparisons: Mapping[str, Comparison], weight: float) -> dict[str, Likeness]:
    """Return the likeness to each person, by the comparisons with them and the `log_weight` of all."""
    return {label: _likeness(comparison, weight) for label, comparison in comparisons.items()}


def percent(probability: float) -> int:
    """Return a probability as a confidence, 0 to 100, rounded down: 99 means at least 99 %."""
    return int(100 * probability)


def _likeness(comparison: Comparison, weight: float) -> Likeness:
    probability = None if comparison.llr is None else math.exp(comparison.llr - weight)
    return Likeness(score=comparison.score, probability=probability)
