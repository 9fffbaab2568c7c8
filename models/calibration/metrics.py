"""Error rates of trials, from arrays of scores and weights; a trial is a target (same speaker) or not."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def error_rates(scores: Array, same: NDArray[np.bool_], weights: Array | None = None) -> tuple[Array, Array]:
    """Return the false-reject and false-accept rates with the threshold just above each score, lowest first."""
    weights = np.ones(len(scores)) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    hits = (weights * same)[order]
    falses = (weights * ~same)[order]
    frr = np.concatenate([[0.0], np.cumsum(hits) / hits.sum()])
    far = np.concatenate([[1.0], 1 - np.cumsum(falses) / falses.sum()])
    return frr, far


def eer(scores: Array, same: NDArray[np.bool_], weights: Array | None = None) -> float:
    """Return the equal error rate, at which the false-reject and the false-accept rate meet."""
    frr, far = error_rates(scores, same, weights)
    i = int(np.argmin(np.abs(frr - far)))
    return float(frr[i] + far[i]) / 2


def cllr(llrs: Array, same: NDArray[np.bool_]) -> float:
    """Return the cost of log-likelihood ratios in bits (Brummer 2006); 0 is perfect, 1 is that of no information."""
    return float(np.logaddexp(0, -llrs[same]).mean() + np.logaddexp(0, llrs[~same]).mean()) / 2 / float(np.log(2))
