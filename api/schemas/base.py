"""Fields and base classes that several resources share."""

from typing import Any

from marshmallow import EXCLUDE, Schema, fields

#: Description of an id.
ID = {"format": "uuid"}
NEXT_CURSOR = "`nextCursor` of the page before."


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
