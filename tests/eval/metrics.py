"""Error rates of trials, from arrays of scores and weights; a trial is a target (same speaker) or not."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.calibration.metrics import Array, error_rates

_DRAWS = 200


def min_dcf(scores: Array, same: NDArray[np.bool_], weights: Array | None = None, prior: float = 0.01) -> float:
    """Return NIST's least detection cost, with costs of 1, normalised by the cheaper constant decision."""
    frr, far = error_rates(scores, same, weights)
    return float(np.min(prior * frr + (1 - prior) * far) / min(prior, 1 - prior))


def interval(
    measure: Callable[[Array, NDArray[np.bool_], Array], float],
    scores: Array,
    same: NDArray[np.bool_],
    speakers: Sequence[tuple[str, str]],
) -> tuple[float, float]:
    """Return the 95 % interval of `measure` by a bootstrap over speakers, not over trials."""
    names, index = np.unique(np.array(speakers), return_inverse=True)
    index = index.reshape(-1, 2)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_DRAWS):
        counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names)).astype(float)
        weights = np.where(index[:, 0] == index[:, 1], counts[index[:, 0]], counts[index].prod(axis=1))
        if (weights * same).sum() and (weights * ~same).sum():
            drawn.append(measure(scores, same, weights))
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return float(low), float(high)
