"""Counts of what the API and the stream answer, with labels from short lists, never from what a client sends."""

from api.errors import STATUS, RateLimited
from shared.domain.errors import InternalError
from shared.telemetry import metrics

#: Methods that HTTP knows; metrics and spans say of others only that there was one.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"
_CODES = {status: error.code for error, status in reversed(STATUS.items())}


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Count a request that was answered.

    Parameters
    ----------
    route : the rule that its path matches; None where it matches none.
    """
    labels = {"method": method if method in METHODS else _OTHER, "route": route or metrics.NONE}
    metrics.count(metrics.REQUESTS, status=str(status), **labels)
    metrics.observe(metrics.REQUEST_SECONDS, seconds, **labels)
    if client := metrics.client_name.get():
        metrics.count(metrics.CLIENT_REQUESTS, client=client, status=str(status))


def count_unread(status: int) -> None:
    """Count a request that was answered before it could be read."""
    metrics.count(metrics.REQUESTS, method=metrics.NONE, route=metrics.NONE, status=str(status))


def count_refused(code: str, route: str | None) -> None:
    """Count an error that was told to a client."""
    metrics.count(metrics.REFUSED, code=code)
    if code == RateLimited.code:
        metrics.count(metrics.RATE_LIMITED, route=route or metrics.NONE)


def code_of(status: int) -> str:
    """Return the code of the usual error of a status."""
    return _CODES.get(status, InternalError.code)
