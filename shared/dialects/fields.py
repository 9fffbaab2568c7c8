"""Marshmallow fields and base schema that bodies share; each both dumps a domain value and describes it."""

import json
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, post_dump

from shared.domain.errors import InvalidVoiceprint
from shared.domain.voiceprints import Voiceprint


class Body(Schema):
    """JSON object; a field that is neither required nor nullable is left out when it has no value."""

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Return a value of what is dumped; for a path such as `identity.id` None where its first part is None."""
        found = super().get_attribute(obj, attr, default)
        return None if found is missing and "." in attr else found

    @post_dump
    def leave_out(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Drop optional fields without a value."""
        return {name: value for name, value in data.items() if value is not None or self._keeps(name)}

    def _keeps(self, name: str) -> bool:
        field = self.fields[name]
        return bool(field.required or field.allow_none)


class Rounded(fields.Float):
    """Number that is dumped with so many digits after the point."""

    def __init__(self, digits: int, **options: Any) -> None:
        super().__init__(**options)
        self._digits = digits

    def _serialize(self, value: Any, *_: Any, **__: Any) -> float | None:
        return None if value is None else round(float(value), self._digits)


class Timestamp(fields.String):
    """UTC time in ISO 8601 with milliseconds and Z."""

    def __init__(self, **options: Any) -> None:
        super().__init__(metadata={"format": "date-time"}, **options)

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        if not isinstance(value, datetime):
            return None
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Choice(fields.Enum):  # type: ignore[type-arg]
    """One of the words of a string enumeration."""

    def __init__(self, words: type[StrEnum], *, examples: Sequence[str] = (), **options: Any) -> None:
        metadata = {"type": "string", **({"examples": list(examples)} if examples else {})}
        super().__init__(words, by_value=True, metadata=metadata, **options)


class Percentages(fields.List[Any]):
    """List of whole numbers, dumped from an array in one step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(fields.Integer(), **options)

    def _serialize(self, value: Any, *_: Any, **__: Any) -> list[int] | None:
        return None if value is None else value.tolist()


class VoiceprintString(fields.String):
    """Voiceprint, as the string that clients keep.

    Parameters
    ----------
    max_length : most characters that are read.
    """

    def __init__(self, max_length: int, **options: Any) -> None:
        super().__init__(**options)
        self._max_length = max_length

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        return None if value is None else value.encode()

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if len(text) > self._max_length:
            raise ValidationError(f"Longer than {self._max_length} characters.")
        try:
            return Voiceprint.decode(text)
        except InvalidVoiceprint as error:
            raise ValidationError(str(error)) from None


class RenderedOutput(fields.Dict):
    """Object of one of several schemas, dumped from the JSON text that a dialect rendered."""

    def __init__(self, *schemas: type[Schema], **options: Any) -> None:
        super().__init__(**options)
        self.schemas = schemas

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return None if value is None else json.loads(value)
