"""The application, assembled."""

import time
import uuid

import structlog
from flask import Flask, Response, g, redirect, request, url_for
from flask_smorest import Api
from werkzeug.routing import BaseConverter, PathConverter

import api
from api import (
    comparisons,
    cors,
    description,
    docs,
    enrolments,
    errors,
    health,
    identities,
    jobs,
    ledger,
    media,
    models,
    page,
    recordings,
    tokens,
    traces,
    verifications,
    webhooks,
)
from api.counts import count_refused, count_request
from api.dialects import enroll, spaces, voisentry
from api.errors import LengthRequired
from api.schemas.base import REFERENCE_PATTERN
from api.services import Services
from shared import __version__
from shared.dialects.pyannoteai.outputs import Error
from shared.telemetry import metrics

#: In the order in which they are described.
BLUEPRINTS = (
    health.blueprint,
    recordings.blueprint,
    enrolments.blueprint,
    verifications.blueprint,
    comparisons.blueprint,
    identities.blueprint,
    jobs.blueprint,
    jobs.cursor_blueprint,
    media.blueprint,
    media.signed_blueprint,
    models.blueprint,
    tokens.blueprint,
    ledger.blueprint,
    webhooks.blueprint,
    health.probes,
    docs.blueprint,
)
#: Largest JSON body, in bytes.
MAX_JSON_BYTES = 64 * 1024

log = structlog.get_logger()


def create_app(services: Services) -> Flask:
    """Return the WSGI application on `services`."""
    app = Flask("timbre", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["timbre"] = services
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_JSON_BYTES,
        API_TITLE="Timbre",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.1",
        API_SPEC_OPTIONS={
            "info": {"description": api.__doc__},
            "servers": [{"url": services.settings.public_url or "/"}],
            "security": [{"key": []}],
            "components": {"securitySchemes": description.SECURITY_SCHEMES},
        },
    )
    app.before_request(_open_request)
    app.before_request(_refuse_chunked_json)
    cors.register(app, services.settings)
    app.after_request(_close_request)
    app.url_map.converters |= {"job": JobIdConverter, "key": MediaKeyConverter, "reference": ReferenceConverter}
    app.add_url_rule("/docs/", "lead to docs from /docs/", lambda: redirect(url_for("docs.get_docs")))
    page.register(app, services.settings)
    _TimbreApi(app, spec_kwargs={"extra_plugins": [description.Operations(app)]})
    docs.prepare(app)
    spaces.register(app, services)
    enroll.register(app, services)
    voisentry.register(app)
    traces.register(app)
    return app


class JobIdConverter(BaseConverter):
    """Converter of job ids in paths: UUIDs only, so that no other key can be named."""

    regex = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class ReferenceConverter(BaseConverter):
    """Converter of ids and handles of records in paths."""

    regex = REFERENCE_PATTERN.strip("^$")


class MediaKeyConverter(PathConverter):
    """Converter of an upload's key in a path, which may begin with a slash."""

    regex = ".+"
    part_isolating = False


class _TimbreApi(Api):
    ERROR_SCHEMA = Error
    DEFAULT_ERROR_RESPONSE_NAME = None

    def init_app(self, app: Flask, **kwargs: object) -> None:
        super().init_app(app, **kwargs)
        self.ma_plugin.converter.add_attribute_function(description.one_of)
        self.ma_plugin.converter.add_attribute_function(description.ecma_pattern)
        self.register_converter(JobIdConverter, lambda _: {"type": "string", "format": "uuid"})
        self.register_converter(MediaKeyConverter, lambda _: {"type": "string"})
        self.register_converter(ReferenceConverter, lambda _: {"type": "string", "pattern": REFERENCE_PATTERN})
        for blueprint in BLUEPRINTS:
            self.register_blueprint(blueprint)
        self.spec.options["webhooks"] = description.webhooks(self.spec)
        description.list_codes(self.spec)

    def _register_pagination_header(self) -> None:
        """Leave out what is for pages by header, which there are none of."""

    def _register_error_handlers(self) -> None:
        errors.register(self._app)


def _open_request() -> None:
    g.request_id = str(uuid.uuid4())
    g.started = time.perf_counter()
    metrics.client_name.set("")
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _refuse_chunked_json() -> None:
    """A chunked body has no length to judge, and would be cut at the limit without a word."""
    takes_audio = any(dialect.takes_audio(request) for dialect in (spaces, enroll, voisentry))
    if request.method in ("POST", "PATCH") and not takes_audio and "Transfer-Encoding" in request.headers:
        raise LengthRequired("Send the JSON body with a Content-Length, not chunked.")


def _close_request(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    # Whatever a client has stored, no browser may take it for something else.
    response.headers["X-Content-Type-Options"] = "nosniff"
    # The rule, not the path: an upload's path is its authorization.
    rule = request.url_rule.rule if request.url_rule else None
    seconds = time.perf_counter() - g.started
    log.info("request", method=request.method, rule=rule, status=response.status_code, ms=round(seconds * 1000, 1))
    count_request(request.method, rule, response.status_code, seconds)
    if "refused" in g:
        count_refused(g.refused, rule)
    return response
