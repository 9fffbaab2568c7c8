"""Results of jobs, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Segment, Track
from shared.domain.diarization import Diarization, Turn
from shared.domain.identities import Enrolment, Failure, Heard, Name, Sample, Verification, Verified
from shared.domain.naming import Likeness, Likenesses
from shared.domain.quality import Quality
from shared.domain.speech import Transcript
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint

#: Resolution of a confidence along a recording, in seconds.
FRAME_S = 0.02

_REPLAYED = "The recording is a copy of one that was heard before."
_SKIPPED = "Not searched, since another model enrolled them: {} of the identities. Recompute them, or enrol them again."
_UNCALIBRATED = "The model is not calibrated: its scores mean nothing but an order, so there is no confidence."


@dataclass(frozen=True, kw_only=True)
class VoiceprintResult:
    """Voiceprint of a speaker of a recording, and its provenance."""

    voiceprint: Voiceprint
    diarization: Diarization
    #: Label of the speaker whose voice it is: the dominant one, unless another was asked for.
    speaker: str
    quality: Quality
    #: Whether scores of the model's voiceprints can be turned into probabilities.
    calibrated: bool
    #: Speech of all speakers, pauses left out, in seconds.
    speech_s: float
    #: Length of the whole recording, in seconds.
    audio_s: float
    track: Track
    #: Wall seconds per step, in the order they ran.
    timings_s: Mapping[str, float]
    #: Words of the recording; None where they were not asked for.
    transcript: Transcript | None = field(default=None, repr=False)

    @property
    def warning(self) -> str | None:
        """Reasons for which the result is shaky; None when there are none."""
        return sentences(self.quality.warning, self.track.warning)

    @property
    def dominant_speaker(self) -> str:
        """Label of who speaks longest outside overlap."""
        return self.diarization.dominant_speaker()

    @property
    def segments(self) -> list[Segment]:
        """Segments in which the speaker talks, from which the voiceprint was made."""
        return self.diarization.voice_segments(self.speaker)


@dataclass(frozen=True, kw_only=True)
class VerificationResult:
    """Comparison of a recording's dominant voice with a voiceprint, and the decision at an operating point."""

    comparison: Comparison
    operating_point: OperatingPoint
    #: Of the recording.
    voice: VoiceprintResult

    @property
    def decision(self) -> Literal["accept", "reject"] | None:
        """The decision; None where the model is not calibrated."""
        return self.comparison.decision(self.operating_point)

    @property
    def warning(self) -> str | None:
        """Reasons for which the result is shaky; None when there are none."""
        return sentences(self.voice.warning, None if self.voice.calibrated else _UNCALIBRATED)

    @property
    def timings_s(self) -> Mapping[str, float]:
        """Wall seconds per step, in the order they ran."""
        return self.voice.timings_s

    @property
    def audio_s(self) -> float:
        """Length of the recording, in seconds."""
        return self.voice.audio_s


@dataclass(frozen=True)
class FrameConfidence:
    """Confidence of a diarization along the recording: one number per frame, in %, uint8 (num_frames,)."""

    percent: NDArray[np.uint8]
    frame_s: float = FRAME_S


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordingDiarization:
    """Diarization of a recording of any length."""

    diarization: Diarization
    #: The turns without overlaps, one speaker at a time, and the confidence along the recording; None where not asked
    #: for.
    exclusive: Sequence[Turn] | None
    frame_confidence: FrameConfidence | None
    #: The voiceprint of each speaker; empty unless asked for.
    voices: Mapping[str, Voiceprint] = field(repr=False)
    #: Speech of all speakers, pauses left out, and length of the whole recording, in seconds.
    speech_s: float
    audio_s: float
    track: Track
    #: Why the result is not quite what was asked for.
    warning: str | None
    #: Wall seconds per step, in the order they ran.
    timings_s: Mapping[str, float]
    #: Words of the recording; None where they were not asked for.
    transcript: Transcript | None = field(default=None, repr=False)


@dataclass(frozen=True)
class NamedTurn:
    """Turn with the label of the person who speaks, None for a stranger."""

    turn: Turn
    match: str | None

    @property
    def name(self) -> str:
        """The label, or else the speaker's own."""
        return self.match or self.turn.speaker


@dataclass(frozen=True)
class SpeakerMatch:
    """Likeness of one speaker to every label."""

    speaker: str
    #: None for a stranger.
    match: str | None
    #: By label.
    likenesses: Mapping[str, Likeness]

    @property
    def confidence(self) -> dict[str, int | None]:
        """Confidence of each label, 0 to 100; None where the model is not calibrated."""
        return {label: likeness.confidence for label, likeness in self.likenesses.items()}

    @property
    def score(self) -> dict[str, float]:
        """Cosine of each label, -1 to 1."""
        return {label: likeness.score for label, likeness in self.likenesses.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Identification(RecordingDiarization):
    """Diarization of a recording, its speakers named by the labels of voiceprints."""

    #: By speaker of the recording, then by label.
    likenesses: Likenesses
    #: The label of each speaker, None for a stranger.
    matches: Mapping[str, str | None]
    #: Whether scores of the model can be turned into probabilities.
    calibrated: bool

    @classmethod
    def of(
        cls,
        recording: RecordingDiarization,
        likenesses: Likenesses,
        matches: Mapping[str, str | None],
        *,
        calibrated: bool,
    ) -> "Identification":
        """Return `recording` with its speakers named."""
        warning = sentences(recording.warning, None if calibrated else _UNCALIBRATED)
        values = vars(recording) | {"warning": warning}
        return cls(**values, likenesses=likenesses, matches=matches, calibrated=calibrated)

    @property
    def named_turns(self) -> list[NamedTurn]:
        """The turns, by name."""
        return [NamedTurn(turn, self.matches[turn.speaker]) for turn in self.diarization.turns]

    @property
    def speaker_matches(self) -> list[SpeakerMatch]:
        """The speakers in order of first appearance, each with its likenesses."""
        speakers = self.diarization.speakers
        return [SpeakerMatch(speaker, self.matches[speaker], self.likenesses[speaker]) for speaker in speakers]


@dataclass(frozen=True, kw_only=True, eq=False)
class SampleResult:
    """Sample that was heard, and the enrolment that it was added to."""

    sample: Sample
    #: None where it was added to none.
    enrolment: Enrolment | None
    #: Handle of the space.
    space: str
    timings_s: Mapping[str, float]

    @property
    def warning(self) -> str | None:
        """Reasons to doubt the voice; None when there are none."""
        heard = self.sample.heard.warning if self.sample.heard else None
        return sentences(heard, self.enrolment.warning if self.enrolment else None)

    @property
    def audio_s(self) -> float | None:
        """Length of the recording, in seconds."""
        return self.sample.heard.audio_s if self.sample.heard else None


@dataclass(frozen=True, kw_only=True, eq=False)
class EnrolmentResult:
    """Enrolment that was computed."""

    enrolment: Enrolment
    space: str
    timings_s: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class RecordingOutcome:
    """Recording of several: whether it was accepted, or else why not."""

    accepted: bool
    #: None for one that was accepted, and where another attempt of the job refused it.
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class VoiceEnrolmentResult:
    """Enrolment by several recordings."""

    enrolment: Enrolment
    #: In the order of the command's sources.
    recordings: Sequence[RecordingOutcome]
    space: str
    timings_s: Mapping[str, float]

    @property
    def warning(self) -> str | None:
        """Reasons to doubt the voice; None when there are none."""
        return self.enrolment.warning


@dataclass(frozen=True, kw_only=True, eq=False)
class IdentityVerificationResult:
    """Verification of a recording against an identity."""

    verification: Verification
    space: str
    calibrated: bool
    timings_s: Mapping[str, float]

    @property
    def verified(self) -> Verified:
        """The result of it."""
        assert self.verification.result is not None
        return self.verification.result

    @property
    def decision(self) -> Literal["accept", "reject"] | None:
        """The decision; None where the model is not calibrated."""
        return self.verified.decision

    @property
    def warning(self) -> str | None:
        """Reasons for which the result is shaky; None when there are none."""
        replay = _REPLAYED if self.verified.replay else None
        return sentences(self.verified.heard.warning, replay, None if self.calibrated else _UNCALIBRATED)

    @property
    def audio_s(self) -> float:
        """Length of the recording, in seconds."""
        return self.verified.heard.audio_s


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Identity that may be the one who speaks."""

    identity: Name
    #: Cosine, -1 to 1.
    score: float
    #: 0 to 100, corrected for the number of people searched; None where the model is not calibrated.
    confidence: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """Candidates for the voice of a recording, the most likely first."""

    candidates: Sequence[Candidate]
    #: Confidence that it is nobody of them, 0 to 100; None where the model is not calibrated.
    nobody: int | None
    #: Identities that were compared, and those that could not be, since another model enrolled them.
    num_searched: int
    num_skipped: int
    space: str
    heard: Heard = field(repr=False)
    calibrated: bool
    timings_s: Mapping[str, float]

    @property
    def warning(self) -> str | None:
        """Reasons for which the result is shaky; None when there are none."""
        skipped = _SKIPPED.format(self.num_skipped) if self.num_skipped else None
        return sentences(self.heard.warning, skipped, None if self.calibrated else _UNCALIBRATED)

    @property
    def audio_s(self) -> float:
        """Length of the recording, in seconds."""
        return self.heard.audio_s


#: The result of each kind of job.
Result = (
    VoiceprintResult
    | RecordingDiarization
    | Identification
    | VerificationResult
    | SampleResult
    | EnrolmentResult
    | VoiceEnrolmentResult
    | IdentityVerificationResult
    | SearchResult
)


def audio_seconds(result: Result) -> float | None:
    """Return the length of a result's one recording; None where it is of none, or of several."""
    return None if isinstance(result, EnrolmentResult | VoiceEnrolmentResult) else result.audio_s


def sentences(*found: str | None) -> str | None:
    """Return sentences as one text; None when there are none."""
    return " ".join(filter(None, found)) or None
