"""Requests and responses as schemas: they check shape, nothing else, and describe the API in OpenAPI."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate, validates_schema

from api.outputs import OUTPUTS, OneOf
from shared.domain.commands import MEDIA_SCHEME, Command, CreateVoiceprint, Diarize, Identify, Verify
from shared.domain.delivery import DeliveryState
from shared.domain.errors import InternalError, InvalidVoiceprint, RequestError, concrete_errors
from shared.domain.jobs import Status, Webhook
from shared.domain.keys import MAX_OVERLAP_S
from shared.domain.verification import OperatingPoint
from shared.domain.voiceprints import Voiceprint

_S3_URL = re.compile(r"s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f]+")
_MEDIA_URL = re.compile(r"media://[a-zA-Z0-9\-_./]+")
_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d+)?", re.ASCII)
_HANDLE = re.compile(r"[\w.@-]{1,100}\Z", re.ASCII)
_VENDOR_MODEL = re.compile(r"(precision|community)-\d+")
_LABEL = re.compile(r"(?!speaker_)", re.IGNORECASE)

_ID, _TIME = {"format": "uuid"}, {"format": "date-time"}
_MAX_VOICEPRINT_LENGTH = 20_000
#: Numbers of speakers that clients give are cut to this: a result grows with speakers times turns.
_MOST_SPEAKERS = 100
#: What clients call a status.
_STATUSES = {"pending": Status.CREATED} | {status.value: status for status in Status}
#: How many unknown fields a warning names, and how much of each name.
_SHOWN, _SHOWN_LENGTH = 5, 50


def _check_media_url(url: str) -> None:
    if not _MEDIA_URL.fullmatch(url):
        raise ValidationError("Must be media:// followed by letters, digits, '-', '_', '.' or '/'.")


def _check_source(url: str) -> None:
    if url.startswith(MEDIA_SCHEME):
        _check_media_url(url)
    elif not _is_plain_http(url) and not _S3_URL.fullmatch(url):
        raise ValidationError(
            "Must be an http:// or https:// address in ASCII without user name or password, or media://."
        )


def _is_plain_http(url: str) -> bool:
    # urlsplit itself takes blanks, line breaks and any letters for part of an address.
    if not _PRINTABLE.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(_HOST.fullmatch(parts.netloc)) and parts.port != 0
    except ValueError:
        return False


def _check_webhook(url: str) -> None:
    if not _is_plain_http(url):
        raise ValidationError("Must be an https:// address in ASCII without user name or password.")


def _check_voiceprint(text: str) -> None:
    if len(text) > _MAX_VOICEPRINT_LENGTH:
        raise ValidationError(f"Longer than {_MAX_VOICEPRINT_LENGTH} characters.")
    try:
        Voiceprint.decode(text)
    except InvalidVoiceprint as error:
        raise ValidationError(str(error)) from None


def _why_not(voiceprint: str, label: str, times: int) -> dict[str, list[str]] | None:
    if times > 1:
        return {"label": [f"Label {label!r} comes {times} times; give each person one."]}
    try:
        _check_voiceprint(voiceprint)
    except ValidationError as error:
        return {"voiceprint": [f"Label {label!r}: {error.messages[0]}"]}
    return None


def _flag(description: str, default: bool = False) -> fields.Boolean:
    return fields.Boolean(allow_none=True, load_default=default, metadata={"description": description})


def _voiceprint(*validators: Callable[[str], None]) -> fields.String:
    text = "The string that a voiceprint job returned."
    size = {"minLength": 1, "maxLength": _MAX_VOICEPRINT_LENGTH}
    return fields.String(required=True, validate=validators, metadata={"description": text, **size})


class _WholeNumber(fields.Integer):
    """An integer, which JSON may as well write as 2.0."""

    def _validated(self, value: Any) -> Any:
        return super()._validated(int(value) if isinstance(value, float) and value.is_integer() else value)


class _ShortList(fields.List[Any]):
    """A list whose length is judged before its items are: a megabyte holds half a million of them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if isinstance(value, list):
            self._validate(value)
        return super()._deserialize(value, *args, **kwargs)


def _count(description: str) -> fields.Integer:
    return _WholeNumber(
        allow_none=True,
        load_default=None,
        strict=True,
        validate=validate.Range(1),
        metadata={"description": f"{description} More than {_MOST_SPEAKERS} count as so many."},
    )


def _at_most(speakers: int | None) -> int | None:
    return min(speakers, _MOST_SPEAKERS) if speakers else None


@dataclass(frozen=True)
class Submission:
    """A validated command, where to tell of its end, and what to tell the client about how it was read."""

    command: Command
    webhook: Webhook | None
    warning: str | None


def _unknown(schema: Schema, original: dict[str, Any], within: str = "") -> Iterator[str]:
    """Name what `schema` does not know; what is null or false asks for nothing."""
    for name, value in original.items():
        field = schema.fields.get(name)
        if field is None and value not in (None, False):
            yield within + name
        inner = field.inner if isinstance(field, fields.List) else field
        if isinstance(inner, fields.Nested):
            for item in value if isinstance(value, list) else [value or {}]:
                yield from _unknown(inner.schema, item, f"{within}{name}.")


def _ignored(unknown: list[str]) -> str | None:
    shown = ", ".join(repr(name[:_SHOWN_LENGTH]) for name in unknown[:_SHOWN])
    more = ", and others" if len(unknown) > _SHOWN else ""
    return f"Unknown fields were ignored: {shown}{more}." if unknown else None


class JobRequest(Schema):
    """What every job takes."""

    class Meta:
        unknown = EXCLUDE

    url = fields.String(
        required=True,
        validate=[validate.Length(max=4096), _check_source],
        metadata={
            "description": "Public http(s) address of the recording, media:// for an upload, or s3://.",
            "pattern": "^([hH][tT][tT][pP][sS]?|media|s3)://",
            "examples": ["https://example.com/voice.wav"],
        },
    )
    model = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.Regexp(_HANDLE, error="Must be a model's handle, such as titanet_large."),
        metadata={"description": "Handle of an installed model. Other vendors' names mean the default model."},
    )
    webhook = fields.String(
        allow_none=True,
        load_default=None,
        validate=[validate.Length(max=4096), _check_webhook],
        metadata={"description": "https address that is told, by a signed POST, how the job ended."},
    )
    webhookStatusOnly = _flag("Leave the result out of the webhook; poll for it instead.")

    @post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> Submission:
        """Return the command, with a warning for what was not taken literally."""
        warnings = [_ignored(sorted(set(_unknown(self, original))))]
        if data["model"] and _VENDOR_MODEL.fullmatch(data["model"]):
            warnings.append(f"Model {data['model']} is not served here; the default model is used.")
            data["model"] = None
        return Submission(
            command=self.command(data),
            webhook=Webhook(data["webhook"], bool(data["webhookStatusOnly"])) if data["webhook"] else None,
            warning=" ".join(filter(None, warnings)) or None,
        )

    def command(self, data: dict[str, Any]) -> Command:
        """Return what is asked for."""
        raise NotImplementedError


class VoiceprintRequest(JobRequest):
    """A recording whose dominant voice is wanted."""

    def command(self, data: dict[str, Any]) -> Command:
        """Return what is asked for."""
        return CreateVoiceprint(url=data["url"], model=data["model"])


class DiarizeRequest(JobRequest):
    """A recording whose speakers are to be told apart."""

    numSpeakers = _count("How many speakers there are, if known; the same as that many at least and at most.")
    minSpeakers = _count("How many speakers there are at least.")
    maxSpeakers = _count("How many speakers there are at most.")
    turnLevelConfidence = _flag("Say for each turn how sure each speaker is.")
    confidence = _flag("Say for every 20 ms how sure the diarization is.")
    exclusive = _flag("Add `exclusiveDiarization`, in which nobody speaks at the same time.")

    @validates_schema
    def check_speakers(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse numbers of speakers that contradict each other."""
        count, least, most = (data.get(name) for name in ("numSpeakers", "minSpeakers", "maxSpeakers"))
        if count and not (least or count) <= count <= (most or count):
            raise ValidationError("Must lie between minSpeakers and maxSpeakers.", "numSpeakers")
        if least and most and least > most:
            raise ValidationError("Must not be more than maxSpeakers.", "minSpeakers")

    def command(self, data: dict[str, Any]) -> Command:
        """Return what is asked for."""
        return Diarize(**self._options(data))

    def _options(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            "url": data["url"],
            "model": data["model"],
            "min_speakers": _at_most(data["numSpeakers"] or data["minSpeakers"]),
            "max_speakers": _at_most(data["numSpeakers"] or data["maxSpeakers"]),
            "turn_confidence": bool(data["turnLevelConfidence"]),
            "frame_confidence": bool(data["confidence"]),
            "exclusive": bool(data["exclusive"]),
        }


class LabelledVoiceprint(Schema):
    """Somebody who may be heard in the recording."""

    class Meta:
        unknown = EXCLUDE

    label = fields.String(
        required=True,
        validate=[
            validate.Length(1, 100),
            validate.Regexp(_LABEL, error="Must not start with SPEAKER_, as the names of strangers do."),
        ],
        metadata={"pattern": "^(?![sS][pP][eE][aA][kK][eE][rR]_)", "examples": ["Ada"]},
    )
    voiceprint = _voiceprint()


class Matching(Schema):
    """Rules by which speakers get labels."""

    class Meta:
        unknown = EXCLUDE

    exclusive = _flag(
        "Give each label to one speaker at most: the pairs whose confidences have the greatest sum match. "
        "With false, several speakers may get the same label.",
        default=True,
    )
    threshold = fields.Float(
        allow_none=True,
        load_default=0.0,
        validate=validate.Range(0, 100),
        metadata={
            "description": "Least confidence of a match, as `operatingPoint` of `POST /v1/verify` has it: 50 is "
            "balanced, 90 strict, 99 strictest. A speaker below it keeps a name such as `SPEAKER_00`. "
            "With 0, strangers get a label too; take 50 or more where names matter. "
            "Above 0, a model without calibration fails the job with `not_calibrated`."
        },
    )


class IdentifyRequest(DiarizeRequest):
    """A recording whose speakers are to be told apart, and named where their voiceprint is given."""

    voiceprints = _ShortList(fields.Nested(LabelledVoiceprint), required=True, validate=validate.Length(1, 50))
    matching = fields.Nested(
        Matching,
        allow_none=True,
        load_default=None,
        metadata={
            "description": "Rules by which speakers get labels. Left out or null: the defaults, which name strangers.",
            "examples": [{"exclusive": True, "threshold": 50}],
        },
    )

    @validates_schema
    def check_voiceprints(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse labels that come twice, and strings that are no voiceprint; each is named by its label."""
        found = Counter(one["label"] for one in data["voiceprints"])
        errors = {
            i: message
            for i, one in enumerate(data["voiceprints"])
            if (message := _why_not(one["voiceprint"], one["label"], found[one["label"]]))
        }
        if errors:
            raise ValidationError({"voiceprints": errors})

    def command(self, data: dict[str, Any]) -> Command:
        """Return what is asked for."""
        matching = data["matching"] or {}
        exclusive, threshold = matching.get("exclusive"), matching.get("threshold")
        return Identify(
            **self._options(data),
            voiceprints={one["label"]: one["voiceprint"] for one in data["voiceprints"]},
            exclusive_matching=exclusive is not False,
            threshold=threshold or 0.0,
        )


class VerifyRequest(JobRequest):
    """A recording and the voiceprint of the person who should be heard in it."""

    voiceprint = _voiceprint(_check_voiceprint)
    operatingPoint = fields.Enum(
        OperatingPoint,
        by_value=True,
        allow_none=True,
        load_default=OperatingPoint.BALANCED,
        metadata={
            "description": "Least confidence to accept the voice: `balanced` 50, `strict` 90, `strictest` 99. A "
            "stricter point accepts fewer strangers, and rejects the right person more often, most of all by "
            "telephone or in noise. Left out or null: `balanced`.",
            "examples": ["balanced"],
        },
    )

    def command(self, data: dict[str, Any]) -> Command:
        """Return what is asked for."""
        return Verify(
            url=data["url"],
            model=data["model"],
            voiceprint=data["voiceprint"],
            operating_point=data["operatingPoint"] or OperatingPoint.BALANCED,
        )


class MediaRequest(Schema):
    """The name an upload shall have."""

    class Meta:
        unknown = EXCLUDE

    url = fields.String(
        required=True,
        validate=[validate.Length(max=255), _check_media_url],
        metadata={
            "description": "media:// and a key of your own choice.",
            "pattern": f"^{_MEDIA_URL.pattern}$",
            "examples": ["media://voice.wav"],
        },
    )


class MediaAddress(Schema):
    """Where to PUT the file to, or GET it from."""

    url = fields.String(
        required=True,
        metadata={
            "description": "Good for an hour, without further authorization.",
            "examples": ["https://storage.example.com/voice.wav?signature=0123abcd"],
        },
    )


class MediaQuery(Schema):
    """Which stored recordings to list."""

    class Meta:
        unknown = EXCLUDE

    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))
    cursor = fields.String(
        load_default="",
        validate=[validate.Length(max=1000), validate.Regexp(r"[a-zA-Z0-9\-_./=]*\Z")],
        metadata={"description": "`nextCursor` of the page before."},
    )


class StoredMedia(Schema):
    """A stored recording."""

    url = fields.String(required=True)
    bytes = fields.Integer(required=True)
    storedAt = fields.String(required=True, metadata=_TIME)


class MediaList(Schema):
    """Some of a client's stored recordings."""

    items = fields.List(fields.Nested(StoredMedia), required=True)
    nextCursor = fields.String(required=True, allow_none=True)


class MediaReceipt(Schema):
    """Proof of what was removed."""

    url = fields.String(required=True)
    sha256 = fields.String(required=True)


class ConnectionTest(Schema):
    """Proof that address and key are right."""

    status = fields.String(required=True, metadata={"examples": ["OK"]})
    message = fields.String(required=True, metadata={"examples": ["Test connection successful"]})


class Liveness(Schema):
    """Proof that the process lives."""

    status = fields.String(required=True, metadata={"examples": ["ok"]})


class Readiness(Liveness):
    """Whether jobs can be accepted, and how many there are; what is waiting is known to Redis only."""

    redis = fields.Boolean(required=True)
    database = fields.Boolean(required=True)
    jobsWaiting = fields.Integer(metadata={"examples": [3]})
    jobsRunning = fields.Integer(metadata={"examples": [2]})
    oldestJobSeconds = fields.Float(metadata={"examples": [4.2]})


class JobCreated(Schema):
    """A job that was accepted."""

    jobId = fields.String(required=True, metadata=_ID)
    status = fields.String(
        required=True, validate=validate.OneOf(list(Status)), metadata={"examples": [Status.CREATED]}
    )
    warning = fields.String(metadata={"description": "What was not taken literally in the request."})


class JobState(Schema):
    """A job, its step and progress while it runs, and its output once it has ended."""

    jobId = fields.String(required=True, metadata=_ID)
    status = fields.String(required=True, validate=validate.OneOf(list(Status)))
    createdAt = fields.String(required=True, metadata=_TIME)
    updatedAt = fields.String(required=True, metadata=_TIME)
    step = fields.String(metadata={"description": "The step a running job is in."})
    progress = fields.Integer(metadata={"description": "How much of a running diarize or identify job is done, in %."})
    output = OneOf(*OUTPUTS, metadata={"description": "What a job that has ended gives."})


class ListQuery(Schema):
    """What both lists of jobs take."""

    class Meta:
        unknown = EXCLUDE

    status = fields.String(
        validate=validate.OneOf(list(_STATUSES)),
        metadata={"description": "Only jobs that stand so; `pending` is another word for `created`."},
    )

    @post_load
    def read(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Return the status as we know it."""
        return data | ({"status": _STATUSES[data["status"]]} if "status" in data else {})


class CursorQuery(ListQuery):
    """A page behind a job."""

    limit = fields.Integer(load_default=10, validate=validate.Range(1, 100))
    cursor = fields.String(metadata={"description": "`nextCursor` of the page before."})


class OffsetQuery(ListQuery):
    """A page by numbers."""

    take = fields.Integer(load_default=10, validate=validate.Range(1, 100))
    skip = fields.Integer(load_default=0, validate=validate.Range(0, 1_000_000))


class ListedJob(Schema):
    """A job as lists show it."""

    id = fields.String(required=True, metadata=_ID)
    status = fields.String(required=True, validate=validate.OneOf(list(Status)))
    createdAt = fields.String(required=True, metadata=_TIME)


class JobPage(Schema):
    """Some jobs, newest first."""

    items = fields.List(fields.Nested(ListedJob), required=True)
    nextCursor = fields.String(allow_none=True, metadata={"description": "Leads to the next page; null at the end."})


class ReceiptBody(Schema):
    """Proof of what was removed with a job."""

    jobId = fields.String(required=True, metadata=_ID)
    deletedAt = fields.String(required=True, metadata=_TIME)
    removed = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "SHA-256 of the `output` (as compact JSON) and of the uploaded `media`, if any."},
    )


class DeliveryTry(Schema):
    """One try to deliver a webhook."""

    attempt = fields.Integer(required=True, metadata={"description": "Which try of the schedule, from 1."})
    at = fields.String(required=True, metadata=_TIME)
    status = fields.Integer(
        required=True, allow_none=True, metadata={"description": "HTTP status, when an answer came."}
    )
    reason = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "Why it failed; null when it succeeded. `unknown_error` while it is on its way, and for "
            "good if its courier was killed."
        },
    )
    durationMs = fields.Integer(required=True)
    answer = fields.String(required=True, metadata={"description": "The first bytes of the answer."})


class DeliveryLog(Schema):
    """A job's webhook: where it stands and every try so far."""

    jobId = fields.String(required=True, metadata=_ID)
    state = fields.String(required=True, validate=validate.OneOf(list(DeliveryState)))
    tries = fields.List(fields.Nested(DeliveryTry), required=True)


class SecretRotation(Schema):
    """How to change the webhook secret."""

    class Meta:
        unknown = EXCLUDE

    overlapSeconds = fields.Integer(
        load_default=86_400,
        validate=validate.Range(0, MAX_OVERLAP_S),
        metadata={"description": "How long the secret before signs along."},
    )


class Secret(Schema):
    """A webhook secret, shown this once."""

    secret = fields.String(required=True)


class Model(Schema):
    """A speaker model."""

    handle = fields.String(required=True, metadata={"description": "Its name, as `model` of a request takes it."})
    version = fields.String(required=True, allow_none=True, metadata={"description": "Null while it is not installed."})
    dimension = fields.Integer(required=True, metadata={"description": "Length of its vectors."})
    sampleRate = fields.Integer(required=True, metadata={"description": "In Hz."})
    minSpeechSeconds = fields.Float(
        required=True, metadata={"description": "Least speech of the main speaker for a voiceprint."}
    )
    licence = fields.String(required=True)
    installed = fields.Boolean(required=True)
    calibrated = fields.Boolean(
        required=True, metadata={"description": "Whether scores can be turned into a confidence."}
    )
    default = fields.Boolean(required=True)


class ModelList(Schema):
    """The models of this service, the preferred first."""

    models = fields.List(fields.Nested(Model), required=True)


class FieldError(Schema):
    """What is wrong with one field."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class Error(Schema):
    """Any answer from 400 up."""

    requestId = fields.UUID(required=True)
    code = fields.String(
        required=True,
        validate=validate.OneOf(sorted({InternalError.code} | {error.code for error in concrete_errors(RequestError)})),
        metadata={"description": "For programs; it is stable."},
    )
    message = fields.String(required=True, metadata={"description": "A sentence for people; it may change."})
    errors = fields.List(
        fields.Nested(FieldError), metadata={"description": "With `invalid_request`: everything that is wrong."}
    )
