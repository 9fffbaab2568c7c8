"""The description of the API, for programs as JSON and for people as a page that needs nothing but itself."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Response, current_app, jsonify, render_template
from flask_smorest import Blueprint
from markupsafe import Markup, escape

from api.errors import STATUS
from api.examples import meaning
from shared.domain.errors import InternalError, JobFailure, RequestError, TimbreError, concrete_errors

Json = dict[str, Any]

_STYLE = (Path(__file__).parent / "templates" / "docs.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: Nothing is loaded, run, framed or sent; the page's own style is known by its hash.
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_METHODS = ("get", "post", "put", "delete")

blueprint = Blueprint("docs", __name__, template_folder="templates", description="This description.")


@blueprint.route("/openapi.json")
@blueprint.response(200, {"type": "object", "examples": [{"openapi": "3.1.1", "paths": {}}]})
def get_description() -> Response:
    """Get this API as OpenAPI 3.1."""
    return jsonify(_description())


@blueprint.route("/docs")
@blueprint.response(200, {"type": "string", "examples": ["<!doctype html>..."]}, content_type="text/html")
def get_docs() -> Response:
    """Read this API as a page."""
    description = _description()
    page = render_template(
        "docs.html",
        api=description,
        sections=list(_sections(description)),
        errors=_errors(),
        style=Markup(_STYLE),
        prose=_prose,
        curl=_curl,
    )
    return Response(page, headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"})


def _description() -> Json:
    description: Json = current_app.extensions["flask-smorest"]["apis"][""]["ext_obj"].spec.to_dict()
    return description


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
    """Return place, code, meaning and whether to try again of every error that a client can meet."""
    met = (error for error in concrete_errors() if issubclass(error, RequestError | JobFailure))
    return sorted((_place(error), error.code, meaning(error), error.retryable) for error in met)


def _place(error: type[TimbreError]) -> str:
    if issubclass(error, RequestError):
        return str(STATUS[error])
    return "500, job" if error is InternalError else "job"


def _prose(text: str) -> Markup:
    """Return paragraphs, with `code` marked, as HTML."""
    marked = re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text)), flags=re.DOTALL)
    return Markup("".join(f"<p>{paragraph}</p>" for paragraph in marked.split("\n\n")))


def _curl(operation: Json, schemas: Json) -> str:
    """Return a command line that tries an operation."""
    words = ["curl", f'"$SERVICE_URL{operation["path"]}"']
    if operation.get("security") != []:
        words.append('-H "Authorization: Bearer $SERVICE_KEY"')
    match operation.get("requestBody", {}).get("content", {}):
        case {"application/json": {"schema": schema}}:
            words.append(f"--json '{json.dumps(_sample(schema, schemas))}'")
        case {"application/octet-stream": _}:
            words.append("-T recording.wav")
        case _ if operation["method"] != "get":
            words.append(f"-X {operation['method'].upper()}")
    return " ".join(words)


def _sample(schema: Json, schemas: Json) -> Any:
    """Return an example of what `schema` describes: what is required, and nothing else."""
    match schema:
        case {"$ref": ref}:
            return _sample(schemas[ref.rpartition("/")[2]], schemas)
        case {"examples": [example, *_]}:
            return example
        case {"type": "array", "items": item}:
            return [_sample(item, schemas)]
        case {"type": "object"}:
            return {name: _sample(schema["properties"][name], schemas) for name in schema.get("required", [])}
    return "..."
