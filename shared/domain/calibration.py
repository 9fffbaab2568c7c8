"""Calibration: log-likelihood ratio and confidence of a cosine, fitted per model (`make calibrate`).

A fixed threshold on the cosine is unsafe. Short, noisy and telephone recordings lower the cosine of one voice and raise
that of two. So each vector is compensated. First the mean of its condition (clean, noisy, telephone) is subtracted.
Then the few directions in which channels move a voice are removed (nuisance attribute projection [1]). Logistic
regression [2] combines the cosine of two compensated vectors with the captures of both recordings.

1. Solomonoff, Campbell and Boardman, "Advances in channel compensation for SVM speaker recognition", 2005.
2. Brummer and du Preez, "Application-independent evaluation of speaker detection", 2006.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint

#: Number of features that `features` returns.
NUM_FEATURES = 8
#: Shorter speech counts as this many seconds. The weights were fitted on 3 s and more; for half a second they would
#: give strangers a confidence over 50 %.
_LEAST_SPEECH_S = 1.0
#: Longer speech counts as this many seconds, because more adds nothing to the certainty of a score.
_MOST_SPEECH_S = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Map from one model's scores to log-likelihood ratios."""

    #: Model that it was fitted for; it is wrong for the scores of another.
    model_id: str
    #: Name of the data that it was fitted on.
    data: str
    #: One weight per feature, (NUM_FEATURES,).
    weights: NDArray[np.float64]
    #: Mean vector of each condition, (dimension,).
    means: Mapping[str, NDArray[np.float32]]
    #: Directions in which channels move a voice: orthonormal rows, (num_directions, dimension).
    nuisance: NDArray[np.float32]

    def llr(self, one: Voiceprint, other: Voiceprint) -> float:
        """Return ln(p(same speaker) / p(different speakers)) of the two voiceprints.

        Raises
        ------
        InvalidVoiceprint
            The voiceprints were made by different models.
        """
        one.require_same_model(other)
        cosine = self.compensated(one) @ self.compensated(other)
        return float(features(float(cosine), one.capture, other.capture) @ self.weights)

    def compensated(self, voiceprint: Voiceprint) -> NDArray[np.float32]:
        """Return the vector (dimension,) without the effect of its channel, L2 norm 1."""
        moved = voiceprint.vector - self.means[voiceprint.capture.condition]
        moved = moved - self.nuisance.T @ (self.nuisance @ moved)
        return moved / max(float(np.linalg.norm(moved)), 1e-9)


def features(cosine: float, one: Capture, other: Capture) -> NDArray[np.float64]:
    """Return the features whose weighted sum is the log-likelihood ratio, (NUM_FEATURES,)."""
    seconds = np.log(np.clip(min(one.net_speech_s, other.net_speech_s), _LEAST_SPEECH_S, _MOST_SPEECH_S))
    noise = 1 - min(one.snr_db, other.snr_db) / 40
    differs = float(one.condition != other.condition)
    context = np.array([1.0, seconds, noise, differs])
    return np.concatenate([context, cosine * context])


def probability(llr: float) -> float:
    """Return the probability of one speaker, if one and two speakers are equally likely beforehand."""
    return 1 / (1 + float(np.exp(-np.clip(llr, -50.0, 50.0))))


def confidence(llr: float) -> int:
    """Return the probability as a confidence, 0 to 100, rounded down: 99 means at least 99 %."""
    return int(100 * probability(llr))
