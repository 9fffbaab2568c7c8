"""Probes: the connection test of clients, liveness and readiness for operators."""

from typing import Any

from flask_smorest import Blueprint

from api.auth import guarded
from api.errors import RETRY_AFTER
from api.readiness import DISK
from api.schemas.service import ConnectionTest, Liveness, Readiness
from api.services import services
from shared import __version__

blueprint = guarded("test", "Try address and key.")
probes = Blueprint("health", __name__, description="Probes for whoever operates the service.")


@blueprint.route("/test")
@blueprint.response(200, ConnectionTest)
def test_connection() -> dict[str, str]:
    """Check that address and API key are right."""
    return {"status": "OK", "message": "Test connection successful"}


@probes.route("/healthz")
@probes.response(200, Liveness)
def healthz() -> dict[str, str]:
    """Say that the process is alive, and its version."""
    return {"status": "ok", "version": __version__}


@probes.route("/readyz")
@probes.response(200, Readiness)
@probes.alt_response(
    503,
    schema=Readiness,
    headers={"Retry-After": {"$ref": "#/components/headers/Retry-After"}},
    example={
        "status": "unavailable",
        "redis": True,
        "database": True,
        "media": True,
        "disk": False,
        "jobsWaiting": 3,
        "jobsRunning": 2,
        "oldestJobSeconds": 4.2,
        "workers": 1,
        "couriers": 1,
        "problems": [{"part": "disk", "message": DISK}],
    },
)
def readyz() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Say whether requests can be served, by name what is wrong, and how much is waiting.

    The answer is 503 where Redis, the database, the store of uploads or the disk would fail requests. It is 200 with
    the status `degraded` where only a worker or a courier is missing: jobs are accepted and kept.
    """
    report = services().readiness.report()
    return (report, 503, RETRY_AFTER) if report["status"] == "unavailable" else (report, 200, {})
