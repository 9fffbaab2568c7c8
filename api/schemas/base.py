"""Fields and base classes that several resources share."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from shared.dialects.fields import Body
from shared.domain.identities import MAX_ALIAS_LENGTH, RecordCursor, is_handle, is_id

#: Description of an id.
ID = {"format": "uuid"}
NEXT_CURSOR = "`nextCursor` of the page before."
#: Forms of a handle, and of an id or handle, in ECMAScript.
REFERENCE_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$"
HANDLE_PATTERN = "^(?![0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$)[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$"

_SPACE = "Handle of the space. Left out: `default`, or the space of an identity that is named by its id."
_BAD_REFERENCE = "Must be an id, or a handle: 1 to 128 letters, digits and ._@+-, the first one a letter or digit."
_BAD_HANDLE = "Must be 1 to 128 letters, digits and ._@+-, the first one a letter or digit; not of the form of an id."
#: Years that a time may have; databases and clients know no others.
_YEARS = range(1900, 9999)


class Request(Schema):
    """Body of a request; unknown fields are left out."""

    class Meta:
        unknown = EXCLUDE


class Query(Schema):
    """Query of a request; an unknown parameter is refused by name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error_messages["unknown"] = "There is no such query parameter here."


def flag(description: str, default: bool = False) -> fields.Boolean:
    """Return a boolean that may be left out or null."""
    return fields.Boolean(allow_none=True, load_default=default, metadata={"description": description})


class Named(fields.String):
    """String of one form: a handle, or an id or handle.

    Parameters
    ----------
    form, refusal, pattern : test of a text, sentence for one that fails it, and the same test in ECMAScript.
    """

    def __init__(self, form: Callable[[str], bool], refusal: str, pattern: str, **options: Any) -> None:
        metadata = {"pattern": pattern} | options.pop("metadata", {})
        super().__init__(metadata=metadata, **options)
        self._form = form
        self._refusal = refusal

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if not self._form(text):
            raise ValidationError(self._refusal)
        return text


def handle(description: str, *examples: str, **options: Any) -> Named:
    """Return the field of a name that the client chooses; it may be left out."""
    return Named(
        is_handle,
        _BAD_HANDLE,
        HANDLE_PATTERN,
        metadata=_described(description, examples),
        **{"allow_none": True, "load_default": None} | options,
    )


def reference(description: str, *examples: str, **options: Any) -> Named:
    """Return a field for a record's id or handle."""
    return Named(
        lambda text: is_id(text) or is_handle(text),
        _BAD_REFERENCE,
        REFERENCE_PATTERN,
        metadata=_described(description, examples),
        **options,
    )


def _described(description: str, examples: Sequence[str]) -> dict[str, Any]:
    return {"description": description} | ({"examples": list(examples)} if examples else {})


def space() -> Named:
    """Return the field, or query parameter, that names a space."""
    return handle(_SPACE)


class SpaceQuery(Query):
    """Query that names the space of what a path names."""

    space = space()


class Text(fields.String):
    """Free text of at most so many characters; the database cannot store the character 0."""

    def __init__(self, most: int, description: str, **options: Any) -> None:
        rules = [validate.Length(1, most), validate.Regexp(r"[^\x00]+\Z", error="Must not hold the character 0.")]
        super().__init__(validate=rules, metadata={"description": description}, **options)


def name(description: str, **options: Any) -> Text:
    """Return the field of a record's free name; it may be left out."""
    return Text(MAX_ALIAS_LENGTH, description, allow_none=True, **{"load_default": None} | options)


class Number(fields.Float):
    """Number; a text that spells one is none, as with other fields."""

    def _validated(self, value: Any) -> float:
        if isinstance(value, str):
            raise self.make_error("invalid")
        return super()._validated(value)


class Moment(fields.AwareDateTime):
    """Time of a request, in ISO 8601 with a time zone; loaded as UTC."""

    def __init__(self, description: str, **options: Any) -> None:
        super().__init__(format="iso", metadata={"description": description}, **options)
        self.error_messages["invalid_awareness"] = "Must name its time zone: end it with Z, say."

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        found = super()._deserialize(value, *args, **kwargs)
        try:
            moment = found.astimezone(UTC)
        except OverflowError:
            moment = None
        if moment is None or moment.year not in _YEARS:
            raise ValidationError(f"Must lie in the years {_YEARS[0]} to {_YEARS[-1]}.")
        return moment


def in_future(moment: datetime) -> None:
    """Refuse a time that is over."""
    if moment <= datetime.now(UTC):
        raise ValidationError("Must lie in the future.")


def require_one(original: Any, first: str, other: str) -> None:
    """Refuse a body that has neither of two fields, or both; one that is no object was refused already."""
    if not isinstance(original, dict):
        return
    given = original.keys() & {first, other}
    if not given:
        raise ValidationError(f"Missing data for required field: send it, or `{other}`.", first)
    if len(given) > 1:
        raise ValidationError(f"Send either `{first}` or `{other}`, not both.", other)


class Cursor(fields.String):
    """Place in a list, as the page before gave it.

    Parameters
    ----------
    parse : returns the place of a text; raises ValueError.
    """

    def __init__(self, parse: Callable[[str], Any], **options: Any) -> None:
        super().__init__(metadata={"description": NEXT_CURSOR}, **options)
        self._parse = parse

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._parse(super()._deserialize(value, *args, **kwargs))
        except ValueError as error:
            raise ValidationError(str(error)) from None


class PageQuery(Query):
    """Query for a page of records, newest first."""

    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    cursor = Cursor(RecordCursor.parse, load_default=None)


class SpacePageQuery(PageQuery):
    """Query for a page of records of a space."""

    space = space()


class RecordList(Body):
    """Some records, newest first."""

    nextCursor = fields.String(
        required=True,
        allow_none=True,
        attribute="cursor",
        metadata={"description": "Leads to the next page; null at the end."},
    )
    total = fields.Integer(required=True, metadata={"description": "How many there are on all pages."})
