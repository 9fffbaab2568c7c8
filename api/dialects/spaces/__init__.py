"""The spaces API: identities, audios, voiceprints and verifications at the vendor's paths."""

from flask import Flask, Request

from api.dialects.spaces import audios, identities, owners, records, spaces, verifications, voiceprints
from api.dialects.spaces.context import blueprint, entrance
from api.dialects.spaces.sessions import Sessions
from api.services import Services

__all__ = ["PREFIXES", "register", "takes_audio"]

#: Bases of the paths, by what they add to the blueprints' names.
PREFIXES = {"": "/v1", "-us": "/audiointel/us/v1", "-eu": "/audiointel/eu/v1"}
_NAMES = {blueprint.name + suffix for suffix in PREFIXES}
_RECEIVING = {audios.create_audio.__name__, audios.upload_audio.__name__}
#: Modules whose import adds their routes.
RESOURCES = (owners, spaces, identities, audios, voiceprints, verifications, records)


def takes_audio(request: Request) -> bool:
    """Tell whether a request is for a view that counts the bytes of its body itself."""
    view = (request.endpoint or "").rpartition(".")[2]
    return request.blueprint in _NAMES and view in _RECEIVING


def register(app: Flask, services: Services) -> None:
    """Add the routes to the application, at each base."""
    app.extensions["timbre.sessions"] = Sessions(services.clients, services.settings.secret_bytes())
    for suffix, prefix in PREFIXES.items():
        for one in (entrance, blueprint):
            app.register_blueprint(one, url_prefix=prefix, name=one.name + suffix)
    # Elsewhere this path has Timbre's own list.
    for suffix in ("-us", "-eu"):
        owners.add_models(app, PREFIXES[suffix], blueprint.name + suffix)
