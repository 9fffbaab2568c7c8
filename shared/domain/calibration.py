"""From a cosine to a decision: log-likelihood ratio and confidence, fitted per model (`make calibrate`).

A fixed threshold on the cosine is unsafe: short, noisy and telephone recordings lower it for one voice and raise it for
two. So each vector loses the mean of its condition (clean, noisy, telephone) and the few directions in which channels
move a voice (nuisance attribute projection: Solomonoff, Campbell and Boardman, 2005), and logistic regression (Brummer
and du Preez, "Application-independent evaluation of speaker detection", 2006) weighs the cosine that is left with what
is known of both recordings.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint

#: How many features `features` gives.
NUM_FEATURES = 8
#: Speech beyond so many seconds adds nothing to the certainty of a score; less than so many counts as so many. The
#: weights were fitted on 3 s and more; of half a second they make nonsense: strangers at over 50 % each.
_LEAST_SPEECH_S, _MOST_SPEECH_S = 1.0, 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What turns one model's scores into log-likelihood ratios."""

    #: The model whose scores they are: other weights make other scores.
    model_id: str
    #: What it was fitted on, in words.
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
        """Return the vector (dimension,) less what its channel made of it, L2 norm 1."""
        moved = voiceprint.vector - self.means[voiceprint.capture.condition]
        moved = moved - self.nuisance.T @ (self.nuisance @ moved)
        return moved / max(float(np.linalg.norm(moved)), 1e-9)


def features(cosine: float, one: Capture, other: Capture) -> NDArray[np.float64]:
    """Return what the log-likelihood ratio is a weighted sum of, (NUM_FEATURES,)."""
    seconds = np.log(np.clip(min(one.net_speech_s, other.net_speech_s), _LEAST_SPEECH_S, _MOST_SPEECH_S))
    noise = 1 - min(one.snr_db, other.snr_db) / 40
    differs = float(one.condition != other.condition)
    context = np.array([1.0, seconds, noise, differs])
    return np.concatenate([context, cosine * context])


def probability(llr: float) -> float:
    """Return the probability that it is one speaker, when both cases are as likely beforehand."""
    return 1 / (1 + float(np.exp(-np.clip(llr, -50.0, 50.0))))


def confidence(llr: float) -> int:
    """Return that probability as the 0 to 100 of the wire, rounded down: a confidence of 99 is one of at least 99 %."""
    return int(100 * probability(llr))
