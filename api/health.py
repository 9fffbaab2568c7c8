"""Probes: the connection test of clients, liveness and readiness for operators."""

from dataclasses import asdict
from typing import Any

from flask_smorest import Blueprint
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.auth import guarded
from api.errors import RETRY_AFTER
from api.schemas.service import ConnectionTest, Liveness, Readiness
from api.services import services
from shared import __version__
from shared.domain.jobs import Backlog

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
    example={"status": "unavailable", "redis": False, "database": True},
)
def readyz() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Say whether jobs can be accepted: 200 when Redis and the database answer, else 503; and how much is waiting."""
    backlog = _backlog()
    database = _database_answers()
    ready = backlog is not None and database
    parts = {"status": "ok" if ready else "unavailable", "redis": backlog is not None, "database": database}
    parts |= asdict(backlog) if backlog else {}
    return (parts, 200, {}) if ready else (parts, 503, RETRY_AFTER)


def _backlog() -> Backlog | None:
    try:
        return services().jobs.backlog()
    except RedisError:
        return None


def _database_answers() -> bool:
    try:
        with services().engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True
