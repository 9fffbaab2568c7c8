"""What a job's recipe gives."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.diarization import Diarization
from shared.domain.quality import Quality
from shared.domain.voiceprints import Voiceprint


@dataclass(frozen=True, kw_only=True)
class VoiceprintResult:
    """The voiceprint of a recording's dominant speaker, and how it came about."""

    voiceprint: Voiceprint
    diarization: Diarization
    #: Label of the speaker whose voice it is.
    dominant_speaker: str
    quality: Quality
    #: Whether scores of the model's voiceprints can be turned into probabilities.
    calibrated: bool
    #: Speech of all speakers, pauses left out, in seconds.
    speech_s: float
    #: Length of the whole recording, in seconds.
    audio_s: float
    #: Wall seconds per step, in the order they ran.
    timings_s: Mapping[str, float]
