"""OpenAPI 3.1 description of the API, made from the routes, the schemas and the errors."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from apispec import APISpec, BasePlugin
from flask import Flask
from flask_smorest import Blueprint
from marshmallow import Schema
from werkzeug.routing import Rule

from api.auth import authenticate, tell
from api.browser_tokens import is_open
from api.errors import (
    STATUS,
    InvalidRequest,
    LengthRequired,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    TokenNotAllowed,
    Unauthorized,
    UnsupportedMediaType,
    body,
)
from api.examples import EXAMPLE_ID, meaning, media_examples
from shared.dialects.fields import RenderedOutput
from shared.dialects.pyannoteai import PyannoteAi
from shared.dialects.pyannoteai.outputs import WebhookBody
from shared.domain.delivery import FINAL_REASONS, MAX_RETRY_AFTER_S, Reason
from shared.domain.errors import (
    InternalError,
    MediaQuotaExceeded,
    NotFound,
    RequestError,
    TimbreError,
    TooManyJobs,
    Unavailable,
    concrete_errors,
)

Json = dict[str, Any]

_DELAYS_S = PyannoteAi.delays_s
_STRING: Json = {"type": "string"}
_NUMBER: Json = {"type": "integer", "minimum": 0}
#: Response headers.
_HEADERS: dict[str, Json] = {
    "X-Request-Id": {
        "description": "Id of the request, also in the service's log; an error's `requestId`.",
        "schema": {"type": "string", "format": "uuid"},
        "required": True,
    },
    "X-Content-Type-Options": {
        "description": "`nosniff`: no browser takes the body for another type.",
        "schema": {"const": "nosniff"},
        "required": True,
    },
    "X-RateLimit-Limit": {
        "description": "Requests that this client may send to this address in a minute.",
        "schema": _NUMBER,
    },
    "X-RateLimit-Remaining": {"description": "Requests left in this minute.", "schema": _NUMBER},
    "X-RateLimit-Reset": {"description": "Seconds until the minute is over.", "schema": _NUMBER},
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": _NUMBER, "required": True},
    "WWW-Authenticate": {"description": "`Bearer`.", "schema": _STRING, "required": True},
}
#: Whoever may call an operation: any key, and a token where it is open to tokens.
SECURITY_SCHEMES: Json = {
    "key": {"type": "http", "scheme": "bearer", "bearerFormat": "sk_...", "description": "API key, for servers."},
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "bt_...",
        "description": "Browser token of `POST /v1/tokens`, for web pages.",
    },
}
_ALWAYS = ("X-Request-Id", "X-Content-Type-Options")
_COUNTED = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_HEADERS_OF: dict[type[TimbreError], tuple[str, ...]] = {
    Unauthorized: ("WWW-Authenticate",),
    LengthRequired: (),
    RequestTimeout: (),
    InternalError: (),
    Unavailable: ("Retry-After",),
    RateLimited: ("Retry-After", *_COUNTED),
    TooManyJobs: ("Retry-After", *_COUNTED),
    MediaQuotaExceeded: ("Retry-After", *_COUNTED),
}


def raises(*errors: type[TimbreError]) -> Callable[[Any], Any]:
    """Decorate a view with the errors of its own work; `Operations` adds those that all such operations share."""
    return Blueprint.doc(errors=errors)


def gives(output: type[Schema]) -> Callable[[Any], Any]:
    """Decorate a view that makes a job with the schema of the job's `output`."""
    return Blueprint.doc(output=output.__name__)


def shows(*names: str) -> Callable[[Any], Any]:
    """Decorate a view with the names of the response examples to keep; all others are left out."""
    return Blueprint.doc(shown=names)


class Operations(BasePlugin):
    """Plugin that adds to every operation its id, errors, headers, security, links and examples."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def init_spec(self, spec: APISpec) -> None:
        """Add the response headers, which all operations refer to."""
        self._components = spec.components
        for name, header in _HEADERS.items():
            spec.components.header(name, header)

    def schema_helper(self, name: str, definition: Json, **kwargs: Any) -> Json:
        """Return a schema's docstring as its description."""
        return {"description": inspect.getdoc(kwargs["schema"])}

    def operation_helper(self, path: str | None = None, operations: Json | None = None, **kwargs: Any) -> None:
        """Complete the operations of one rule."""
        rule: Rule = kwargs["rule"]
        blueprint = rule.endpoint.rpartition(".")[0]
        guarded = authenticate in self._app.before_request_funcs.get(blueprint, ())
        counted = tell in self._app.after_request_funcs.get(blueprint, ())
        for method, operation in (operations or {}).items():
            operation["operationId"] = rule.endpoint.rpartition(".")[2]
            by_token = is_open(method.upper(), str(path))
            errors = {*_inherent_errors(rule, method, operation, guarded, counted), *operation.pop("errors", ())}
            errors |= {TokenNotAllowed} if guarded and not by_token else set()
            answers = self._successes(operation, counted)
            operation["responses"] = dict(sorted((answers | dict(self._refusals(errors))).items()))
            self._add_examples(operation.get("requestBody", {}))
            if by_token or not guarded:
                operation["security"] = [{scheme: []} for scheme in SECURITY_SCHEMES if guarded]

    def _successes(self, operation: Json, counted: bool) -> dict[int, Any]:
        """Return the responses that decorators describe, by status, with headers, examples and links."""
        answers = {int(status): answer for status, answer in operation["responses"].items() if type(answer) is dict}
        shown = operation.pop("shown", ())
        for answer in answers.values():
            answer["headers"] = _header_refs(_COUNTED if counted else ()) | answer.get("headers", {})
            self._add_examples(answer, shown)
        if output := operation.pop("output", None):
            # An answer of work that needed no job has a lower status.
            answers[max(answers)]["links"] = _job_link(output)
        return answers

    def _add_examples(self, body_of: Json, shown: Iterable[str] = ()) -> None:
        """Add examples to each media type of a request or response, unless it has one or is binary."""
        for media in body_of.get("content", {}).values():
            if "example" in media:
                media["examples"] = {"example": {"value": media.pop("example")}}
            elif media["schema"].get("format") != "binary":
                found = media_examples(media["schema"], self._components.schemas)
                media["examples"] = {name: one for name, one in found.items() if not shown or name in shown}

    def _refusals(self, errors: Iterable[type[TimbreError]]) -> Iterator[tuple[int, str]]:
        """Yield status and component of each status that `errors` have."""
        for status, of_status in groupby(sorted(errors, key=_status_and_code), key=_status):
            group = list(of_status)
            name = "Or".join(error.__name__ for error in group)
            if name not in self._components.responses:
                self._components.response(name, _refusal(group))
            yield status, name


def _inherent_errors(
    rule: Rule, method: str, operation: Json, guarded: bool, counted: bool
) -> Iterator[type[TimbreError]]:
    """Yield the errors that an operation has by its method, path and body, apart from its view."""
    # The first three answer malformed or slow HTTP.
    yield from (InvalidRequest, RequestTimeout, RequestTooLarge, InternalError)
    if guarded:
        yield Unauthorized
    if counted:
        yield RateLimited
    if guarded or rule.arguments:
        yield Unavailable
    if rule.arguments:
        yield NotFound
    if method in ("post", "patch"):
        yield LengthRequired
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        yield UnsupportedMediaType


def _status(error: type[TimbreError]) -> int:
    return STATUS[error] if issubclass(error, RequestError) else 500


def _status_and_code(error: type[TimbreError]) -> tuple[int, str]:
    return _status(error), error.code


def _refusal(errors: list[type[TimbreError]]) -> Json:
    """Return the response for `errors`, which share a status."""
    headers = dict.fromkeys(header for error in errors for header in _HEADERS_OF.get(error, _COUNTED))
    codes = {"properties": {"code": {"enum": [error.code for error in errors]}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Error"}, codes]}
    examples = {error.code: {"value": body(_instance(error), EXAMPLE_ID)} for error in errors}
    return {
        "description": "\n\n".join(f"`{error.code}`: {meaning(error)}" for error in errors),
        "headers": _header_refs(headers),
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def _instance(error: type[TimbreError]) -> TimbreError:
    if error is InvalidRequest:
        return InvalidRequest(("url", "Missing data for required field."))
    return InternalError() if error is InternalError else error(meaning(error))


def _job_link(output: str) -> Json:
    """Return the `links` from a response with a `jobId` to the operation that gives the job."""
    link = {
        "operationId": "get_job",
        "parameters": {"job_id": "$response.body#/jobId"},
        "description": f"Poll the job until it has ended. The `output` of one that succeeded is a `{output}`.",
    }
    return {"job": link}


def _header_refs(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*_ALWAYS, *names)}


def one_of(self: Any, field: Any, **_: Any) -> Json:
    """Return the JSON schema of a `RenderedOutput` field; an attribute function of apispec's converter."""
    if not isinstance(field, RenderedOutput):
        return {}
    return {"oneOf": [self.resolve_nested_schema(schema) for schema in field.schemas]}


def ecma_pattern(_self: Any, _field: Any, *, ret: Json, **_: Any) -> Json:
    r"""Return a Python pattern as ECMAScript: with ^, and $ for \Z; an attribute function of apispec's converter."""
    return {"pattern": "^" + re.sub(r"\\Z$", "$", ret["pattern"].removeprefix("^"))} if "pattern" in ret else {}


def list_codes(spec: APISpec) -> None:
    """Complete the description of `Error` with every code that an answer may carry."""
    codes = {InternalError.code} | {error.code for error in concrete_errors(RequestError)}
    spec.components.schemas["Error"]["properties"]["code"]["enum"] = sorted(codes)


def webhooks(spec: APISpec) -> Json:
    """Return the description of the webhooks that the service sends."""
    spec.components.schema("WebhookBody", schema=WebhookBody)
    schema = {"$ref": "#/components/schemas/WebhookBody"}
    media = {"schema": schema, "examples": media_examples(schema, spec.components.schemas)}
    post = {
        "operationId": "jobEnded",
        "summary": "A job has ended.",
        "description": _WEBHOOK,
        "tags": ["webhooks"],
        "security": [],
        "parameters": [{"in": "header", "name": name, **header} for name, header in _WEBHOOK_HEADERS.items()],
        "requestBody": {"required": True, "content": {"application/json": media}},
        "responses": {
            "2XX": {"description": "Delivered. The response must come within 10 s; its body is logged."},
            "410": {"description": "Refused for good: the webhook is not sent again."},
            "default": {"description": "Not delivered: retried while tries are left.", "headers": _RETRY_AFTER},
        },
    }
    return {"jobEnded": {"post": post}}


_WEBHOOK = f"""\
Sent to the `webhook` of the request that made the job. A delivery has {len(_DELAYS_S)} tries. The first is sent as soon
as the job has ended. The delays before the others are {", ".join(f"{delay:g} s" for delay in _DELAYS_S[1:])}; the last
two vary by a tenth. Every try carries the same bytes and the same `webhook-id`. The same event may
arrive twice, and events may arrive in any order. At most two redirects are followed, 307 and 308 only.

Two signatures cover the same bytes; verify one of them. `webhook-signature` is that of Standard Webhooks.
`X-Signature` is HMAC-SHA256 of `v0:{{X-Request-Timestamp}}:{{body}}`, keyed with the secret as it is written."""

_WEBHOOK_HEADERS: dict[str, Json] = {
    "webhook-id": {
        "description": "Id of the event, the same on every try.",
        "required": True,
        "schema": {"type": "string", "pattern": "^msg_"},
    },
    "webhook-timestamp": {
        "description": "Time of this try, in seconds since 1970.",
        "required": True,
        "schema": _NUMBER,
    },
    "webhook-signature": {
        "description": "`v1,` and a signature in base64. While a rotation lasts: several, with blanks between.",
        "required": True,
        "schema": {"type": "string", "pattern": "^v1,"},
    },
    "X-Request-Timestamp": {"description": "The same as `webhook-timestamp`.", "required": True, "schema": _NUMBER},
    "X-Signature": {
        "description": "In hex, or in base64 where the service is set so. In a rotation, the oldest secret signs.",
        "required": True,
        "schema": _STRING,
    },
    "x-retry-num": {
        "description": "Number of the retry; absent on the first try.",
        "schema": {"type": "integer", "minimum": 1, "maximum": len(_DELAYS_S) - 1},
    },
    "x-retry-reason": {
        "description": "Reason that the try before failed; absent on the first try.",
        "schema": {"type": "string", "enum": [r for r in Reason if r not in FINAL_REASONS]},
    },
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": f"Delays the next try, by {MAX_RETRY_AFTER_S:g} s at most; seconds or a date.",
        "schema": _STRING,
    }
}
