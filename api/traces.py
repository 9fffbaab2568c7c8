"""Spans of requests, named by method and route; paths and queries may be secrets, and are in none."""

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, g, request

from api.counts import METHODS
from shared.telemetry import tracing

#: Probes come every few seconds, and tell of nothing.
_UNTRACED = ("/healthz", "/readyz")

_Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def register(app: Flask) -> None:
    """Trace the requests to `app`, if the process traces."""
    if tracing.is_on():
        app.after_request(_describe)
        app.wsgi_app = _traced(app.wsgi_app)  # type: ignore[assignment, method-assign]


def _traced(inner: _Wsgi) -> _Wsgi:
    """Return a WSGI application that answers each request in a span, which continues the client's trace."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] in _UNTRACED:
            return inner(environ, start_response)
        method = environ["REQUEST_METHOD"]
        attributes = {
            "http.request.method": method if method in METHODS else "_OTHER",
            "url.scheme": environ["wsgi.url_scheme"],
        }
        name = method if method in METHODS else "HTTP"
        with tracing.span(name, "server", parent=environ.get("HTTP_TRACEPARENT", ""), attributes=attributes):
            return inner(environ, start_response)

    return answer


def _describe(response: Response) -> Response:
    status = response.status_code
    client = g.get("client")
    found = {"http.response.status_code": status, "client.id": client.id if client else None}
    if request.url_rule is None:
        tracing.note(found)
    else:
        route = request.url_rule.rule
        tracing.note(found | {"http.route": route}, name=f"{request.method} {route}")
    if status >= 500:
        tracing.note(error=str(status))
    return response
