"""Jobs, whatever they do."""

from typing import Any

from flask import g

from api.auth import guarded
from api.description import raises, shows
from api.schemas import CursorQuery, DeliveryLog, JobPage, JobState, OffsetQuery, ReceiptBody
from api.services import services
from shared.domain.errors import DeliveryPending, JobEnded, NoWebhook, ResultGone
from shared.domain.jobs import PageQuery
from shared.usecases import cancel, delete, find
from shared.wire.native import deliveries_body, job_body, list_body, receipt_body

blueprint = guarded("jobs", "Follow jobs, and end them.")
cursor_blueprint = guarded("job-list", "List jobs.", version=2)


@blueprint.route("/jobs")
@blueprint.arguments(OffsetQuery, location="query")
@blueprint.response(200, JobPage)
def list_jobs(query: dict[str, Any]) -> dict[str, Any]:
    """List jobs, newest first, by numbers: skip some, take some."""
    which = PageQuery(take=query["take"], skip=query["skip"])
    return {"items": list_body(services().jobs.page(g.client.id, query.get("status"), which).jobs)}


@cursor_blueprint.route("/jobs")
@cursor_blueprint.arguments(CursorQuery, location="query")
@cursor_blueprint.response(200, JobPage)
def list_jobs_by_cursor(query: dict[str, Any]) -> dict[str, Any]:
    """List jobs, newest first, page by page: `nextCursor` leads from one to the next."""
    which = PageQuery(take=query["limit"], cursor=query.get("cursor"))
    page = services().jobs.page(g.client.id, query.get("status"), which)
    return {"items": list_body(page.jobs), "nextCursor": page.cursor}


@blueprint.route("/jobs/<job:job_id>")
@blueprint.response(200, JobState)
def get_job(job_id: str) -> dict[str, Any]:
    """Get a job: its status, its step while it runs, its output once it has ended."""
    return job_body(find(services().jobs, g.client.id, job_id))


@blueprint.route("/jobs/<job:job_id>", methods=["DELETE"])
@blueprint.response(200, ReceiptBody)
def delete_job(job_id: str) -> dict[str, Any]:
    """Remove a job with its result, its webhook and the upload it was made from; the answer is a receipt."""
    return receipt_body(delete(services().jobs, services().media, g.client.id, job_id))


@blueprint.route("/jobs/<job:job_id>/cancel", methods=["POST"])
@blueprint.response(200, JobState)
@raises(JobEnded)
@shows("canceled")
def cancel_job(job_id: str) -> dict[str, Any]:
    """Cancel a job that has not ended; its worker stops, and its webhook says `canceled`."""
    return job_body(cancel(services().jobs, g.client.id, job_id))


@blueprint.route("/jobs/<job:job_id>/deliveries")
@blueprint.response(200, DeliveryLog)
@raises(NoWebhook)
def get_deliveries(job_id: str) -> dict[str, Any]:
    """Get every try to deliver a job's webhook; kept for seven days, also after the result is gone."""
    return deliveries_body(job_id, *services().deliveries.log(g.client.id, job_id))


@blueprint.route("/jobs/<job:job_id>/redeliver", methods=["POST"])
@blueprint.response(202, DeliveryLog)
@raises(NoWebhook, ResultGone, DeliveryPending)
def redeliver(job_id: str) -> dict[str, Any]:
    """Deliver a job's webhook once more, the same bytes under the same `webhook-id`."""
    services().deliveries.redeliver(g.client.id, job_id)
    return deliveries_body(job_id, *services().deliveries.log(g.client.id, job_id))
