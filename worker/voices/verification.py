"""Verification: compare the dominant speaker of a recording with a voiceprint."""

from shared.domain.calibration import Calibration
from shared.domain.results import VerificationResult, VoiceprintResult
from shared.domain.verification import OperatingPoint, compare
from shared.domain.voiceprints import Voiceprint


def verify(
    voice: VoiceprintResult, voiceprint: Voiceprint, point: OperatingPoint, calibration: Calibration | None
) -> VerificationResult:
    """Compare a voice with `voiceprint`; raises InvalidVoiceprint."""
    comparison = compare(voice.voiceprint, voiceprint, calibration)
    return VerificationResult(comparison=comparison, operating_point=point, voice=voice)
