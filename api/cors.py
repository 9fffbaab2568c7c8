"""Cross-origin requests (CORS): browsers let the web pages of the allowed origins call the API.

Never with cookies or other credentials of the browser's own: a page sends its API key itself. Addresses that S3 serves
follow the rules of their bucket.
"""

from flask import Flask, Response, request
from werkzeug.datastructures import HeaderSet

from shared.settings import Settings

#: Request headers that a page may send, besides those that every page may.
_REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Prefer", "Range", "Traceparent")
#: Response headers that a page may read, besides those that every page may.
_RESPONSE_HEADERS = (
    "X-Request-Id",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "Retry-After",
    "Accept-Ranges",
    "Content-Range",
    "Content-Disposition",
)
#: Seconds for which a browser may remember the answer to a preflight, and so a revoked origin.
_MAX_AGE_S = 600


def register(app: Flask, settings: Settings) -> None:
    """Answer the preflights of the allowed origins, and open every answer of `app` to them.

    To be called after other functions that run before each request: a preflight's answer skips the later ones.
    """
    origins = settings.allowed_origins()
    if not origins:
        return

    def answer_preflight() -> Response | None:
        is_preflight = request.method == "OPTIONS" and request.access_control_request_method
        # An address that does not exist is answered as such.
        if not is_preflight or not origins & {"*", request.origin} or request.routing_exception:
            return None
        return _preflight(app.make_default_options_response())

    def allow_origin(response: Response) -> Response:
        allowed = "*" if "*" in origins else request.origin
        if allowed in origins:
            response.access_control_allow_origin = allowed
            response.access_control_expose_headers = HeaderSet(_RESPONSE_HEADERS)
        if allowed != "*":
            # No cache may give one origin's answer to another.
            response.vary.add("Origin")
        return response

    app.before_request(answer_preflight)
    app.after_request(allow_origin)


def _preflight(response: Response) -> Response:
    """Complete Flask's answer to OPTIONS, which knows the methods of the address."""
    response.status_code = 204
    response.access_control_allow_methods = response.allow
    response.access_control_allow_headers = HeaderSet(_REQUEST_HEADERS)
    response.access_control_max_age = _MAX_AGE_S
    return response
