"""Usage and audit log of a client."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Response, g, request, stream_with_context

from api.auth import guarded
from api.schemas.ledger import NDJSON, AuditEntry, AuditList, AuditQuery, UsageList, UsageQuery
from api.services import services
from shared.domain import identities
from shared.domain.identities import RecordPage, RecordQuery
from shared.ports import SpaceStore

_NDJSON_TYPE = "application/x-ndjson"
_LINE = '{"entryId": "8b0e0c4e-54b4-4f5b-9d5f-0123456789ab", "action": "create", "kind": "identity"}\n'
_LINES = {_NDJSON_TYPE: {"schema": {"type": "string"}, "example": _LINE}}
#: Entries that one query of an export reads.
_CHUNK = 1000

blueprint = guarded("ledger", "See what was used, and who did what.")


@blueprint.route("/usage")
@blueprint.arguments(UsageQuery, location="query")
@blueprint.response(200, UsageList)
def list_usage(query: dict[str, Any]) -> RecordPage[identities.UsageRecord]:
    """List what was used, newest first, page by page: samples, enrolments, verifications and searches."""
    return services().verifications.store.list_usage(g.client.id, _which(query))


@blueprint.route("/audit")
@blueprint.arguments(AuditQuery, location="query")
@blueprint.response(200, AuditList)
@blueprint.doc(responses={200: {"content": _LINES}})
def list_audit(query: dict[str, Any]) -> Any:
    """List who did what to which record, newest first, page by page.

    `format=ndjson` exports all of it in one answer, one entry a line.
    """
    which = _which(query)
    if query["format"] == NDJSON or _wants_lines():
        lines = _lines(services().identities.store, g.client.id, which)
        return Response(stream_with_context(lines), mimetype=_NDJSON_TYPE)
    return services().identities.store.list_audit(g.client.id, which)


def _which(query: dict[str, Any], take: int | None = None) -> RecordQuery:
    return RecordQuery(
        take=query["limit"], cursor=query["cursor"], after=query["from"], before=query["to"], kind=query["kind"]
    )


def _wants_lines() -> bool:
    return request.accept_mimetypes.best_match(["application/json", _NDJSON_TYPE]) == _NDJSON_TYPE


def _lines(store: SpaceStore, client_id: str, which: RecordQuery) -> Iterator[str]:
    """Yield the entries of an audit log, one JSON object a line."""
    schema = AuditEntry()
    page: RecordPage[identities.AuditEntry] | None = None
    while page is None or page.cursor is not None:
        cursor = page.cursor if page else which.cursor
        page = store.list_audit(
            client_id,
            RecordQuery(take=_CHUNK, cursor=cursor, after=which.after, before=which.before, kind=which.kind),
        )
        yield "".join(json.dumps(schema.dump(entry)) + "\n" for entry in page.items)
