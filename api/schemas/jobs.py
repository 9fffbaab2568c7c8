"""Jobs, lists of jobs, receipts and delivery logs."""

from typing import Any

from marshmallow import Schema, fields, post_load, validate

from api.schemas.base import ID, Cursor, Query
from shared.dialects.fields import Body, Choice, RenderedOutput, Timestamp
from shared.dialects.pyannoteai.outputs import OUTPUTS
from shared.domain.delivery import DeliveryState
from shared.domain.jobs import MOST_LOOKED_AT, JobCursor, Status

#: Longest that a request may wait for a job's end, in seconds.
MAX_WAIT_S = 60
#: Words for a status; `pending` is the vendor's.
_STATUSES = {"pending": Status.CREATED} | {status.value: status for status in Status}


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


class JobState(Body):
    """Job: its step and progress while it runs, its output once it has ended."""

    jobId = fields.String(required=True, attribute="id", metadata=ID)
    status = Choice(Status, required=True)
    createdAt = Timestamp(required=True, attribute="created_at")
    updatedAt = Timestamp(required=True, attribute="updated_at")
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
