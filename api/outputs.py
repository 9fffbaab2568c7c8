"""What jobs give: `output` of a job and of its webhook, which views pass on as `shared/wire` has made it."""

from typing import Any

from marshmallow import Schema, fields, validate

from shared.domain.errors import JobFailure, concrete_errors
from shared.domain.jobs import Status
from shared.domain.verification import OperatingPoint


class OneOf(fields.Dict):
    """An object of one of several schemas, passed on as it is."""

    def __init__(self, *schemas: type[Schema], **options: Any) -> None:
        super().__init__(**options)
        self.schemas = schemas


def _by_name(values: fields.Field[Any], *, required: bool = False, description: str) -> fields.Dict:
    return fields.Dict(keys=fields.String(), values=values, required=required, metadata={"description": description})


def _timings() -> fields.Dict:
    return _by_name(fields.Float(), required=True, description="Wall seconds of each step of the work.")


def _calibrated() -> fields.Boolean:
    text = "Whether scores of this model can be turned into a confidence."
    return fields.Boolean(required=True, metadata={"description": text})


class Span(Schema):
    """A stretch of the recording, in seconds from its start."""

    start = fields.Float(required=True)
    end = fields.Float(required=True)


class Turn(Span):
    """A stretch in which one speaker speaks."""

    speaker = fields.String(required=True, metadata={"examples": ["SPEAKER_00"]})


class SpeakerTime(Schema):
    """How long one speaker speaks."""

    speaker = fields.String(required=True)
    seconds = fields.Float(required=True)


class RecordingQuality(Schema):
    """How far a voiceprint can be trusted."""

    snrDb = fields.Float(required=True, metadata={"description": "Signal to noise, estimated, 0 to 40."})
    narrowband = fields.Boolean(required=True, metadata={"description": "Nothing above 4 kHz: a telephone."})
    speakerCount = fields.Integer(required=True)
    dominantShare = fields.Float(required=True, metadata={"description": "The dominant speaker's share of all speech."})
    consistency = fields.Float(
        required=True,
        metadata={"description": "Mean cosine of the speaker's windows to their centre; below 0.75: hardly one voice."},
    )


class VoiceprintOutput(Schema):
    """The voiceprint of a recording's dominant speaker, and how it came about."""

    voiceprint = fields.String(required=True, metadata={"description": "The voice, as a string."})
    model = fields.String(required=True, metadata={"description": "What made it: `handle@revision`."})
    dimension = fields.Integer(required=True, metadata={"description": "Length of its vector."})
    audioSeconds = fields.Float(required=True, metadata={"description": "Length of the recording."})
    speechSeconds = fields.Float(required=True, metadata={"description": "Length of all speech in it."})
    netSpeechSeconds = fields.Float(required=True, metadata={"description": "How long the dominant speaker talks."})
    dominantSpeaker = fields.String(required=True, metadata={"description": "Whose voice it is: who speaks longest."})
    segments = fields.List(fields.Nested(Span), required=True, metadata={"description": "Where that speaker talks."})
    speakers = fields.List(fields.Nested(SpeakerTime), required=True)
    diarization = fields.List(fields.Nested(Turn), required=True, metadata={"description": "Who speaks when."})
    quality = fields.Nested(RecordingQuality, required=True)
    calibrated = _calibrated()
    timings = _timings()
    warning = fields.String(metadata={"description": "Why the voiceprint is shaky, if it is."})


class Confidence(Schema):
    """How sure the diarization is along the recording."""

    score = fields.List(fields.Integer(), required=True, metadata={"description": "One for each stretch, in %."})
    resolution = fields.Float(required=True, metadata={"description": "Length of a stretch, in seconds."})


class SureTurn(Turn):
    """A stretch in which one speaker speaks, with the confidence in each speaker where that was asked for."""

    confidence = _by_name(fields.Integer(), description="Of each speaker, 0 to 100; with `turnLevelConfidence`.")


class DiarizationOutput(Schema):
    """Who speaks when."""

    diarization = fields.List(fields.Nested(SureTurn), required=True)
    exclusiveDiarization = fields.List(
        fields.Nested(SureTurn), metadata={"description": "Nobody speaks at the same time; with `exclusive`."}
    )
    confidence = fields.Nested(Confidence, metadata={"description": "With `confidence`."})
    audioSeconds = fields.Float(required=True, metadata={"description": "Length of the recording."})
    speechSeconds = fields.Float(required=True, metadata={"description": "Length of all speech in it."})
    speakers = fields.List(fields.Nested(SpeakerTime), required=True)
    timings = _timings()
    warning = fields.String(metadata={"description": "What is not quite as it was asked for."})


class NamedTurn(SureTurn):
    """A stretch in which one speaker speaks, by the name of who that is."""

    speaker = fields.String(required=True, metadata={"description": "The matched label, or the speaker's own."})
    diarizationSpeaker = fields.String(required=True, metadata={"description": "The speaker in `diarization`."})
    match = fields.String(required=True, allow_none=True, metadata={"description": "The matched label; null: nobody."})


class SpeakerMatch(Schema):
    """How one speaker compares with everybody who was named in the request."""

    speaker = fields.String(required=True)
    match = fields.String(required=True, allow_none=True, metadata={"description": "The matched label; null: nobody."})
    confidence = _by_name(
        fields.Integer(allow_none=True), required=True, description="Of each label, 0 to 100, rounded down."
    )
    score = _by_name(fields.Float(), required=True, description="Of each label: the cosine, -1 to 1.")


class IdentificationOutput(DiarizationOutput):
    """Who speaks when, by name."""

    identification = fields.List(fields.Nested(NamedTurn), required=True)
    voiceprints = fields.List(fields.Nested(SpeakerMatch), required=True)
    calibrated = _calibrated()


class VerificationOutput(Schema):
    """Whether the recording's dominant speaker is the person of the voiceprint."""

    score = fields.Float(required=True, metadata={"description": "The cosine, -1 to 1."})
    confidence = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "0 to 100, rounded down; null where the model is not calibrated."},
    )
    decision = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(["accept", "reject"]),
        metadata={"description": "Null where the model is not calibrated."},
    )
    operatingPoint = fields.Enum(OperatingPoint, by_value=True, required=True)
    leastConfidence = fields.Integer(required=True, metadata={"description": "From which on a voice is accepted."})
    calibrated = _calibrated()
    model = fields.String(required=True, metadata={"description": "What compared them: `handle@revision`."})
    netSpeechSeconds = fields.Float(required=True, metadata={"description": "How long the dominant speaker talks."})
    dominantSpeaker = fields.String(required=True)
    quality = fields.Nested(RecordingQuality, required=True)
    timings = _timings()
    warning = fields.String(metadata={"description": "Why the result is shaky, if it is."})


class FailureOutput(Schema):
    """Why a job failed, or that it was canceled."""

    error = fields.String(required=True, metadata={"description": "A sentence for people; it may change."})
    code = fields.String(
        required=True,
        validate=validate.OneOf(sorted(error.code for error in concrete_errors(JobFailure))),
        metadata={"description": "For programs; it is stable."},
    )


#: One of each kind of job, and what all may come to: each refuses the others' objects.
OUTPUTS: tuple[type[Schema], ...] = (
    VoiceprintOutput,
    DiarizationOutput,
    IdentificationOutput,
    VerificationOutput,
    FailureOutput,
)


class WebhookBody(Schema):
    """How a job has ended."""

    jobId = fields.UUID(required=True)
    status = fields.String(required=True, validate=validate.OneOf([s for s in Status if s.terminal]))
    output = OneOf(*OUTPUTS, metadata={"description": "As polling gives it; left out on `webhookStatusOnly`."})
