"""What the API says of itself: OpenAPI 3.1, made from the routes, the schemas and the errors."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from apispec import APISpec, BasePlugin
from flask import Flask
from flask_smorest import Blueprint
from werkzeug.routing import Rule

from api.auth import authenticate
from api.errors import (
    STATUS,
    InvalidRequest,
    LengthRequired,
    RateLimited,
    RequestTooLarge,
    Unauthorized,
    UnsupportedMediaType,
)
from shared.dialects.fields import RenderedOutput
from shared.dialects.pyannoteai import PyannoteAi
from shared.dialects.pyannoteai.outputs import WebhookBody
from shared.domain.delivery import MAX_RETRY_AFTER_S, Reason
from shared.domain.errors import (
    InternalError,
    NotFound,
    RequestError,
    TimbreError,
    TooManyJobs,
    Unavailable,
    concrete_errors,
)

Json = dict[str, Any]

_DELAYS_S = PyannoteAi.delays_s
_STRING = {"type": "string"}
_NUMBER = {"type": "integer", "minimum": 0}
#: Headers of answers.
_HEADERS: dict[str, Json] = {
    "X-Request-Id": {
        "description": "Names the request, also in the service's log; an error's `requestId`.",
        "schema": {"type": "string", "format": "uuid"},
        "required": True,
    },
    "X-RateLimit-Limit": {
        "description": "Requests that this client may send to this address in a minute.",
        "schema": _NUMBER,
    },
    "X-RateLimit-Remaining": {"description": "How many of them are left.", "schema": _NUMBER},
    "X-RateLimit-Reset": {"description": "Seconds until the minute is over.", "schema": _NUMBER},
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": _NUMBER, "required": True},
    "WWW-Authenticate": {"description": "`Bearer`.", "schema": _STRING, "required": True},
}
_COUNTED = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_HEADERS_OF: dict[type[TimbreError], tuple[str, ...]] = {
    Unauthorized: ("WWW-Authenticate",),
    LengthRequired: (),
    InternalError: (),
    Unavailable: ("Retry-After",),
    RateLimited: ("Retry-After", *_COUNTED),
    TooManyJobs: ("Retry-After", *_COUNTED),
}


def raises(*errors: type[TimbreError]) -> Callable[[Any], Any]:
    """Decorate a view with the errors that come from its own work; the others follow from what the operation is."""
    return Blueprint.doc(errors=errors)


class Operations(BasePlugin):
    """Completes what decorators say of a view: who needs a key, which errors come with which status, which headers."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def init_spec(self, spec: APISpec) -> None:
        """Begin a description with what all operations refer to."""
        self._components = spec.components
        for name, header in _HEADERS.items():
            spec.components.header(name, header)

    def schema_helper(self, name: str, definition: Json, **kwargs: Any) -> Json:
        """Return a schema's docstring as its description."""
        return {"description": inspect.getdoc(kwargs["schema"])}

    def operation_helper(self, path: str | None = None, operations: Json | None = None, **kwargs: Any) -> None:
        """Complete the operations of one rule."""
        rule: Rule = kwargs["rule"]
        guarded = authenticate in self._app.before_request_funcs.get(rule.endpoint.rpartition(".")[0], ())
        for method, operation in (operations or {}).items():
            operation["operationId"] = rule.endpoint.rpartition(".")[2]
            errors = {*_inherent_errors(rule, method, operation, guarded), *operation.pop("errors", ())}
            answers = {int(status): answer for status, answer in operation["responses"].items() if type(answer) is dict}
            for answer in answers.values():
                answer["headers"] = _header_refs(_COUNTED if guarded else ()) | answer.get("headers", {})
            operation["responses"] = dict(sorted((answers | dict(self._refusals(errors))).items()))
            if not guarded:
                operation["security"] = []

    def _refusals(self, errors: Iterable[type[TimbreError]]) -> Iterator[tuple[int, str]]:
        """Yield status and component of each status that `errors` have."""
        for status, of_status in groupby(sorted(errors, key=_status_and_code), key=_status):
            group = list(of_status)
            name = "Or".join(error.__name__ for error in group)
            if name not in self._components.responses:
                self._components.response(name, _refusal(group))
            yield status, name


def _inherent_errors(rule: Rule, method: str, operation: Json, guarded: bool) -> Iterator[type[TimbreError]]:
    """Yield the errors that follow from what an operation is, whatever its view does."""
    # Of the first two, anything that is hardly HTTP.
    yield from (InvalidRequest, RequestTooLarge, InternalError)
    if guarded:
        yield from (Unauthorized, RateLimited)
    if guarded or rule.arguments:
        yield Unavailable
    if rule.arguments:
        yield NotFound
    if method == "post":
        yield LengthRequired
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        yield UnsupportedMediaType


def _status(error: type[TimbreError]) -> int:
    return STATUS[error] if issubclass(error, RequestError) else 500


def _status_and_code(error: type[TimbreError]) -> tuple[int, str]:
    return _status(error), error.code


def _refusal(errors: list[type[TimbreError]]) -> Json:
    """Return the response that carries any of `errors`, which share a status."""
    headers = dict.fromkeys(header for error in errors for header in _HEADERS_OF.get(error, _COUNTED))
    codes = {"properties": {"code": {"enum": [error.code for error in errors]}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, codes]}
    return {
        "description": "\n\n".join(f"`{error.code}`: {meaning(error)}" for error in errors),
        "headers": _header_refs(headers),
        "content": {"application/json": {"schema": schema}},
    }


def meaning(error: type[TimbreError]) -> str:
    """Return the sentence that says what an error means."""
    return (error.__doc__ or "").partition("\n")[0]


def _header_refs(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


def one_of(self: Any, field: Any, **_: Any) -> Json:
    """Return what describes a `RenderedOutput`; an attribute function of apispec's converter, as the next is."""
    if not isinstance(field, RenderedOutput):
        return {}
    return {"oneOf": [self.resolve_nested_schema(schema) for schema in field.schemas]}


def ecma_pattern(_self: Any, _field: Any, *, ret: Json, **_: Any) -> Json:
    r"""Return a pattern as JSON Schema has it: `re.match` needs no ^, and ECMAScript knows no \Z."""
    return {"pattern": "^" + re.sub(r"\\Z$", "$", ret["pattern"].removeprefix("^"))} if "pattern" in ret else {}


def list_codes(spec: APISpec) -> None:
    """Complete the description of `Error` with every code that an answer may carry."""
    codes = {InternalError.code} | {error.code for error in concrete_errors(RequestError)}
    spec.components.schemas["Error"]["properties"]["code"]["enum"] = sorted(codes)


def webhooks(spec: APISpec) -> Json:
    """Return the description of what the service sends of its own accord."""
    spec.components.schema("WebhookBody", schema=WebhookBody)
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/WebhookBody"}}}}
    post = {
        "operationId": "jobEnded",
        "summary": "A job has ended.",
        "description": _WEBHOOK,
        "tags": ["webhooks"],
        "security": [],
        "parameters": [{"in": "header", "name": name, **header} for name, header in _WEBHOOK_HEADERS.items()],
        "requestBody": {"required": True, **body},
        "responses": {
            "2XX": {"description": "Delivered. The answer must come within 10 s; its body is not read, but logged."},
            "410": {"description": "Never send this one again."},
            "default": {"description": "Not delivered: it is tried again, while tries are left.", "headers": _PATIENCE},
        },
    }
    return {"jobEnded": {"post": post}}


_WEBHOOK = f"""\
Sent to the `webhook` of the request that made the job. A delivery has {len(_DELAYS_S)} tries: the first as soon as the
job has ended, then {", ".join(f"{delay:g} s" for delay in _DELAYS_S[1:])} after the one before, the last two by a tenth
more or less. All of them carry the same bytes under the same `webhook-id`; the same event may arrive twice, and order
is not promised. At most two redirects are followed, 307 and 308 only.

Two signatures cover the same bytes; verify one of them. `webhook-signature` is that of Standard Webhooks.
`X-Signature` is HMAC-SHA256 of `v0:{{X-Request-Timestamp}}:{{body}}`, keyed with the secret as it is written."""

_WEBHOOK_HEADERS: dict[str, Json] = {
    "webhook-id": {
        "description": "Names the event: the same on every try.",
        "required": True,
        "schema": {"type": "string", "pattern": "^msg_"},
    },
    "webhook-timestamp": {
        "description": "When this try was sent, in seconds since 1970.",
        "required": True,
        "schema": _NUMBER,
    },
    "webhook-signature": {
        "description": "`v1,` and a signature in base64; several, with blanks between, while a rotation lasts.",
        "required": True,
        "schema": {"type": "string", "pattern": "^v1,"},
    },
    "X-Request-Timestamp": {"description": "The same as `webhook-timestamp`.", "required": True, "schema": _NUMBER},
    "X-Signature": {
        "description": "In hex, or base64 where the service is set so; by the older secret while a rotation lasts.",
        "required": True,
        "schema": _STRING,
    },
    "x-retry-num": {
        "description": "Which retry this is; not there on the first try.",
        "schema": {"type": "integer", "minimum": 1, "maximum": len(_DELAYS_S) - 1},
    },
    "x-retry-reason": {
        "description": "Why the try before failed; not there on the first try.",
        "schema": {"type": "string", "enum": [r for r in Reason if r is not Reason.REVOKED]},
    },
}
_PATIENCE = {
    "Retry-After": {
        "description": f"Puts the next try off, to {MAX_RETRY_AFTER_S:g} s at most; seconds or a date.",
        "schema": _STRING,
    }
}
