"""Results of jobs, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.diarization import Diarization
from shared.domain.quality import Quality
from shared.domain.verification import Comparison, Comparisons, OperatingPoint
from shared.domain.voiceprints import Voiceprint

#: Resolution of a confidence that follows a recording, in seconds.
FRAME_S = 0.02


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


@dataclass(frozen=True, kw_only=True)
class VerificationResult:
    """How alike a recording's dominant voice and a voiceprint are, and what follows at an operating point."""

    comparison: Comparison
    operating_point: OperatingPoint
    #: Of the recording.
    voice: VoiceprintResult


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingDiarization:
    """Who speaks when in a recording of any length, and how sure that is."""

    diarization: Diarization
    #: For each turn, the probability of each speaker in %, 0 to 100.
    turn_confidence: Sequence[Mapping[str, int]]
    #: How sure the diarization is of every `FRAME_S` of the recording, in %, uint8 (num_frames,).
    frame_confidence: NDArray[np.uint8]
    #: The voiceprint of each speaker; empty unless asked for.
    voices: Mapping[str, Voiceprint]
    #: Speech of all speakers, pauses left out, and length of the whole recording, in seconds.
    speech_s: float
    audio_s: float
    #: Why the result is not quite what was asked for.
    warning: str | None
    #: Wall seconds per step, in the order they ran.
    timings_s: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Identification:
    """Who of those whose voiceprints were given speaks when."""

    recording: RecordingDiarization
    #: By speaker of the recording, then by label.
    comparisons: Comparisons
    #: The label of each speaker, None for a stranger.
    matches: Mapping[str, str | None]
    #: Whether scores of the model can be turned into probabilities.
    calibrated: bool
