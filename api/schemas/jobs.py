"""Jobs, lists of jobs, receipts and delivery logs."""

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from api.schemas.base import ID, Cursor, Query, Request
from api.turn_files import FILES
from shared.dialects.fields import Body, Choice, RenderedOutput, Rounded, Timestamp
from shared.dialects.pyannoteai.outputs import OUTPUTS
from shared.domain.commands import (
    AddSample,
    ComputeEnrolment,
    CreateVoiceprint,
    Diarize,
    EnrolVoice,
    Identify,
    Search,
    Verify,
    VerifyIdentity,
)
from shared.domain.delivery import DeliveryState
from shared.domain.identities import MAX_ALIAS_LENGTH
from shared.domain.jobs import MOST_LOOKED_AT, JobCursor, Status
from shared.domain.text import has_controls

#: Longest that a request may wait for a job's end, in seconds.
MAX_WAIT_S = 60
#: Words for a status; `pending` is the vendor's.
_STATUSES = {"pending": Status.CREATED} | {status.value: status for status in Status}

#: Words for a kind of command; an identity is verified as a voiceprint is.
_KINDS = {
    CreateVoiceprint.kind: "voiceprint",
    Diarize.kind: "diarize",
    Identify.kind: "identify",
    Verify.kind: "verify",
    VerifyIdentity.kind: "verify",
    AddSample.kind: "enrol",
    EnrolVoice.kind: "enrol",
    ComputeEnrolment.kind: "enrolment",
    Search.kind: "search",
}


class JobQuery(Query):
    """Query for one job."""

    wait = fields.Integer(
        load_default=None,
        validate=validate.Range(0, MAX_WAIT_S),
        metadata={"description": "Seconds to wait for the job's end. While too many wait, the answer comes at once."},
    )


class JobHeaders(Schema):
    """Header of a request for one job."""

    Prefer = fields.String(
        load_default="", metadata={"description": "`wait=30` is the same as the parameter `wait` (RFC 7240)."}
    )


class DeleteQuery(Query):
    """Query for the deletion of a job."""

    keepMedia = fields.Boolean(
        load_default=False, metadata={"description": "Keep the upload that the job was made from."}
    )


class Kind(fields.String):
    """Kind of a job, in the words of its path; none for one that this release does not know."""

    def __init__(self, **options: Any) -> None:
        words = "`enrol` adds recordings to an identity, `enrolment` computes its voiceprint."
        metadata = {"description": f"What the job does: {words}", "enum": sorted(set(_KINDS.values()))}
        super().__init__(metadata=metadata, **options)

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        return _KINDS.get(value)


def _name() -> fields.String:
    text = "Name of the recording: the last part of its address, without the query."
    return fields.String(attribute="facts.name", metadata={"description": text, "examples": ["voice.wav"]})


def _audio_seconds() -> Rounded:
    text = "Length of the recording, once the job has succeeded."
    return Rounded(3, attribute="facts.audio_s", metadata={"description": text, "examples": [6.4]})


class JobState(Body):
    """Job: its step and progress while it runs, its output once it has ended."""

    jobId = fields.String(required=True, attribute="id", metadata=ID)
    status = Choice(Status, required=True)
    createdAt = Timestamp(required=True, attribute="created_at")
    updatedAt = Timestamp(required=True, attribute="updated_at")
    kind = Kind(attribute="facts.kind")
    name = _name()
    audioSeconds = _audio_seconds()
    step = fields.String(metadata={"description": "The step a running job is in."})
    progress = fields.Integer(metadata={"description": "How much of a running diarize or identify job is done, in %."})
    output = RenderedOutput(*OUTPUTS, metadata={"description": "What a job that has ended gives."})


class ListQuery(Query):
    """Query that both lists of jobs take."""

    status = fields.String(
        validate=validate.OneOf(list(_STATUSES)),
        metadata={"description": "Only jobs of this status; `pending` is another word for `created`."},
    )

    @post_load
    def read(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Return the status as a value."""
        return data | ({"status": _STATUSES[data["status"]]} if "status" in data else {})


class CursorQuery(ListQuery):
    """Query for a page behind a job."""

    limit = fields.Integer(load_default=10, validate=validate.Range(1, 100))
    cursor = Cursor(JobCursor.parse)


class OffsetQuery(ListQuery):
    """Query for a page by offset."""

    take = fields.Integer(load_default=10, validate=validate.Range(1, 100))
    skip = fields.Integer(load_default=0, validate=validate.Range(0, 1_000_000))


class ListedJob(Body):
    """Job of a list."""

    id = fields.String(required=True, metadata=ID)
    status = Choice(Status, required=True)
    createdAt = Timestamp(required=True, attribute="created_at")
    kind = Kind(attribute="facts.kind")
    name = _name()
    audioSeconds = _audio_seconds()


class JobPage(Body):
    """Some jobs, newest first."""

    items = fields.List(fields.Nested(ListedJob), required=True, attribute="jobs")
    nextCursor = fields.String(
        allow_none=True,
        attribute="cursor",
        metadata={
            "description": "Leads to the next page; null at the end. "
            f"A request looks at {MOST_LOOKED_AT} jobs at most. "
            "So a page may be short, or empty, before the end where a `status` is rare."
        },
    )


class SpeakerName(fields.String):
    """Label of a speaker and the name to print in its place, `SPEAKER_00:Ann`; loaded as both."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        label, colon, name = super()._deserialize(value, *args, **kwargs).partition(":")
        if not (label and colon and name.strip()):
            raise ValidationError("Must be a speaker's label, a colon and a name, such as SPEAKER_00:Ann.")
        return label, _printable(name)


def _printable(name: str) -> str:
    """Return a speaker's name; raises ValidationError."""
    if not name.strip() or len(name) > MAX_ALIAS_LENGTH or has_controls(name):
        raise ValidationError(
            f"The name must have 1 to {MAX_ALIAS_LENGTH} characters, without ends of lines and the like."
        )
    return name


class SpeakerNames(fields.Field[dict[str, str]]):
    """Names to print in place of speakers' labels, by label: `{"SPEAKER_00": "Ann"}`."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> dict[str, str]:
        if not (isinstance(value, dict) and all(isinstance(name, str) for name in value.values())):
            raise ValidationError('Must be an object of names by label, such as {"SPEAKER_00": "Ann"}.')
        return {label: _printable(name) for label, name in value.items()}


def _format() -> fields.String:
    return fields.String(
        load_default="json",
        validate=validate.OneOf(["json", *FILES]),
        metadata={"description": "`json`, or a file: `rttm`, `srt`, `vtt` or `csv`."},
    )


class TurnsRequest(Request):
    """Request for the turns of a job, with names; others are refused, for a misspelt one would rename nobody."""

    class Meta:
        unknown = RAISE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error_messages["unknown"] = "There is no such field here; turns have `format` and `names`."

    format = _format()
    names = SpeakerNames(
        load_default=dict,
        metadata={
            "description": "Names to print in place of speakers' labels, by label.",
            "type": "object",
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": MAX_ALIAS_LENGTH},
            "examples": [{"SPEAKER_00": "Ann"}],
        },
    )


class TurnsQuery(Query):
    """Query for the turns of a job."""

    format = _format()
    name = fields.List(
        SpeakerName(metadata={"examples": ["SPEAKER_00:Ann"]}),
        load_default=list,
        metadata={
            "description": "Name to print in place of a speaker's label, `SPEAKER_00:Ann`; once for each speaker."
        },
    )

    @post_load
    def read(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Return the names by label."""
        names = dict(data["name"])
        if len(names) < len(data["name"]):
            raise ValidationError("A speaker comes twice; give each one name.", "name")
        return data | {"name": names}


class ExportedTurn(Body):
    """Segment in which one speaker speaks, by name."""

    speaker = fields.String(
        required=True, attribute="name", metadata={"description": "The name, or the speaker's label."}
    )
    start = Rounded(3, required=True, attribute="segment.start_s")
    end = Rounded(3, required=True, attribute="segment.end_s")
    diarizationSpeaker = fields.String(
        required=True, attribute="speaker", metadata={"description": "The speaker's label in the job's `diarization`."}
    )


class ExportedWords(ExportedTurn):
    """Words of one speaker's turn, by name."""

    text = fields.String(required=True, metadata={"examples": ["Good morning, how can I help?"]})


class TurnList(Body):
    """Turns of a recording, and what is said in them."""

    jobId = fields.String(required=True, attribute="job_id", metadata=ID)
    turns = fields.List(fields.Nested(ExportedTurn), required=True, attribute="export.turns")
    transcription = fields.List(
        fields.Nested(ExportedWords),
        attribute="export.transcription",
        metadata={"description": "Who says what; empty unless the job was asked for `transcription`."},
    )


class DeletionReceipt(Body):
    """Receipt for a deleted job."""

    jobId = fields.String(required=True, attribute="job_id", metadata=ID)
    deletedAt = Timestamp(required=True, attribute="deleted_at")
    removed = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "SHA-256 of the `output` (as compact JSON) and of the uploaded `media`, if any."},
    )


class DeliveryTry(Body):
    """Try to deliver a webhook."""

    attempt = fields.Integer(required=True, metadata={"description": "Which try of the schedule, from 1."})
    at = Timestamp(required=True)
    status = fields.Integer(
        required=True, allow_none=True, metadata={"description": "HTTP status, when an answer came."}
    )
    reason = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "Why it failed; null when it succeeded. `unknown_error` while it is on its way, and for "
            "good if its courier was killed. `address_not_allowed` and `client_revoked` end the delivery."
        },
    )
    durationMs = fields.Integer(required=True, attribute="duration_ms")
    answer = fields.String(
        required=True,
        metadata={
            "description": "The first bytes of the answer; where none came, what went wrong, if that is known. "
            "Empty when the result is over."
        },
    )


class DeliveryLog(Body):
    """Delivery log of a job's webhook: its state and every try so far."""

    jobId = fields.String(required=True, attribute="job_id", metadata=ID)
    state = Choice(DeliveryState, required=True)
    tries = fields.List(fields.Nested(DeliveryTry), required=True)
