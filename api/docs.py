"""OpenAPI document as JSON for programs, and as a page for people that loads nothing from elsewhere."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, render_template
from flask_smorest import Blueprint
from markupsafe import Markup, escape

from api import page
from api.errors import STATUS
from api.examples import example, meaning, schema_name
from api.samples import json_text, samples
from api.services import services
from shared.domain.errors import InternalError, JobFailure, RequestError, TimbreError, concrete_errors

Json = dict[str, Any]

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = (page.FOLDER / "theme.css").read_text() + (_TEMPLATES / "docs.css").read_text()
_SCRIPT = (_TEMPLATES / "docs.js").read_text()
#: Names of what is made once, in the application's extensions.
_OPENAPI = "timbre openapi"
_PAGE = "timbre docs"
_METHODS = ("get", "post", "put", "patch", "delete")


def _source(text: str) -> str:
    """Return the source expression of a Content-Security-Policy that allows one inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


#: Nothing is loaded from elsewhere, sent there or framed; the page's own style and script are allowed by their hashes.
_POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blueprint = Blueprint("docs", __name__, template_folder="templates", description="The description of this API.")


@blueprint.route("/openapi.json")
@blueprint.response(200, {"type": "object", "examples": [{"openapi": "3.1.1", "paths": {}}]})
def get_description() -> Response:
    """Get this API as OpenAPI 3.1."""
    return Response(current_app.extensions[_OPENAPI], mimetype="application/json")


@blueprint.route("/docs")
@blueprint.response(200, {"type": "string", "examples": ["<!doctype html>..."]}, content_type="text/html")
def get_docs() -> Response:
    """Read this API as a page."""
    return Response(current_app.extensions[_PAGE], headers=page.PRIVATE | {"Content-Security-Policy": _POLICY})


def prepare(app: Flask) -> None:
    """Render the page and serialise the document, once: both are the same for every request."""
    description: Json = app.extensions["flask-smorest"]["apis"][""]["ext_obj"].spec.to_dict()
    with app.app_context():
        app.extensions[_OPENAPI] = app.json.dumps(description).encode()
        app.extensions[_PAGE] = _page(description).encode()


def _page(description: Json) -> str:
    schemas = description["components"]["schemas"]
    return render_template(
        "docs.html",
        api=description,
        sections=list(_sections(description)),
        errors=_errors(),
        refusals=_refusal_examples(description),
        style=Markup(_STYLE),
        script=Markup(_SCRIPT),
        prose=lambda text: _prose(text, schemas),
        samples=lambda operation: samples(operation, _server(), schemas),
        example=lambda schema: example(schema, schemas),
        name=schema_name,
        json_text=json_text,
        page=services().settings.page,
    )


def _server() -> str:
    """Return the URL of the API, for samples; a request's Host could be anything."""
    settings = services().settings
    return settings.public_url or f"http://{settings.bind}"


def _sections(description: Json) -> Iterator[tuple[Json, list[Json]]]:
    """Yield each tag with its operations."""
    operations = [
        item[method]
        | {"path": path, "method": method}
        | {"parameters": item.get("parameters", []) + item[method].get("parameters", [])}
        for path, item in description["paths"].items()
        for method in _METHODS
        if method in item
    ]
    for tag in description["tags"]:
        yield tag, [operation for operation in operations if tag["name"] in operation["tags"]]


def _errors() -> list[tuple[str, str, str, bool]]:
    """Return place, code, meaning and `retryable` of every error that a client can meet."""
    met = (error for error in concrete_errors() if issubclass(error, RequestError | JobFailure))
    return sorted((_place(error), error.code, meaning(error), error.retryable) for error in met)


def _place(error: type[TimbreError]) -> str:
    if issubclass(error, RequestError):
        return str(STATUS[error])
    return "500, job" if error is InternalError else "job"


def _refusal_examples(description: Json) -> dict[str, Json]:
    """Return an example response for every error of a request, by its code."""
    media = (one["content"]["application/json"] for one in description["components"]["responses"].values())
    return {code: found["value"] for one in media for code, found in one["examples"].items()}


def _prose(text: str, schemas: Mapping[str, Json]) -> Markup:
    """Return text as HTML paragraphs, with `code` marked and the names of schemas linked."""

    def mark(code: re.Match[str]) -> str:
        marked = f"<code>{code[1]}</code>"
        return f'<a href="#schema-{code[1]}">{marked}</a>' if code[1] in schemas else marked

    marked = re.sub(r"`(.+?)`", mark, str(escape(text)), flags=re.DOTALL)
    return Markup("".join(f"<p>{paragraph}</p>" for paragraph in marked.split("\n\n")))
