"""Calibration: log-likelihood ratio and confidence of a cosine, fitted per model (`make calibrate`).

A fixed threshold on the cosine is unsafe. Short, noisy and telephone recordings lower the cosine of one voice and raise
that of two. So each vector is compensated. First the mean of its condition (clean, noisy, telephone) is subtracted.
Then the few directions in which channels move a voice are removed (nuisance attribute projection [1]). Logistic
regression [2] combines the cosine of two compensated vectors with the captures of both recordings. A recording with a
little noise has the mean of both, clean and noisy, each by its share.

1. Solomonoff, Campbell and Boardman, "Advances in channel compensation for SVM speaker recognition", 2005.
2. Brummer and du Preez, "Application-independent evaluation of speaker detection", 2006.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.quality import NOISY_TO_CLEAN_DB, SNR_RANGE_DB, Capture, Condition
from shared.domain.voiceprints import Voiceprint

#: Number of features that `features` returns.
NUM_FEATURES = 8
#: Shorter speech counts as this many seconds. The weights were fitted on 3 s and more; for half a second they would
#: give strangers a confidence over 50 %.
_LEAST_SPEECH_S = 1.0
#: Longer speech counts as this many seconds, because more adds nothing to the certainty of a score.
_MOST_SPEECH_S = 10.0
#: Norm of a compensated vector below which nothing of the voice is left.
_LEAST_NORM = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Captures:
    """Captures of several voiceprints, as far as the features need them; each array is (num,)."""

    #: Natural logarithm of the seconds of speech that count.
    seconds: NDArray[np.float64]
    #: Noise, 0 to 1.
    noise: NDArray[np.float64]
    #: Whether there is no sound above 4 kHz.
    narrowband: NDArray[np.bool]

    @classmethod
    def of(cls, captures: Sequence[Capture]) -> "Captures":
        """Return the arrays of `captures`."""
        speech_s = np.array([capture.net_speech_s for capture in captures], np.float64)
        return cls(
            seconds=np.log(np.clip(speech_s, _LEAST_SPEECH_S, _MOST_SPEECH_S)),
            noise=np.array([1 - capture.snr_db / SNR_RANGE_DB[1] for capture in captures], np.float64),
            narrowband=np.array([capture.narrowband for capture in captures], np.bool),
        )

    def shares(self) -> NDArray[np.float32]:
        """Return how much of each condition's mean is in a voice, (num, num_conditions); rows sum to 1."""
        most, least = (1 - edge / SNR_RANGE_DB[1] for edge in NOISY_TO_CLEAN_DB)
        noisy = np.clip((self.noise - least) / (most - least), 0.0, 1.0) * ~self.narrowband
        by_condition = {Condition.NOISY: noisy, Condition.TELEPHONE: self.narrowband}
        by_condition[Condition.CLEAN] = 1.0 - noisy - self.narrowband
        return np.stack([by_condition[condition] for condition in Condition], axis=1).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Map from one model's scores to log-likelihood ratios."""

    #: Model that it was fitted for; it is wrong for the scores of another.
    model_id: str
    #: Name of the data that it was fitted on.
    data: str
    #: Time of the fit, ISO 8601, UTC.
    fitted_at: str
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
        captures = (Captures.of([voiceprint.capture]) for voiceprint in (one, other))
        return float((features(np.array([cosine]), *captures) @ self.weights)[0])

    def compensated(self, voiceprint: Voiceprint) -> NDArray[np.float32]:
        """Return the vector (dimension,) without the effect of its channel, L2 norm 1."""
        moved = self._projected(voiceprint.vector - self._middles(Captures.of([voiceprint.capture]))[0])
        return moved / max(float(np.linalg.norm(moved)), _LEAST_NORM)

    def lengths(self, vectors: NDArray[np.float32], captures: Captures) -> NDArray[np.float32]:
        """Return the norms that compensated vectors have before they are divided by them, (num,)."""
        moved = self._projected(vectors - self._middles(captures))
        return np.maximum(np.linalg.norm(moved, axis=1), _LEAST_NORM).astype(np.float32)

    def llrs(
        self, vectors: NDArray[np.float32], lengths: NDArray[np.float32], captures: Captures, probe: Voiceprint
    ) -> NDArray[np.float64]:
        """Return the log-likelihood ratio of each of `vectors` (num, dimension) and the probe, (num,).

        The vectors need not be compensated: to project the probe once more gives the same product as to project them.
        """
        voice = self._projected(self.compensated(probe))
        cosines = (vectors @ voice - captures.shares() @ (self._means() @ voice)) / lengths
        context = _context(captures, Captures.of([probe.capture]))
        alone, scaling = self.weights.reshape(2, -1) @ context
        return alone + cosines * scaling

    def _middles(self, captures: Captures) -> NDArray[np.float32]:
        """Return the mean that each voiceprint is seen from, (num, dimension)."""
        return captures.shares() @ self._means()

    def _means(self) -> NDArray[np.float32]:
        return np.stack([self.means[condition] for condition in Condition])

    def _projected(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the vectors (..., dimension) without their parts in the nuisance directions."""
        return np.asarray(vectors - (vectors @ self.nuisance.T) @ self.nuisance, np.float32)


def features(cosines: NDArray[np.floating], ones: Captures, others: Captures) -> NDArray[np.float64]:
    """Return the features of each pair whose weighted sum is its log-likelihood ratio, (num, NUM_FEATURES)."""
    context = _context(ones, others)
    return np.concatenate([context, cosines * context]).T


def _context(ones: Captures, others: Captures) -> NDArray[np.float64]:
    """Return the features without those of the cosine, (NUM_FEATURES / 2, num); one capture counts for all pairs."""
    seconds = np.minimum(ones.seconds, others.seconds)
    noise = np.maximum(ones.noise, others.noise)
    apart = np.abs(ones.shares() - others.shares()).sum(axis=1) / 2
    return np.stack([np.ones_like(seconds), seconds, noise, apart])


def probability(llr: float) -> float:
    """Return the probability of one speaker, if one and two speakers are equally likely beforehand."""
    return 1 / (1 + float(np.exp(-np.clip(llr, -50.0, 50.0))))


def confidence(llr: float) -> int:
    """Return the probability as a confidence, 0 to 100, rounded down: 99 means at least 99 %."""
    return int(100 * probability(llr))
