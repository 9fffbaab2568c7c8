"""Verifications of identities, and searches."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from api.schemas.base import ID, RecordList, reference, require_one, space
from api.schemas.enrolments import Failure
from api.schemas.recordings import (
    ChannelChoice,
    JobCreated,
    RecordsJobOptions,
    RecordsJobRequest,
    enrolment,
    operating_point,
    source,
)
from shared.dialects.fields import Body, Choice, Rounded, Timestamp
from shared.dialects.pyannoteai.outputs import RecordingQuality, replay
from shared.domain.commands import Command, Search, VerifyIdentity
from shared.domain.identities import VerificationState
from shared.domain.jobs import new_job_id
from shared.domain.verification import OperatingPoint

#: Candidates that a search gives, at most and by default.
MAX_CANDIDATES = 50
USUAL_CANDIDATES = 5
USUAL_LEAST_CONFIDENCE = 50


class IdentityVerifyRequest(RecordsJobOptions):
    """Request to verify a recording, or a sample, against an identity."""

    url = source()
    channel = ChannelChoice()
    sampleId = reference("Id or handle of a sample of the space that was heard, in place of a recording.")
    enrolment = enrolment()
    operatingPoint = operating_point()

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_voice(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Refuse a request without recording and sample, or with both."""
        require_one(original, "url", "sampleId")

    @validates_schema
    def check_channel(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse the channel of a sample, which was heard already."""
        if data["channel"] is not None and "url" not in data:
            raise ValidationError("Goes with `url` only.", "channel")

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        return VerifyIdentity(
            source=data.get("url"), model=data["model"], channel=data["channel"], verification=new_job_id()
        )


class VerificationJobCreated(JobCreated):
    """Job that verifies."""

    identityId = fields.String(attribute="identity_id", metadata={**ID, "description": "With `identity`."})
    verificationId = fields.String(
        attribute="verification_id", metadata={**ID, "description": "With `identity`; it is the job's id."}
    )


class SearchRequest(RecordsJobRequest):
    """Request to find out who of a space speaks."""

    space = space()
    limit = fields.Integer(
        strict=True,
        load_default=USUAL_CANDIDATES,
        validate=validate.Range(1, MAX_CANDIDATES),
        metadata={"description": "Most candidates."},
    )
    leastConfidence = fields.Integer(
        strict=True,
        load_default=USUAL_LEAST_CONFIDENCE,
        validate=validate.Range(0, 100),
        metadata={"description": "Nobody below it is named. It is corrected for the number of people searched."},
    )

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        # The space's id shows once it is found.
        return Search(
            source=data["url"],
            model=data["model"],
            channel=data["channel"],
            space="",
            limit=data["limit"],
            least_confidence=data["leastConfidence"],
        )


class VerificationResult(Body):
    """Result of a verification."""

    score = Rounded(4, required=True, attribute="comparison.score")
    confidence = fields.Integer(required=True, allow_none=True, attribute="comparison.confidence")
    decision = fields.String(required=True, allow_none=True, validate=validate.OneOf(["accept", "reject"]))
    audioSeconds = Rounded(3, required=True, attribute="heard.audio_s")
    speechSeconds = Rounded(3, required=True, attribute="heard.speech_s")
    netSpeechSeconds = Rounded(3, required=True, attribute="heard.net_speech_s")
    quality = fields.Nested(RecordingQuality, required=True, allow_none=True, attribute="heard.quality")
    replay = replay("replay")
    addedSampleId = fields.String(
        required=True,
        allow_none=True,
        attribute="added_sample",
        metadata={**ID, "description": "Sample that was added to an adaptive enrolment."},
    )
    warning = fields.String(attribute="heard.warning")


class Verification(Body):
    """Verification of a recording, or a sample, against an identity's enrolment."""

    verificationId = fields.String(required=True, attribute="id", metadata=ID)
    state = Choice(VerificationState, required=True, examples=[VerificationState.PERFORMED])
    identityId = fields.String(required=True, allow_none=True, attribute="identity.id", metadata=ID)
    enrolmentId = fields.String(
        required=True,
        allow_none=True,
        attribute="enrolment.id",
        metadata={**ID, "description": "Null once it was deleted."},
    )
    sampleId = fields.String(
        required=True,
        allow_none=True,
        attribute="sample.id",
        metadata={**ID, "description": "Sample that was verified; null for a recording."},
    )
    operatingPoint = fields.Enum(
        OperatingPoint, by_value=True, required=True, attribute="operating_point", metadata={"type": "string"}
    )
    model = fields.String(required=True, attribute="model_id")
    jobId = fields.String(required=True, attribute="job_id", metadata=ID)
    result = fields.Nested(VerificationResult, required=True, allow_none=True)
    failure = fields.Nested(Failure, metadata={"description": "Why it has no result."})
    createdAt = Timestamp(required=True, attribute="created_at")
    performedAt = Timestamp(required=True, allow_none=True, attribute="performed_at")


class VerificationList(RecordList):
    """Some verifications of an identity, newest first."""

    items = fields.List(fields.Nested(Verification), required=True)
