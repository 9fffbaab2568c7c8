"""Usage and audit log."""

from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from api.schemas.base import ID, Moment, PageQuery, RecordList
from shared.dialects.fields import Body, Choice, Rounded, Timestamp
from shared.domain.identities import Action, RecordKind

#: Forms of the audit log: pages, and all of it with one entry a line.
JSON = "json"
NDJSON = "ndjson"

#: Query with a span of time, whose names are no names in Python.
_SpanQuery = PageQuery.from_dict(
    {
        "from": Moment("Earliest time, inclusive.", load_default=None),
        "to": Moment("Latest time, inclusive.", load_default=None),
    },
    name="SpanQuery",
)


class UsageQuery(_SpanQuery):  # type: ignore[valid-type, misc]
    """Query for usage or audit log."""

    kind = fields.Enum(
        RecordKind,
        by_value=True,
        load_default=None,
        metadata={"type": "string", "description": "Only records of this kind."},
    )

    @validates_schema
    def check_span(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a span that ends before it begins."""
        if data["from"] and data["to"] and data["from"] > data["to"]:
            raise ValidationError("Must not be later than `to`.", "from")


class AuditQuery(UsageQuery):
    """Query for the audit log."""

    format = fields.String(
        load_default=JSON,
        validate=validate.OneOf([JSON, NDJSON]),
        metadata={
            "description": "`ndjson` gives all entries, one JSON object a line; so does `Accept: application/x-ndjson`."
        },
    )


class UsageRecord(Body):
    """Use that was counted; it outlives the record that it counts."""

    usageId = fields.String(required=True, attribute="id", metadata=ID)
    kind = Choice(RecordKind, required=True, examples=[RecordKind.VERIFICATION])
    model = fields.String(required=True, attribute="model_id")
    spaceId = fields.String(
        required=True,
        allow_none=True,
        attribute="space_id",
        metadata={**ID, "description": "Null for what no space holds: the voices of single calls."},
    )
    subjectId = fields.String(
        required=True, attribute="subject_id", metadata={**ID, "description": "Record, which may be deleted since."}
    )
    seconds = Rounded(3, required=True, metadata={"description": "Length of the sound."})
    at = Timestamp(required=True)


class UsageList(RecordList):
    """Some usage records, newest first."""

    items = fields.List(fields.Nested(UsageRecord), required=True)


class AuditEntry(Body):
    """Entry of the audit log: who did what to which record, and when; no voices and no names."""

    entryId = fields.String(required=True, attribute="id", metadata=ID)
    at = Timestamp(required=True)
    action = Choice(Action, required=True, examples=[Action.CREATE])
    kind = Choice(RecordKind, required=True, examples=[RecordKind.IDENTITY])
    recordId = fields.String(required=True, attribute="record_id", metadata=ID)
    keyId = fields.String(
        required=True,
        attribute="key_id",
        metadata={"description": "Id of the API key; empty for what the service does by itself."},
    )
    requestId = fields.String(required=True, attribute="request_id")


class AuditList(RecordList):
    """Some entries of the audit log, newest first."""

    items = fields.List(fields.Nested(AuditEntry), required=True)
