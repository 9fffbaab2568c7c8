"""Requests for jobs on recordings."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from api.schemas.base import ID, Named, Number, Request, flag, handle, reference, require_one, space
from shared.dialects.fields import Body, Choice, VoiceprintString
from shared.dialects.pyannoteai import PyannoteAi
from shared.dialects.pyannoteai.outputs import MAX_VOICEPRINT_LENGTH
from shared.domain.addresses import HttpUrl, InvalidAddress
from shared.domain.audio import Segment, united
from shared.domain.commands import Command, CreateVoiceprint, Diarize, Identify, Verify, VerifyIdentity
from shared.domain.jobs import JobSubmission, Status, Webhook, new_job_id
from shared.domain.models import VENDOR_MODEL
from shared.domain.sources import parse_source
from shared.domain.verification import OperatingPoint

_HANDLE = re.compile(r"[\w.@-]{1,100}\Z", re.ASCII)
_SPEAKER = re.compile(r"SPEAKER_[0-9]{2,3}\Z")
_LABEL = re.compile(r"(?!speaker_)", re.IGNORECASE)

_LONGEST_URL = 4096
_LONGEST_LABEL = 100
#: Voiceprints of one request.
MAX_VOICEPRINTS = 50
#: Most segments of a recording that a voiceprint is made of.
MAX_SEGMENTS = 200
#: Example of a voiceprint; a whole one has more than a thousand characters.
SHORTENED = "VE1CUgEGZ2UyZUAxAAE..."
#: Numbers of speakers that clients give are cut to this: a result grows with speakers times turns.
_MOST_SPEAKERS = 100
#: Words for channels, and most channels of a recording.
MIX = "mix"
EACH = "each"
MAX_CHANNELS = 8
#: How many unknown fields a warning names, and how much of each name.
_SHOWN = 5
_SHOWN_LENGTH = 50

Parsed = TypeVar("Parsed")


class Address(fields.String):
    """Address, parsed to a value; an `InvalidAddress` becomes the field's error."""

    def __init__(self, parse: Callable[[str], Parsed], max_length: int = _LONGEST_URL, **options: Any) -> None:
        metadata = options.pop("metadata", {}) | {"maxLength": max_length}
        super().__init__(metadata=metadata, **options)
        self._parse = parse
        self._max_length = max_length

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if len(text) > self._max_length:
            raise ValidationError(f"Longer than maximum length {self._max_length}.")
        try:
            return self._parse(text)
        except InvalidAddress as error:
            raise ValidationError(str(error)) from None


def _webhook_url(text: str) -> HttpUrl:
    try:
        return HttpUrl.parse(text)
    except InvalidAddress:
        raise InvalidAddress("Must be an https:// address in ASCII without user name or password.") from None


def voiceprint(**options: Any) -> VoiceprintString:
    """Return the field of a voiceprint string."""
    text = "The string that a voiceprint job returned."
    size = {"minLength": 1, "maxLength": MAX_VOICEPRINT_LENGTH}
    metadata = {"description": text, **size, "examples": [SHORTENED]}
    return VoiceprintString(MAX_VOICEPRINT_LENGTH, metadata=metadata, **options)


class _WholeNumber(fields.Integer):
    """Integer, which JSON may as well write as 2.0."""

    def _validated(self, value: Any) -> Any:
        return super()._validated(int(value) if isinstance(value, float) and value.is_integer() else value)


class ShortList(fields.List[Any]):
    """List whose length is judged before its items are: a megabyte holds half a million of them."""

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


def source(**options: Any) -> Address:
    """Return the field of a recording's address."""
    return Address(
        parse_source,
        metadata={
            "description": "Public http(s) address of the recording, media:// for an upload, or s3://.",
            "pattern": "^([hH][tT][tT][pP][sS]?|media|s3)://",
            "examples": ["https://example.com/voice.wav"],
        },
        **options,
    )


class ChannelChoice(fields.Field[Any]):
    """Channel of the recording by its number, or the word `mix`, which loads as None; where it fits, `each` too."""

    def __init__(self, *, each: bool = False) -> None:
        words = [MIX, EACH] if each else [MIX]
        apart = " `each`: all channels, each of which is one speaker." if each else ""
        super().__init__(
            allow_none=True,
            load_default=None,
            metadata={
                "description": "Channel that is heard: its number from 0, the left one, or `mix`: all of them as one."
                f"{apart} Left out or null: `mix`.",
                "anyOf": [
                    {"type": "string", "enum": words},
                    {"type": "integer", "minimum": 0, "maximum": MAX_CHANNELS - 1},
                    {"type": "null"},
                ],
                "examples": [MIX, 0, *words[1:]],
            },
        )
        self._each = each

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value == MIX:
            return None
        if value == EACH and self._each:
            return EACH
        if type(value) in (int, float) and value in range(MAX_CHANNELS):
            return int(value)
        one = f"or a number from 0 to {MAX_CHANNELS - 1}, the left channel being 0"
        if self._each:
            raise ValidationError(f"Must be {MIX!r}, {EACH!r}, {one}.")
        told = f" {EACH!r} goes with /v1/diarize only." if value == EACH else ""
        raise ValidationError(f"Must be {MIX!r}, {one}.{told}")


class JobOptions(Request):
    """Options of a request for a job, of whatever kind."""

    model = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.Regexp(_HANDLE, error="Must be a model's handle, such as titanet_large."),
        metadata={"description": "Handle of an installed model. Other vendors' names mean the default model."},
    )
    webhook = Address(
        _webhook_url,
        allow_none=True,
        load_default=None,
        metadata={"description": "https address that is told, by a signed POST, how the job ended."},
    )
    webhookStatusOnly = flag("Leave the result out of the webhook; poll for it instead.")

    @post_load(pass_original=True)
    def load_job(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> Any:
        """Return the submission, with a warning for what was not taken literally."""
        warnings = [_ignored(sorted(set(_unknown(self, original)))), self.warning(data)]
        if data["model"] and VENDOR_MODEL.fullmatch(data["model"]):
            warnings.append(f"Model {data['model']} is not served here; the default model is used.")
            data["model"] = None
        submission = JobSubmission(
            command=self.command(data),
            dialect=PyannoteAi.name,
            webhook=Webhook(data["webhook"], bool(data["webhookStatusOnly"])) if data["webhook"] else None,
            warning=" ".join(filter(None, warnings)) or None,
        )
        return self.loaded(data, submission)

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        raise NotImplementedError

    def warning(self, data: dict[str, Any]) -> str | None:
        """Return what else was not taken literally."""
        return None

    def loaded(self, data: dict[str, Any], submission: JobSubmission) -> Any:
        """Return what a view gets."""
        return submission


class RecordsJobOptions(JobOptions):
    """Options of a request for a job on records; a view gets all fields, and the submission beside them."""

    def loaded(self, data: dict[str, Any], submission: JobSubmission) -> Any:
        """Return what a view gets."""
        return data | {"submission": submission}


class _Recording(Request):
    url = source(required=True)
    channel = ChannelChoice()


class JobRequest(JobOptions, _Recording):
    """Request for a job on a recording."""


class RecordsJobRequest(RecordsJobOptions, _Recording):
    """Request for a job on a recording and on records."""


class SpokenSegment(Request):
    """Segment of the recording, in seconds from its start."""

    start = Number(required=True, validate=validate.Range(0), metadata={"examples": [12.4]})
    end = Number(required=True, validate=validate.Range(0), metadata={"examples": [19.85]})

    @validates_schema
    def check_order(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a segment that is empty."""
        if data["end"] <= data["start"]:
            raise ValidationError("Must be greater than start.", "end")


class VoiceprintRequest(JobRequest):
    """Request for the voiceprint of a recording's dominant speaker, or of another one."""

    speaker = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.Regexp(_SPEAKER, error="Must be a label such as SPEAKER_01."),
        metadata={
            "description": "Speaker whose voice it is to be, in place of the dominant one: a label of the output of "
            "another voiceprint job of the same recording."
        },
    )
    segments = ShortList(
        fields.Nested(SpokenSegment),
        allow_none=True,
        load_default=None,
        validate=validate.Length(1, MAX_SEGMENTS),
        metadata={
            "description": "Where one person speaks alone, as a diarize job found it, say: 30 s in all, of a recording "
            "of up to two hours. All speech in them is taken for one voice."
        },
    )

    @validates_schema
    def check_choice(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse two ways to name one person."""
        if data["speaker"] is not None and data["segments"] is not None:
            raise ValidationError("Send either `speaker` or `segments`.", "segments")

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        segments = united(Segment(one["start"], one["end"]) for one in data["segments"] or ())
        return CreateVoiceprint(
            source=data["url"],
            model=data["model"],
            channel=data["channel"],
            speaker=data["speaker"],
            segments=tuple(segments),
        )


class TranscriptionConfig(Request):
    """Options of a transcription."""

    model = fields.String(
        allow_none=True,
        load_default=None,
        validate=validate.Regexp(_HANDLE, error="Must be a speech recogniser's name."),
        metadata={
            "description": "Speech recogniser. It is not chosen: the one that is installed recognises the words.",
            "examples": ["parakeet-tdt-0.6b-v3"],
        },
    )


class DiarizeRequest(JobRequest):
    """Request for the diarization of a recording."""

    channel = ChannelChoice(each=True)
    numSpeakers = _count("How many speakers there are, if known; the same as that many at least and at most.")
    minSpeakers = _count("How many speakers there are at least.")
    maxSpeakers = _count("How many speakers there are at most.")
    turnLevelConfidence = flag("Say for each turn how sure each speaker is.")
    confidence = flag("Say for every 20 ms how sure the diarization is.")
    exclusive = flag("Add `exclusiveDiarization`, in which nobody speaks at the same time.")
    transcription = flag("Add `turnLevelTranscription`: who says what.")
    transcriptionConfig = fields.Nested(
        TranscriptionConfig,
        allow_none=True,
        load_default=None,
        metadata={"description": "Options of the transcription.", "examples": [{"model": "parakeet-tdt-0.6b-v3"}]},
    )

    @validates_schema
    def check_speakers(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse numbers of speakers that contradict each other."""
        count, least, most = (data.get(name) for name in ("numSpeakers", "minSpeakers", "maxSpeakers"))
        if count and not (least or count) <= count <= (most or count):
            raise ValidationError("Must lie between minSpeakers and maxSpeakers.", "numSpeakers")
        if least and most and least > most:
            raise ValidationError("Must not be more than maxSpeakers.", "minSpeakers")

    @validates_schema
    def check_each(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse numbers of speakers where each channel is one."""
        counts = [name for name in ("numSpeakers", "minSpeakers", "maxSpeakers") if data[name] is not None]
        if data["channel"] == EACH and counts:
            raise ValidationError(
                {name: [f"Does not go with channel {EACH!r}: each channel is one speaker."] for name in counts}
            )

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        each = data["channel"] == EACH
        return Diarize(**self._options(data) | {"channel": None if each else data["channel"], "each_channel": each})

    def warning(self, data: dict[str, Any]) -> str | None:
        """Return the sentence about a speech recogniser that is named."""
        named = (data["transcriptionConfig"] or {}).get("model")
        told = "recognises the words; the output's warning names it."
        return f"Speech recogniser {named} is not chosen: the one that is installed {told}" if named else None

    def _options(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            "source": data["url"],
            "model": data["model"],
            "channel": data["channel"],
            "min_speakers": _at_most(data["numSpeakers"] or data["minSpeakers"]),
            "max_speakers": _at_most(data["numSpeakers"] or data["maxSpeakers"]),
            "turn_confidence": bool(data["turnLevelConfidence"]),
            "frame_confidence": bool(data["confidence"]),
            "exclusive": bool(data["exclusive"]),
            "transcription": bool(data["transcription"]),
        }


class LabelledVoiceprint(Request):
    """Voiceprint of a person who may be heard in the recording."""

    label = fields.String(
        required=True,
        validate=[
            validate.Length(1, _LONGEST_LABEL),
            validate.Regexp(_LABEL, error="Must not start with SPEAKER_, as the names of strangers do."),
        ],
        metadata={"pattern": "^(?![sS][pP][eE][aA][kK][eE][rR]_)", "examples": ["Ada"]},
    )
    voiceprint = voiceprint(required=True)

    def handle_error(self, error: ValidationError, data: Any, **_: Any) -> None:
        """Name the label in what is said of its voiceprint."""
        messages = error.messages
        label = data.get("label") if isinstance(data, dict) else None
        if isinstance(messages, dict) and "voiceprint" in messages and isinstance(label, str):
            said = messages["voiceprint"]
            messages["voiceprint"] = [f"Label {label[:_LONGEST_LABEL]!r}: {message}" for message in said]


class Matching(Request):
    """Rules by which speakers get labels."""

    exclusive = flag(
        "Give each label to one speaker at most: the pairs whose confidences have the greatest sum match. "
        "With false, several speakers may get the same label.",
        default=True,
    )
    threshold = Number(
        allow_none=True,
        load_default=0.0,
        validate=validate.Range(0, 100),
        metadata={
            "description": "Least confidence of a match: how likely it is this label and no other, nor anybody else. "
            "50 is balanced, 90 strict, 99 strictest. A speaker below it keeps a name such as `SPEAKER_00`. "
            "With 0, strangers get a label too; take 50 or more where names matter. "
            "Above 0, a model without calibration fails the job with `not_calibrated`."
        },
    )


class IdentifyRequest(RecordsJobOptions, DiarizeRequest):
    """Request to diarize a recording and name the speakers: by voiceprints, identities, or all of a space."""

    channel = ChannelChoice()
    voiceprints = ShortList(
        fields.Nested(LabelledVoiceprint),
        validate=validate.Length(1, MAX_VOICEPRINTS),
        metadata={"examples": [[{"label": "Ada", "voiceprint": SHORTENED}]]},
    )
    identities = ShortList(
        reference("Id or handle."),
        load_default=list,
        validate=validate.Length(1, MAX_VOICEPRINTS),
        metadata={"description": "Enrolled identities who may be heard; their handles are the labels."},
    )
    space = handle("Space of the identities. Without `identities`: whoever of the space is enrolled may be heard.")
    matching = fields.Nested(
        Matching,
        allow_none=True,
        load_default=None,
        metadata={
            "description": "Rules by which speakers get labels. Left out or null: the defaults, which name strangers.",
            "examples": [{"exclusive": True, "threshold": 50}],
        },
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_people(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Refuse a request that names nobody."""
        if not isinstance(original, dict):
            # It was refused already.
            return
        if not original.keys() & {"voiceprints", "identities"} and original.get("space") is None:
            raise ValidationError("Missing data for required field; or send `identities`, or `space`.", "voiceprints")

    @validates_schema
    def check_labels(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse labels that come twice."""
        given = data.get("voiceprints", [])
        found = Counter(one["label"] for one in given)
        errors = {
            i: {"label": [f"Label {one['label']!r} comes {found[one['label']]} times; give each person one."]}
            for i, one in enumerate(given)
            if found[one["label"]] > 1
        }
        if errors:
            raise ValidationError({"voiceprints": errors})

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        matching = data["matching"] or {}
        return Identify(
            **self._options(data),
            voiceprints={one["label"]: one["voiceprint"] for one in data.get("voiceprints", [])},
            exclusive_matching=matching.get("exclusive") is not False,
            threshold=matching.get("threshold") or 0.0,
        )


def operating_point() -> fields.Enum:  # type: ignore[type-arg]
    """Return the field of an operating point."""
    return fields.Enum(
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


def enrolment() -> Named:
    """Return the field of the enrolment to compare with."""
    return reference(
        "Id or handle of the enrolment to compare with. Left out: the newest one under a model that is served.",
        allow_none=True,
        load_default=None,
    )


class VerifyRequest(RecordsJobRequest):
    """Request to verify a recording's dominant speaker against a voiceprint, or an identity."""

    voiceprint = voiceprint()
    identity = reference("Id or handle of an enrolled identity, in place of a voiceprint.")
    space = space()
    enrolment = enrolment()
    operatingPoint = operating_point()

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_person(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        """Refuse a request that names nobody, or two people."""
        require_one(original, "voiceprint", "identity")

    @validates_schema
    def check_place(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a space or an enrolment of nobody."""
        for name in ("space", "enrolment"):
            if data[name] is not None and "identity" not in data:
                raise ValidationError("Goes with `identity` only.", name)

    def command(self, data: dict[str, Any]) -> Command:
        """Return the command of the request."""
        if "identity" in data:
            return VerifyIdentity(
                source=data["url"], model=data["model"], channel=data["channel"], verification=new_job_id()
            )
        return Verify(
            source=data["url"],
            model=data["model"],
            channel=data["channel"],
            voiceprint=data["voiceprint"],
            operating_point=data["operatingPoint"] or OperatingPoint.BALANCED,
        )


class JobCreated(Body):
    """Job that was accepted."""

    jobId = fields.String(required=True, attribute="id", metadata=ID)
    status = Choice(Status, required=True, examples=[Status.CREATED])
    warning = fields.String(metadata={"description": "What was not taken literally in the request."})
