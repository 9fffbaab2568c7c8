"""Jobs, of whatever kind: follow them, end them, list them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Response, g

from api.auth import guarded
from api.description import raises, shows
from api.errors import InvalidRequest
from api.schemas.base import Query
from api.schemas.jobs import (
    MAX_WAIT_S,
    CursorQuery,
    DeleteQuery,
    DeletionReceipt,
    DeliveryLog,
    JobHeaders,
    JobPage,
    JobQuery,
    JobState,
    OffsetQuery,
    TurnList,
    TurnsQuery,
    TurnsRequest,
)
from api.services import services
from api.turn_files import FILES
from shared.domain import delivery
from shared.domain.errors import DeliveryPending, JobEnded, JobNotEnded, NoTurns, NoWebhook, ResultGone
from shared.domain.jobs import Job, PageQuery, Receipt

#: The preference `wait` of the Prefer header (RFC 7240, 4.3).
_PREFERRED_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?:;|,|$)", re.IGNORECASE)

#: Header of an export, and its media types beside JSON.
_FILE_NAME = {"Content-Disposition": {"description": "Name of the file.", "schema": {"type": "string"}}}
_FILES = {one.media_type: {"schema": {"type": "string"}, "example": one.example} for one in FILES.values()}
#: Characters of a wrong label that a message repeats.
_SHOWN_LENGTH = 50

blueprint = guarded("jobs", "Follow jobs, and end them.")
cursor_blueprint = guarded("job-list", "List jobs.", version=2)


@blueprint.route("/jobs")
@blueprint.arguments(OffsetQuery, location="query")
@blueprint.response(200, JobPage)
def list_jobs(query: dict[str, Any]) -> dict[str, Any]:
    """List jobs, newest first, by offset: skip some, take some.

    A request looks at the newest 10,000 jobs at most. Where that ends it before the page is full, and more jobs follow,
    the answer has a `nextCursor`. It leads on from there as the `cursor` of `GET /v2/jobs`.
    """
    which = PageQuery(take=query["take"], skip=query["skip"])
    page = services().jobs.page(g.client.id, query.get("status"), which)
    cut_short = page.cursor is not None and len(page.jobs) < query["take"]
    return {"jobs": page.jobs} | ({"cursor": page.cursor} if cut_short else {})


@cursor_blueprint.route("/jobs")
@cursor_blueprint.arguments(CursorQuery, location="query")
@cursor_blueprint.response(200, JobPage)
def list_jobs_by_cursor(query: dict[str, Any]) -> Any:
    """List jobs, newest first, page by page: `nextCursor` leads from one to the next."""
    which = PageQuery(take=query["limit"], cursor=query.get("cursor"))
    return services().jobs.page(g.client.id, query.get("status"), which)


@blueprint.route("/jobs/<job:job_id>")
@blueprint.arguments(JobQuery, location="query")
@blueprint.arguments(JobHeaders, location="headers")
@blueprint.response(200, JobState)
def get_job(query: dict[str, Any], headers: dict[str, str], job_id: str) -> Job:
    """Get a job: its status, its step while it runs, its output once it has ended.

    With `wait`, the answer comes as soon as the job ends. After so many seconds it comes with the job as it stands.
    """
    seconds = query["wait"] if query["wait"] is not None else _preferred_wait(headers["Prefer"])
    return services().waits.job(g.client.id, job_id, seconds)


@blueprint.route("/jobs/<job:job_id>/turns")
@blueprint.arguments(TurnsQuery, location="query")
@blueprint.response(200, TurnList, headers=_FILE_NAME)
@blueprint.doc(responses={200: {"content": _FILES}})
@raises(JobNotEnded, NoTurns)
def get_turns(query: dict[str, Any], job_id: str) -> Any:
    """Export who speaks when, by name, of a job that told speakers apart.

    Subtitles and CSV hold the words where the job was asked for `transcription`. An address has room for
    some 4,000 characters; `POST` takes more names.
    """
    return _exported(job_id, query["format"], query["name"], "name")


@blueprint.route("/jobs/<job:job_id>/turns", methods=["POST"])
@blueprint.arguments(Query, location="query")
@blueprint.arguments(TurnsRequest)
@blueprint.response(200, TurnList, headers=_FILE_NAME)
@blueprint.doc(responses={200: {"content": _FILES}})
@raises(JobNotEnded, NoTurns)
def name_turns(_query: dict[str, Any], body: dict[str, Any], job_id: str) -> Any:
    """Export who speaks when, as `GET` does, with names in the body.

    So names of many speakers have room, and no log of a proxy keeps them. Nothing is stored of them.
    """
    return _exported(job_id, body["format"], body["names"], "names")


def _exported(job_id: str, form: str, names: Mapping[str, str], field: str) -> Any:
    """Return the answer that has the turns of a job, with names that came in `field`; raises InvalidRequest."""
    export = services().jobs.turns(g.client.id, job_id)
    _require_speakers(names, export.speakers, field)
    export = export.renamed(names)
    headers = {"Content-Disposition": f"attachment; filename={job_id}.{form}"}
    if form == "json":
        return {"job_id": job_id, "export": export}, headers
    file = FILES[form]
    return Response(file.render(export, job_id), content_type=f"{file.media_type}; charset=utf-8", headers=headers)


def _require_speakers(labels: Iterable[str], speakers: Sequence[str], field: str) -> None:
    """Refuse a name for a speaker whom the job did not find; raises InvalidRequest."""
    unknown = [label for label in labels if label not in speakers]
    if unknown:
        there = f"those of this job are {', '.join(speakers)}." if speakers else "nobody speaks in the recording."
        raise InvalidRequest((field, f"There is no speaker {unknown[0][:_SHOWN_LENGTH]!r}; {there}"))


@blueprint.route("/jobs/<job:job_id>", methods=["DELETE"])
@blueprint.arguments(DeleteQuery, location="query")
@blueprint.response(200, DeletionReceipt)
def delete_job(query: dict[str, Any], job_id: str) -> Receipt:
    """Remove a job with its result, its webhook and the upload it was made from; the answer is a receipt.

    An upload from which another unfinished job is made stays, and so it does with `keepMedia`.
    """
    return services().jobs.delete(g.client.id, job_id, keep_media=query["keepMedia"])


@blueprint.route("/jobs/<job:job_id>/cancel", methods=["POST"])
@blueprint.response(200, JobState)
@raises(JobEnded)
@shows("canceled")
def cancel_job(job_id: str) -> Job:
    """Cancel a job that has not ended; its worker stops, and its webhook says `canceled`."""
    return services().jobs.cancel(g.client.id, job_id)


@blueprint.route("/jobs/<job:job_id>/deliveries")
@blueprint.response(200, DeliveryLog)
@raises(NoWebhook)
def get_deliveries(job_id: str) -> delivery.DeliveryLog:
    """Get every try to deliver a job's webhook; kept for seven days, also after the result is gone."""
    return services().jobs.deliveries_of(g.client.id, job_id)


@blueprint.route("/jobs/<job:job_id>/redeliver", methods=["POST"])
@blueprint.response(202, DeliveryLog)
@raises(NoWebhook, ResultGone, DeliveryPending)
def redeliver(job_id: str) -> delivery.DeliveryLog:
    """Deliver a job's webhook once more, the same bytes under the same `webhook-id`."""
    return services().jobs.redeliver(g.client.id, job_id)


def _preferred_wait(prefer: str) -> int:
    found = _PREFERRED_WAIT.search(prefer)
    return min(int(found[1]), MAX_WAIT_S) if found else 0
