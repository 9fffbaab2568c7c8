"""Samples and enrolments of identities."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from api.schemas.base import ID, RecordList, handle, name, reference, require_one, space
from api.schemas.identities import consent, expiry
from api.schemas.recordings import JobCreated, RecordsJobOptions, RecordsJobRequest, ShortList, voiceprint
from shared.dialects.fields import Body, Choice, Rounded, Timestamp, VoiceprintString
from shared.dialects.pyannoteai.outputs import MAX_VOICEPRINT_LENGTH, RecordingQuality
from shared.domain.commands import AddSample, Command, ComputeEnrolment
from shared.domain.identities import DEFAULT_ENROLMENT, EnrolmentKind, EnrolmentState, SampleState
from shared.domain.jobs import new_job_id

#: Samples, or voiceprints, that one request names.
MAX_SAMPLES = 50
#: Word for all samples of an identity that were heard.
ALL = "all"


class SampleRequest(RecordsJobRequest):
    """Request to add a recording of an identity."""

    handle = handle("Name of your own choice, unique in the space. Left out: the id.")
    name = name("Free text.")

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        return AddSample(source=data["url"], model=data["model"], channel=data["channel"], sample=new_job_id())


class EnrolRequest(RecordsJobRequest):
    """Request to enrol an identity, new or not, by a recording."""

    identity = reference(
        "Handle of your own choice for a new identity; handle or id of one that there is.", "ada", required=True
    )
    space = space()
    name = name("Free text.")
    consent = consent(load_default=None)
    expiresAt = expiry(load_default=None)

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        return AddSample(source=data["url"], model=data["model"], channel=data["channel"], sample=new_job_id())


class EnrolJobCreated(JobCreated):
    """Job that enrols an identity."""

    identityId = fields.String(required=True, attribute="identity_id", metadata=ID)
    sampleId = fields.String(required=True, attribute="sample_id", metadata=ID)


class SampleJobCreated(JobCreated):
    """Job that hears a sample."""

    sampleId = fields.String(required=True, attribute="sample_id", metadata=ID)


class EnrolmentJobCreated(JobCreated):
    """Job that computes an enrolment."""

    enrolmentId = fields.String(required=True, attribute="enrolment_id", metadata=ID)


class SampleChoice(fields.Field[Any]):
    """Samples by their ids or handles, or the word `all`."""

    def __init__(self) -> None:
        names = {"type": "array", "minItems": 1, "maxItems": MAX_SAMPLES, "items": {"type": "string"}}
        super().__init__(
            metadata={
                "description": "Ids or handles of the samples, or `all`: those of the identity that were heard.",
                "oneOf": [{"const": ALL}, names],
                "examples": [ALL],
            }
        )
        self._list = ShortList(reference("Id or handle."), validate=validate.Length(1, MAX_SAMPLES))

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value == ALL:
            return ALL
        if not isinstance(value, list):
            raise ValidationError(f"Must be {ALL!r}, or a list of ids or handles.")
        return self._list.deserialize(value)


class EnrolmentRequest(RecordsJobOptions):
    """Request for an enrolment: of samples, by a job, or of voiceprints, at once."""

    samples = SampleChoice()
    voiceprints = ShortList(
        voiceprint(),
        validate=validate.Length(1, MAX_SAMPLES),
        metadata={"description": "Voiceprints of the person that you hold, in place of samples."},
    )
    kind = fields.Enum(
        EnrolmentKind,
        by_value=True,
        load_default=EnrolmentKind.GROWING,
        metadata={
            "type": "string",
            "description": "`growing`: further samples can be added. `once`: it is never changed.",
        },
    )
    handle = handle(
        f"Name of your own choice, unique for the identity. Left out: `{DEFAULT_ENROLMENT}`.",
        "june",
        load_default=DEFAULT_ENROLMENT,
        allow_none=False,
    )
    name = name("Free text.")
    adaptive = fields.Boolean(
        load_default=False,
        metadata={"description": "Add recordings that a verification accepts at `strictest`; `growing` only."},
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_material(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Refuse a request without samples and voiceprints, or with both."""
        require_one(original, "samples", "voiceprints")

    @validates_schema
    def check_adaptive(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse an enrolment that is computed once and adapts."""
        if data["adaptive"] and data["kind"] is EnrolmentKind.ONCE:
            raise ValidationError("An enrolment that is computed `once` never changes; make it `growing`.", "adaptive")

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        # Which enrolment it is shows once it is made.
        return ComputeEnrolment(model=data["model"], enrolment="")


class RecomputeRequest(RecordsJobOptions):
    """Request to compute an enrolment anew from its recordings."""

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        return ComputeEnrolment(model=data["model"], enrolment="", anew=True)


class Failure(Body):
    """Reason for which a record has no result."""

    error = fields.String(required=True, attribute="message")
    code = fields.String(required=True, metadata={"examples": ["too_little_speech"]})


class Heard(Body):
    """Facts of a recording that was heard."""

    audioSeconds = Rounded(3, required=True, attribute="audio_s")
    speechSeconds = Rounded(3, required=True, attribute="speech_s")
    netSpeechSeconds = Rounded(
        3, required=True, attribute="net_speech_s", metadata={"description": "How long the dominant speaker talks."}
    )
    model = fields.String(required=True, attribute="voiceprint.model_id")
    quality = fields.Nested(
        RecordingQuality,
        required=True,
        allow_none=True,
        metadata={"description": "Null for a voiceprint string that you brought."},
    )
    warning = fields.String(metadata={"description": "Reasons to doubt it."})


class Sample(Body):
    """Recording given for enrolment."""

    sampleId = fields.String(required=True, attribute="id", metadata=ID)
    handle = fields.String(required=True, metadata={"examples": ["first-call"]})
    name = fields.String(required=True, allow_none=True, attribute="alias", metadata={"examples": [None]})
    state = Choice(SampleState, required=True, examples=[SampleState.READY])
    identityId = fields.String(required=True, allow_none=True, attribute="identity.id", metadata=ID)
    jobId = fields.String(required=True, allow_none=True, attribute="job_id", metadata=ID)
    heard = fields.Nested(
        Heard, required=True, allow_none=True, metadata={"description": "Null until it was heard, and if it failed."}
    )
    failure = fields.Nested(Failure, metadata={"description": "Why it could not be heard, or was refused."})
    keptUntil = Timestamp(required=True, allow_none=True, attribute="kept_until")
    createdAt = Timestamp(required=True, attribute="created_at")
    enrolments = fields.Integer(required=True, attribute="num_enrolments", metadata={"description": "How many use it."})
    verifications = fields.Integer(required=True, attribute="num_verifications")


class SampleList(RecordList):
    """Some samples of an identity, newest first."""

    items = fields.List(fields.Nested(Sample), required=True)


class Enrolment(Body):
    """Model of an identity's voice."""

    enrolmentId = fields.String(required=True, attribute="id", metadata=ID)
    handle = fields.String(required=True, metadata={"examples": [DEFAULT_ENROLMENT]})
    name = fields.String(required=True, allow_none=True, attribute="alias", metadata={"examples": [None]})
    identityId = fields.String(required=True, attribute="identity.id", metadata=ID)
    kind = Choice(EnrolmentKind, required=True, examples=[EnrolmentKind.GROWING])
    adaptive = fields.Boolean(required=True)
    state = Choice(EnrolmentState, required=True, examples=[EnrolmentState.COMPUTED])
    model = fields.String(
        required=True,
        allow_none=True,
        attribute="model_id",
        metadata={"description": "Model of its voiceprint, `handle@revision`; null until it is computed."},
    )
    version = fields.Integer(required=True, metadata={"description": "How often it was computed.", "examples": [2]})
    jobId = fields.String(
        required=True,
        allow_none=True,
        attribute="job_id",
        metadata={**ID, "description": "Job that computes it, or did; null where none was needed."},
    )
    samples = fields.Integer(required=True, attribute="num_samples", metadata={"description": "How many it has."})
    verifications = fields.Integer(required=True, attribute="num_verifications")
    audioSeconds = Rounded(3, required=True, attribute="audio_s")
    speechSeconds = Rounded(3, required=True, attribute="speech_s")
    failure = fields.Nested(Failure, metadata={"description": "Why the last computation failed."})
    warning = fields.String(metadata={"description": "Samples that are unlike the others, if there are."})
    createdAt = Timestamp(required=True, attribute="created_at")
    computedAt = Timestamp(required=True, allow_none=True, attribute="computed_at")


class EnrolmentList(RecordList):
    """Some enrolments of an identity, newest first."""

    items = fields.List(fields.Nested(Enrolment), required=True)


class ExportedVoiceprint(Body):
    """Voiceprint of an enrolment, as a string."""

    voiceprint = VoiceprintString(MAX_VOICEPRINT_LENGTH, required=True)
    model = fields.String(required=True, metadata={"description": "What made it: `handle@revision`."})
