"""Uploads: their addresses, lists and receipts."""

from marshmallow import fields, validate

from api.schemas.base import NEXT_CURSOR, Query, Request
from api.schemas.recordings import Address
from shared.dialects.fields import Body, Timestamp
from shared.domain.sources import MEDIA_KEY_PATTERN, MediaUrl


class MediaRequest(Request):
    """Name of an upload."""

    url = Address(
        MediaUrl.parse,
        max_length=255,
        required=True,
        metadata={
            "description": "media:// and a key of your own choice.",
            "pattern": f"^media://{MEDIA_KEY_PATTERN}$",
            "examples": ["media://voice.wav"],
        },
    )


class MediaAddress(Body):
    """Address to PUT the file to, or GET it from."""

    url = fields.String(
        required=True,
        metadata={
            "description": "Good for an hour, without further authorization.",
            "examples": ["https://storage.example.com/voice.wav?signature=0123abcd"],
        },
    )


class MediaQuery(Query):
    """Query for a page of uploads."""

    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))
    cursor = fields.String(
        load_default="",
        validate=[validate.Length(max=1000), validate.Regexp(r"[a-zA-Z0-9\-_./=]*\Z")],
        metadata={"description": NEXT_CURSOR},
    )


class StoredMedia(Body):
    """Upload that is stored."""

    url = fields.String(required=True)
    bytes = fields.Integer(required=True, attribute="size_bytes")
    storedAt = Timestamp(required=True, attribute="stored_at")


class MediaList(Body):
    """Some of a client's uploads."""

    items = fields.List(fields.Nested(StoredMedia), required=True, attribute="uploads")
    nextCursor = fields.String(required=True, allow_none=True, attribute="cursor")


class MediaReceipt(Body):
    """Receipt for a removed upload."""

    url = fields.String(required=True)
    sha256 = fields.String(required=True)
