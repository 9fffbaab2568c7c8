"""Matching: assign the labels of known people to the speakers of a recording."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from shared.domain.naming import Likeness, Likenesses, percent

_LEAST_GAIN = 1e-300


def match(likenesses: Likenesses, *, exclusive: bool, threshold: float) -> dict[str, str | None]:
    """Return the label of each speaker, None for a stranger.

    Parameters
    ----------
    exclusive : no label is given twice. The pairs with the greatest sum of probabilities win, an assignment problem
        (Kuhn, "The Hungarian method", 1955).
    threshold : least confidence of a pair, 0 to 100. Without calibration it must be 0, and the cosines decide.
    """
    speakers = list(likenesses)
    labels = list(dict.fromkeys(label for row in likenesses.values() for label in row))
    if not labels:
        return dict.fromkeys(speakers)
    gains = np.array([[_gain(likenesses[s][label], threshold) for label in labels] for s in speakers])
    rows = np.arange(len(speakers))
    columns = gains.argmax(axis=1)
    if exclusive:
        rows, columns = linear_sum_assignment(gains, maximize=True)
    found = {speakers[i]: labels[j] for i, j in zip(rows, columns, strict=True) if gains[i, j] > 0}
    return {speaker: found.get(speaker) for speaker in speakers}


def _gain(likeness: Likeness, threshold: float) -> float:
    """Return the gain of a pair: positive, or 0 for a pair below the threshold."""
    if likeness.probability is None:
        return likeness.score + 2.0
    # With threshold 0 the most unlikely label is a label, too.
    return max(likeness.probability, _LEAST_GAIN) if percent(likeness.probability) >= threshold else 0.0
