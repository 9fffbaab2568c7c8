"""Verification: score, confidence, and a decision at a named operating point."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shared.domain.calibration import Calibration, confidence
from shared.domain.voiceprints import Voiceprint


class OperatingPoint(StrEnum):
    """Named least confidence for accepting a voice; the documentation lists the error rates of each."""

    BALANCED = "balanced"
    STRICT = "strict"
    STRICTEST = "strictest"

    @property
    def least_confidence(self) -> int:
        """Return the least confidence, 0 to 100, at which a voice is accepted."""
        return {OperatingPoint.BALANCED: 50, OperatingPoint.STRICT: 90, OperatingPoint.STRICTEST: 99}[self]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Similarity of two voiceprints."""

    #: Cosine of the vectors, -1 to 1.
    score: float
    #: Natural logarithm of p(same speaker) / p(different speakers); None if the model is not calibrated.
    llr: float | None

    @property
    def confidence(self) -> int | None:
        """Return the confidence, 0 to 100; None if the model is not calibrated."""
        return None if self.llr is None else confidence(self.llr)

    def accepted(self, point: OperatingPoint) -> bool | None:
        """Decide at `point`; None if the model is not calibrated, because its scores have no scale."""
        return None if self.confidence is None else self.confidence >= point.least_confidence

    def decision(self, point: OperatingPoint) -> Literal["accept", "reject"] | None:
        """Return the decision at `point` as a word; None if the model is not calibrated."""
        accepted = self.accepted(point)
        if accepted is None:
            return None
        return "accept" if accepted else "reject"


def compare(one: Voiceprint, other: Voiceprint, calibration: Calibration | None) -> Comparison:
    """Compare two voiceprints of one model.

    Raises
    ------
    InvalidVoiceprint
        They were made by different models.
    """
    return Comparison(score=one.score(other), llr=calibration.llr(one, other) if calibration else None)
