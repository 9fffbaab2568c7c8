"""Single-call enrolment: a voice is enrolled, or verified, by one call, and the customer keeps its vector."""

from flask import Flask, Request

from api.dialects.enroll import calls
from api.services import Services

__all__ = ["register", "takes_audio"]

#: Share of the threads for uploads that bodies of unknown clients may hold: one in so many.
_SHARE = 4


def takes_audio(request: Request) -> bool:
    """Tell whether a request is for a view that counts the bytes of its body itself."""
    return request.blueprint == calls.blueprint.name


def register(app: Flask, services: Services) -> None:
    """Add the routes to the application."""
    app.extensions["timbre.arrivals"] = calls.Arrivals(max(1, services.settings.api_uploads // _SHARE))
    app.register_blueprint(calls.blueprint)
