"""Verification: compare the dominant speaker of a recording with a voiceprint."""

from shared.domain.audio import Waveform
from shared.domain.results import VerificationResult
from shared.domain.verification import OperatingPoint, compare
from shared.domain.voiceprints import Voiceprint
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint


def verify(
    waveform: Waveform, voiceprint: Voiceprint, point: OperatingPoint, nets: Nets, steps: Steps
) -> VerificationResult:
    """Compare the dominant speaker of `waveform` with `voiceprint`.

    Raises
    ------
    NoSpeech, TooLittleSpeech, InvalidVoiceprint
    """
    voice = make_voiceprint(waveform, nets, steps)
    comparison = compare(voice.voiceprint, voiceprint, nets.embedder.card.calibration)
    return VerificationResult(comparison=comparison, operating_point=point, voice=voice)
