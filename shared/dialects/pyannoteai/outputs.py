"""Bodies that jobs give, as pyannoteAI's API has them: outputs, webhook, error; each schema dumps and describes one."""

from marshmallow import fields, validate

from shared.dialects.fields import Body, Choice, Percentages, RenderedOutput, Rounded, Timestamp, VoiceprintString
from shared.domain.errors import JobFailure, concrete_errors
from shared.domain.identities import EnrolmentKind, RecordKind, ReplayKind, SampleState
from shared.domain.jobs import Status
from shared.domain.verification import OperatingPoint

MAX_VOICEPRINT_LENGTH = 20_000


def _timings() -> fields.Dict:
    text = "Wall seconds of each step of the work."
    return fields.Dict(
        keys=fields.String(), values=Rounded(4), required=True, attribute="timings_s", metadata={"description": text}
    )


def _calibrated(attribute: str) -> fields.Boolean:
    text = "Whether scores of this model can be turned into a confidence."
    return fields.Boolean(required=True, attribute=attribute, metadata={"description": text})


def _cosine(attribute: str) -> Rounded:
    return Rounded(4, required=True, attribute=attribute, metadata={"description": "The cosine, -1 to 1."})


def _confidence(attribute: str) -> fields.Integer:
    text = "0 to 100, rounded down; null where the model is not calibrated."
    return fields.Integer(required=True, allow_none=True, attribute=attribute, metadata={"description": text})


def _decision() -> fields.String:
    rule = validate.OneOf(["accept", "reject"])
    text = "Null where the model is not calibrated."
    return fields.String(required=True, allow_none=True, validate=rule, metadata={"description": text})


def _least_confidence(attribute: str) -> fields.Integer:
    text = "From which on a voice is accepted."
    return fields.Integer(required=True, attribute=attribute, metadata={"description": text})


def _comparing_model(attribute: str) -> fields.String:
    text = "What compared them: `handle@revision`."
    return fields.String(required=True, attribute=attribute, metadata={"description": text})


def _seconds(attribute: str, description: str) -> Rounded:
    return Rounded(3, required=True, attribute=attribute, metadata={"description": description})


class Segment(Body):
    """Segment of the recording, in seconds from its start."""

    start = Rounded(3, required=True, attribute="start_s")
    end = Rounded(3, required=True, attribute="end_s")


class Turn(Body):
    """Segment in which one speaker speaks."""

    speaker = fields.String(required=True, metadata={"examples": ["SPEAKER_00"]})
    start = Rounded(3, required=True, attribute="segment.start_s")
    end = Rounded(3, required=True, attribute="segment.end_s")


class SpeakerTime(Body):
    """Speech of one speaker."""

    speaker = fields.String(required=True)
    seconds = Rounded(3, required=True)
    channel = fields.Integer(metadata={"description": "The speaker's own channel; of a diarization by `each` channel."})


class Channels(Body):
    """Channels of the recording, and those of them that were heard."""

    number = fields.Integer(required=True, metadata={"description": "How many there are."})
    used = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "Those that were heard, counted from 0, the left one; several were mixed."},
    )


class RecordingQuality(Body):
    """Quality of a recording: how far a voiceprint can be trusted."""

    snrDb = Rounded(
        1, required=True, attribute="capture.snr_db", metadata={"description": "Signal to noise, estimated, 0 to 40."}
    )
    narrowband = fields.Boolean(
        required=True,
        attribute="capture.narrowband",
        metadata={"description": "Nothing above 4 kHz: a telephone."},
    )
    speakerCount = fields.Integer(required=True, attribute="num_speakers")
    dominantShare = Rounded(
        3, required=True, attribute="share", metadata={"description": "The speaker's share of all speech."}
    )
    consistency = Rounded(
        3,
        required=True,
        metadata={"description": "Mean cosine of the speaker's windows to their centre; below 0.75: hardly one voice."},
    )


def _transcript(attribute: str) -> fields.String:
    text = "Words of the dominant speaker; where they were asked for."
    return fields.String(attribute=attribute, metadata={"description": text})


class VoiceprintOutput(Body):
    """Voiceprint of a recording's dominant speaker, or of the one that was asked for, and its provenance."""

    voiceprint = VoiceprintString(
        MAX_VOICEPRINT_LENGTH, required=True, metadata={"description": "The voice, as a string."}
    )
    model = fields.String(
        required=True,
        attribute="voiceprint.model_id",
        metadata={"description": "What made it: `handle@revision`."},
    )
    dimension = fields.Integer(
        required=True, attribute="voiceprint.dimension", metadata={"description": "Length of its vector."}
    )
    audioSeconds = _seconds("audio_s", "Length of the recording.")
    speechSeconds = _seconds("speech_s", "Length of all speech in it.")
    netSpeechSeconds = _seconds("voiceprint.capture.net_speech_s", "How long `speaker` talks.")
    speaker = fields.String(
        metadata={
            "description": "Whose voice it is: the dominant speaker's, unless the request named another, or segments.",
            "examples": ["SPEAKER_00"],
        }
    )
    dominantSpeaker = fields.String(
        required=True,
        attribute="dominant_speaker",
        metadata={"description": "Who speaks longest outside overlap."},
    )
    segments = fields.List(
        fields.Nested(Segment),
        required=True,
        metadata={"description": "Where `speaker` talks: the speech that the voiceprint is made from."},
    )
    speakers = fields.List(fields.Nested(SpeakerTime), required=True, attribute="diarization.speaker_times")
    diarization = fields.List(
        fields.Nested(Turn),
        required=True,
        attribute="diarization.turns",
        metadata={"description": "Who speaks when."},
    )
    quality = fields.Nested(RecordingQuality, required=True)
    channels = fields.Nested(Channels, required=True, attribute="track.channels")
    calibrated = _calibrated("calibrated")
    transcript = _transcript("transcript.text")
    timings = _timings()
    warning = fields.String(metadata={"description": "Why the voiceprint is shaky, if it is."})


class Confidence(Body):
    """Confidence of a diarization along the recording."""

    score = Percentages(required=True, attribute="percent", metadata={"description": "One for each frame, in %."})
    resolution = fields.Float(
        required=True, attribute="frame_s", metadata={"description": "Length of a frame, in seconds."}
    )


class SureTurn(Turn):
    """Segment in which one speaker speaks, with the confidence in each speaker where that was asked for."""

    confidence = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        metadata={"description": "Of each speaker, 0 to 100; with `turnLevelConfidence`."},
    )


class SpokenTurn(Turn):
    """Words of one speaker's turn."""

    text = fields.String(required=True, metadata={"examples": ["Good morning, how can I help?"]})


class DiarizationOutput(Body):
    """Diarization: who speaks when."""

    diarization = fields.List(
        fields.Nested(SureTurn),
        required=True,
        attribute="diarization.turns",
        metadata={"description": "Who speaks when; turns may overlap where a segmentation model is installed."},
    )
    exclusiveDiarization = fields.List(
        fields.Nested(SureTurn),
        attribute="exclusive",
        metadata={"description": "The turns without overlaps; with `exclusive`."},
    )
    confidence = fields.Nested(Confidence, attribute="frame_confidence", metadata={"description": "With `confidence`."})
    turnLevelTranscription = fields.List(
        fields.Nested(SpokenTurn),
        attribute="transcript.turns",
        metadata={"description": "Who says what, turns without words left out; with `transcription`."},
    )
    audioSeconds = _seconds("audio_s", "Length of the recording.")
    speechSeconds = _seconds("speech_s", "Length of all speech in it.")
    speakers = fields.List(fields.Nested(SpeakerTime), required=True, attribute="diarization.speaker_times")
    channels = fields.Nested(Channels, required=True, attribute="track.channels")
    timings = _timings()
    warning = fields.String(metadata={"description": "What is not quite as it was asked for."})


class NamedTurn(Body):
    """Segment in which one speaker speaks, by the name of who that is."""

    speaker = fields.String(
        required=True, attribute="name", metadata={"description": "The matched label, or the speaker's own."}
    )
    start = Rounded(3, required=True, attribute="turn.segment.start_s")
    end = Rounded(3, required=True, attribute="turn.segment.end_s")
    confidence = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        attribute="turn.confidence",
        metadata={"description": "Of each speaker, 0 to 100; with `turnLevelConfidence`."},
    )
    diarizationSpeaker = fields.String(
        required=True, attribute="turn.speaker", metadata={"description": "The speaker in `diarization`."}
    )
    match = fields.String(required=True, allow_none=True, metadata={"description": "The matched label; null: nobody."})


class SpeakerMatch(Body):
    """Comparison of one speaker with everybody who was named in the request."""

    speaker = fields.String(required=True)
    match = fields.String(required=True, allow_none=True, metadata={"description": "The matched label; null: nobody."})
    confidence = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(allow_none=True),
        required=True,
        metadata={
            "description": "Of each label, 0 to 100, rounded down: how likely it is this label and no other, nor "
            "anybody else. So it falls with the number of labels; null where the model is not calibrated."
        },
    )
    score = fields.Dict(
        keys=fields.String(),
        values=Rounded(4),
        required=True,
        metadata={"description": "Of each label: the cosine, -1 to 1."},
    )


class IdentificationOutput(DiarizationOutput):
    """Identification: who speaks when, by name."""

    identification = fields.List(fields.Nested(NamedTurn), required=True, attribute="named_turns")
    voiceprints = fields.List(fields.Nested(SpeakerMatch), required=True, attribute="speaker_matches")
    calibrated = _calibrated("calibrated")


class VerificationOutput(Body):
    """Verification of a recording's dominant speaker against a voiceprint."""

    score = _cosine("comparison.score")
    confidence = _confidence("comparison.confidence")
    decision = _decision()
    operatingPoint = fields.Enum(OperatingPoint, by_value=True, required=True, attribute="operating_point")
    leastConfidence = _least_confidence("operating_point.least_confidence")
    calibrated = _calibrated("voice.calibrated")
    model = _comparing_model("voice.voiceprint.model_id")
    netSpeechSeconds = _seconds("voice.voiceprint.capture.net_speech_s", "How long the dominant speaker talks.")
    dominantSpeaker = fields.String(required=True, attribute="voice.dominant_speaker")
    quality = fields.Nested(RecordingQuality, required=True, attribute="voice.quality")
    channels = fields.Nested(Channels, required=True, attribute="voice.track.channels")
    transcript = _transcript("voice.transcript.text")
    timings = _timings()
    warning = fields.String(metadata={"description": "Why the result is shaky, if it is."})


_ID = {"format": "uuid"}


def _space() -> fields.String:
    return fields.String(required=True, metadata={"description": "Handle of the space.", "examples": ["default"]})


def _identity(attribute: str) -> fields.String:
    return fields.String(
        required=True,
        allow_none=True,
        attribute=attribute,
        metadata={"description": "Handle of the identity; null where it was deleted.", "examples": ["ada"]},
    )


class EnrolmentFacts(Body):
    """Enrolment as it stands once a job has computed it."""

    enrolmentId = fields.String(required=True, attribute="id", metadata=_ID)
    handle = fields.String(required=True, metadata={"examples": ["main"]})
    kind = Choice(EnrolmentKind, required=True, examples=[EnrolmentKind.GROWING])
    version = fields.Integer(required=True, metadata={"description": "How often it was computed."})
    samples = fields.Integer(required=True, attribute="num_samples", metadata={"description": "How many it has."})
    model = fields.String(required=True, attribute="model_id", metadata={"description": "`handle@revision`."})
    speechSeconds = _seconds("speech_s", "Speech in its samples.")


class SampleOutput(Body):
    """Sample of an identity that was heard, and the enrolment that it was added to."""

    sampleId = fields.String(required=True, attribute="sample.id", metadata=_ID)
    state = Choice(SampleState, required=True, attribute="sample.state", examples=[SampleState.READY])
    identityId = fields.String(required=True, allow_none=True, attribute="sample.identity.id", metadata=_ID)
    identity = _identity("sample.identity.handle")
    space = _space()
    enrolment = fields.Nested(
        EnrolmentFacts,
        required=True,
        allow_none=True,
        metadata={"description": "Null where it was added to none."},
    )
    model = fields.String(required=True, attribute="sample.heard.voiceprint.model_id")
    audioSeconds = _seconds("sample.heard.audio_s", "Length of the recording.")
    speechSeconds = _seconds("sample.heard.speech_s", "Length of all speech in it.")
    netSpeechSeconds = _seconds("sample.heard.net_speech_s", "How long the dominant speaker talks.")
    quality = fields.Nested(RecordingQuality, required=True, allow_none=True, attribute="sample.heard.quality")
    timings = _timings()
    warning = fields.String(metadata={"description": "Why the sample is shaky, or unlike the others, if it is."})


class EnrolmentOutput(Body):
    """Enrolment of an identity that was computed from its samples."""

    enrolment = fields.Nested(EnrolmentFacts, required=True)
    identityId = fields.String(required=True, attribute="enrolment.identity.id", metadata=_ID)
    identity = _identity("enrolment.identity.handle")
    space = _space()
    timings = _timings()
    warning = fields.String(
        attribute="enrolment.warning", metadata={"description": "Samples that are unlike the others, if there are."}
    )


class RecordingOutcome(Body):
    """Recording of several, and whether it was enrolled."""

    accepted = fields.Boolean(required=True)
    code = fields.String(
        attribute="failure.code",
        metadata={"description": "Why it was not, for programs; left out where it was, or another attempt knew."},
    )
    message = fields.String(attribute="failure.message", metadata={"description": "The same for people."})


class VoiceEnrolmentOutput(EnrolmentOutput):
    """Enrolment of an identity by several recordings, one at least of which was fit."""

    recordings = fields.List(
        fields.Nested(RecordingOutcome),
        required=True,
        metadata={"description": "In the order in which they came."},
    )


class Replay(Body):
    """Recording heard before of which another is a copy."""

    kind = Choice(ReplayKind, required=True, examples=[ReplayKind.COPY])
    of = Choice(RecordKind, required=True, examples=[RecordKind.SAMPLE])
    id = fields.String(required=True, metadata=_ID)
    heardAt = Timestamp(required=True, attribute="heard_at")


def replay(attribute: str) -> fields.Nested:
    """Return the field of a copy that was found."""
    text = "Recording heard before of which this one is a copy; null: none was found."
    return fields.Nested(Replay, required=True, allow_none=True, attribute=attribute, metadata={"description": text})


class IdentityVerificationOutput(Body):
    """Verification of a recording's dominant speaker against an identity."""

    verificationId = fields.String(required=True, attribute="verification.id", metadata=_ID)
    identityId = fields.String(required=True, allow_none=True, attribute="verification.identity.id", metadata=_ID)
    identity = _identity("verification.identity.handle")
    enrolmentId = fields.String(required=True, allow_none=True, attribute="verification.enrolment.id", metadata=_ID)
    space = _space()
    score = _cosine("verified.comparison.score")
    confidence = _confidence("verified.comparison.confidence")
    decision = _decision()
    operatingPoint = fields.Enum(OperatingPoint, by_value=True, required=True, attribute="verified.operating_point")
    leastConfidence = _least_confidence("verified.operating_point.least_confidence")
    replay = replay("verified.replay")
    addedSampleId = fields.String(
        required=True,
        allow_none=True,
        attribute="verified.added_sample",
        metadata={**_ID, "description": "Sample that was added to an adaptive enrolment; null: none."},
    )
    calibrated = _calibrated("calibrated")
    model = _comparing_model("verified.heard.voiceprint.model_id")
    audioSeconds = _seconds("verified.heard.audio_s", "Length of the recording.")
    speechSeconds = _seconds("verified.heard.speech_s", "Length of all speech in it.")
    netSpeechSeconds = _seconds("verified.heard.net_speech_s", "How long the dominant speaker talks.")
    dominantSpeaker = fields.String(required=True, allow_none=True, attribute="verified.heard.dominant_speaker")
    quality = fields.Nested(RecordingQuality, required=True, allow_none=True, attribute="verified.heard.quality")
    channels = fields.Nested(Channels, required=True, allow_none=True, attribute="verified.heard.channels")
    timings = _timings()
    warning = fields.String(metadata={"description": "Why the result is shaky, if it is."})


class Match(Body):
    """Identity that may be the one who speaks."""

    identityId = fields.String(required=True, attribute="identity.id", metadata=_ID)
    identity = fields.String(
        required=True, attribute="identity.handle", metadata={"description": "Its handle.", "examples": ["ada"]}
    )
    score = _cosine("score")
    confidence = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "0 to 100, corrected for the number of people searched; null without calibration."},
    )


class SearchOutput(Body):
    """Search for the dominant speaker of a recording among the identities of a space."""

    matches = fields.List(
        fields.Nested(Match),
        required=True,
        attribute="candidates",
        metadata={"description": "The most likely first; empty: nobody of them."},
    )
    nobody = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Confidence that it is nobody of them, 0 to 100; null without calibration."},
    )
    searched = fields.Integer(
        required=True, attribute="num_searched", metadata={"description": "Identities that were compared."}
    )
    skipped = fields.Integer(
        required=True,
        attribute="num_skipped",
        metadata={"description": "Identities that were not, since another model enrolled them."},
    )
    space = _space()
    calibrated = _calibrated("calibrated")
    model = fields.String(required=True, attribute="heard.voiceprint.model_id")
    netSpeechSeconds = _seconds("heard.net_speech_s", "How long the dominant speaker talks.")
    quality = fields.Nested(RecordingQuality, required=True, allow_none=True, attribute="heard.quality")
    timings = _timings()
    warning = fields.String(metadata={"description": "Why the result is shaky, if it is."})


class FailureOutput(Body):
    """Failure of a job, or its cancellation."""

    error = fields.String(required=True, metadata={"description": "A sentence for people; it may change."})
    code = fields.String(
        required=True,
        validate=validate.OneOf(sorted(error.code for error in concrete_errors(JobFailure))),
        metadata={"description": "For programs; it is stable."},
    )


#: One of each kind of job, and what all may come to: each refuses the others' objects.
OUTPUTS = (
    VoiceprintOutput,
    DiarizationOutput,
    IdentificationOutput,
    VerificationOutput,
    SampleOutput,
    EnrolmentOutput,
    VoiceEnrolmentOutput,
    IdentityVerificationOutput,
    SearchOutput,
    FailureOutput,
)


class WebhookBody(Body):
    """End of a job, as its webhook tells it."""

    jobId = fields.UUID(required=True)
    status = fields.String(required=True, validate=validate.OneOf([s for s in Status if s.terminal]))
    output = RenderedOutput(*OUTPUTS, metadata={"description": "As polling gives it; left out on `webhookStatusOnly`."})


class FieldError(Body):
    """Field that is wrong, and why."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class Error(Body):
    """Any answer from 400 up."""

    requestId = fields.UUID(required=True)
    #: The API knows which there are, see `api/description.py`.
    code = fields.String(required=True, metadata={"description": "For programs; it is stable."})
    message = fields.String(required=True, metadata={"description": "A sentence for people; it may change."})
    errors = fields.List(
        fields.Nested(FieldError), metadata={"description": "With `invalid_request`: everything that is wrong."}
    )
