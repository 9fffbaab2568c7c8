"""Bodies of requests of the spaces API, in all of its vocabularies."""

from typing import Any

from marshmallow import EXCLUDE, INCLUDE, Schema, ValidationError, fields, pre_load, validate

from api.large_bodies import LongString
from shared.dialects.spaces import HANDLE_PATTERN, MAX_HANDLE_LENGTH

_MAX_ALIAS_LENGTH = 100
_MAX_MODEL_LENGTH = 50
_MOST_SAMPLES = 100


def _handle(**options: Any) -> fields.String:
    rule = validate.Regexp(
        rf"(?=.{{1,{MAX_HANDLE_LENGTH}}}\Z){HANDLE_PATTERN}\Z",
        error="Must be 1 to 50 lower-case letters and digits, words of them joined by hyphens.",
    )
    return fields.String(validate=rule, **options)


def _alias() -> fields.String:
    rules = [
        validate.Length(1, _MAX_ALIAS_LENGTH),
        validate.ContainsNoneOf("\0", error="Must hold no character of code 0."),
    ]
    return fields.String(validate=rules, allow_none=True)


class Body(Schema):
    """Body of a request; unknown fields are left out."""

    class Meta:
        unknown = EXCLUDE


class Anything(Schema):
    """Body that is not known yet."""

    class Meta:
        unknown = INCLUDE


class Credentials(Body):
    """Credentials: the owner's handle, and an API key of it."""

    handle = fields.String(required=True)
    password = fields.String(required=True)


class Naming(Body):
    """Names of a resource, new or changed."""

    handle = _handle()
    alias = _alias()


class NewSpace(Naming):
    """Space to be made."""

    handle = _handle(required=True)


class NewAudio(Naming):
    """Audio to be made; `file` is its content in base64."""

    handle = _handle(allow_none=True)
    identity = fields.String(allow_none=True)
    file = fields.Function(deserialize=lambda text: None if text is None else _text(text))


def _text(value: Any) -> str | LongString:
    if not isinstance(value, str | LongString):
        raise ValidationError("Must be the content of a media file in base64.")
    return value


class Assignment(Body):
    """Identity whose audio it is."""

    identity = fields.String(required=True)


class ModelName(fields.Field[str]):
    """Name of a model: a string, or an object with its handle and version."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        parts = [value.get("handle"), value.get("version")] if isinstance(value, dict) else [value]
        named = [part for part in parts if part is not None]
        text = "/".join(part for part in named if isinstance(part, str))
        if not all(isinstance(part, str) for part in named) or not 0 < len(text) <= _MAX_MODEL_LENGTH:
            raise ValidationError("Must be the name of a model, `phone/v1` say, or its handle and version.")
        return text


class NewVoiceprint(Naming):
    """Voiceprint to be made."""

    identity = fields.String(required=True)
    model = ModelName(load_default="default")
    minAudios = fields.Integer(strict=True, validate=validate.Range(1, _MOST_SAMPLES), load_default=1)

    @pre_load
    def take_either(self, data: Any, **_: Any) -> Any:
        """Take `minSamples` for `minAudios`."""
        return _either(data, "minAudios", "minSamples")


class NewVerification(Naming):
    """Verification of an audio against a voiceprint."""

    audio = fields.String(required=True)
    identity = fields.String(required=True)
    voiceprint = fields.String(required=True)

    @pre_load
    def take_either(self, data: Any, **_: Any) -> Any:
        """Take `sample` for `audio`."""
        return _either(data, "audio", "sample")


class NewAuthenticity(Naming):
    """Verification that an audio is natural."""

    audio = fields.String(required=True)
    model = ModelName(allow_none=True, load_default=None)

    @pre_load
    def take_either(self, data: Any, **_: Any) -> Any:
        """Take `sample` for `audio`."""
        return _either(data, "audio", "sample")


def _either(data: Any, name: str, other: str) -> Any:
    return {name: data[other], **data} if isinstance(data, dict) and other in data else data


class Opening(Body):
    """First message over a WebSocket; `config` and `audioFormat` change nothing."""

    model = ModelName(allow_none=True)


class IdentityOpening(Opening):
    """First message of a verification of an identity."""

    identity = fields.String(required=True)
    voiceprint = fields.String(required=True)
