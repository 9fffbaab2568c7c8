"""Voice biometrics users: the API of the vendor's cloud at its paths, and the form of its on-premise node."""

from flask import Flask, Request

from api.dialects.voisentry import node, users
from api.dialects.voisentry.context import answer_refused
from shared.dialects.voisentry import Refused

__all__ = ["register", "takes_audio"]

_BLUEPRINTS = (users.blueprint, node.blueprint)


def takes_audio(request: Request) -> bool:
    """Tell whether a request is for a view that counts the bytes of its body itself."""
    return request.blueprint in {one.name for one in _BLUEPRINTS}


def register(app: Flask) -> None:
    """Add the routes to the application."""
    app.register_error_handler(Refused, answer_refused)
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint)
