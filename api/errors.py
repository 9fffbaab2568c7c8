"""Errors as HTTP: those that only HTTP knows, one table of statuses, one envelope."""

import json
import re
import time
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import structlog
from flask import Flask, Response, g, jsonify, request
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, NoMoreData, ParseException
from marshmallow import RAISE, Schema, missing
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import HTTPException

from shared.dialects import enroll, spaces, voisentry
from shared.dialects.pyannoteai import PyannoteAi
from shared.domain.errors import (
    ConsentRequired,
    DeliveryPending,
    EnrolAgain,
    HandleTaken,
    IdempotencyMismatch,
    InternalError,
    JobEnded,
    JobNotEnded,
    JobQuotaExceeded,
    MediaQuotaExceeded,
    NotEnrolled,
    NotFound,
    NoTurns,
    NoWebhook,
    RequestError,
    ResultGone,
    SampleUnfit,
    SecretRotating,
    TimbreError,
    TooFewSamples,
    TooManyJobs,
    Unavailable,
    WrongState,
)
from shared.domain.identities import now

log = structlog.get_logger()


class InvalidRequest(RequestError):
    """The request's body or parameters are malformed; `errors` holds one (field, message) each."""

    code = "invalid_request"

    def __init__(self, *errors: tuple[str, str]) -> None:
        field, message = errors[0]
        super().__init__(f"{field}: {message}")
        self.errors = errors


class Unauthorized(RequestError):
    """No valid API key came with the request."""

    code = "unauthorized"


class TokenNotAllowed(RequestError):
    """A browser token may not do this; call it from your server, with an API key."""

    code = "token_not_allowed"


class MethodNotAllowed(RequestError):
    """The address exists but not for this method."""

    code = "method_not_allowed"


class RequestTimeout(RequestError):
    """The request did not arrive in time."""

    code = "request_timeout"
    retryable = True


class LengthRequired(RequestError):
    """A JSON body was sent without a Content-Length."""

    code = "length_required"


class RequestTooLarge(RequestError):
    """The request's body is larger than allowed."""

    code = "request_too_large"


class RangeNotSatisfiable(RequestError):
    """The range of bytes that is asked for lies outside the file."""

    code = "range_not_satisfiable"


class UnsupportedMediaType(RequestError):
    """The body is not JSON or, where a file is uploaded, not the bare file."""

    code = "unsupported_media_type"


class RateLimited(RequestError):
    """The client calls too often."""

    code = "rate_limited"
    retryable = True


STATUS: dict[type[RequestError], int] = {
    InvalidRequest: 400,
    Unauthorized: 401,
    TokenNotAllowed: 403,
    NotFound: 404,
    NoWebhook: 404,
    NoTurns: 404,
    MethodNotAllowed: 405,
    RequestTimeout: 408,
    JobEnded: 409,
    JobNotEnded: 409,
    DeliveryPending: 409,
    SecretRotating: 409,
    HandleTaken: 409,
    WrongState: 409,
    TooFewSamples: 409,
    NotEnrolled: 409,
    EnrolAgain: 409,
    ResultGone: 410,
    LengthRequired: 411,
    RequestTooLarge: 413,
    UnsupportedMediaType: 415,
    RangeNotSatisfiable: 416,
    IdempotencyMismatch: 422,
    SampleUnfit: 422,
    ConsentRequired: 422,
    RateLimited: 429,
    TooManyJobs: 429,
    JobQuotaExceeded: 429,
    MediaQuotaExceeded: 429,
    Unavailable: 503,
}
_DIALECT = PyannoteAi("hex")
#: Paths that speak the spaces API, whether there is something or not.
_OF_SPACES = re.compile(r"/v1/(spaces|user|orgs|records|auth)(/|$)|/audiointel/")
#: Paths of single calls, likewise.
_OF_ENROLL = re.compile(r"/voice/v1(/|$)")
#: Errors that the framework itself raises, by status.
_FRAMEWORK: dict[int, tuple[type[RequestError], str]] = {
    404: (NotFound, "There is nothing at this address."),
    405: (MethodNotAllowed, "This address does not answer that method."),
    413: (RequestTooLarge, "The request's body is too large."),
    415: (UnsupportedMediaType, "Send the body as JSON, with Content-Type: application/json."),
    416: (RangeNotSatisfiable, "The file ends before that range begins; ask for less, or leave Range out."),
}
#: Headers of the framework's errors that are passed on.
_PASSED_ON = ("Allow", "Content-Range")
#: What clients should do when a dependency is away.
RETRY_AFTER = {"Retry-After": "5"}
_HEADERS: dict[type[RequestError], dict[str, str]] = {
    Unauthorized: {"WWW-Authenticate": "Bearer"},
    TooManyJobs: {"Retry-After": "30"},
    JobQuotaExceeded: {"Retry-After": "3600"},
    MediaQuotaExceeded: {"Retry-After": "60"},
    Unavailable: RETRY_AFTER,
}


def register(app: Flask) -> None:
    """Answer every error of `app` in the envelope."""
    app.register_error_handler(RequestError, answer)
    app.register_error_handler(HTTPException, _answer_framework)
    app.register_error_handler(RedisError, _answer_away)
    app.register_error_handler(OperationalError, _answer_away)
    app.register_error_handler(PoolTimeoutError, _answer_away)
    app.register_error_handler(OSError, _answer_away)  # a full disk, say
    app.register_error_handler(ParseException, _answer_unreadable)
    app.register_error_handler(NoMoreData, _answer_unreadable)
    app.register_error_handler(Exception, _answer_bug)


def answer(error: RequestError) -> Response:
    """Return the response for one of our own errors."""
    g.refused = error.code
    response = _envelope(error, STATUS[type(error)])
    response.headers.update(headers(error))
    if response.status_code == 200:
        del response.headers["WWW-Authenticate"]
    return response


def headers(error: RequestError) -> dict[str, str]:
    """Return the headers that an error's answer has besides the usual ones."""
    return _HEADERS.get(type(error), {})


def _answer_framework(error: HTTPException) -> Response:
    if error.code in _FRAMEWORK:
        response = answer(_framework_error(error.code))
    else:
        response = answer(InvalidRequest(("request", error.description or error.name)))
    theirs = error.get_response().headers
    response.headers.update({name: theirs[name] for name in _PASSED_ON if name in theirs})
    return response


def _framework_error(status: int) -> RequestError:
    # A new one each time: an exception that is raised again keeps every request that raised it alive.
    kind, message = _FRAMEWORK[status]
    return kind(message)


def unreadable(error: Exception) -> RequestError:
    """Return the error for a request that is not proper HTTP, or whose body is not."""
    if isinstance(error, LimitRequestLine | LimitRequestHeaders):
        return RequestTooLarge("The request's address or its headers are too long, or there are too many headers.")
    return InvalidRequest(("request", "This is not proper HTTP; check how the request and its body are written."))


def _answer_unreadable(error: Exception) -> Response:
    return answer(unreadable(error))


def _answer_away(error: Exception) -> Response:
    return answer(away(error))


def away(error: Exception) -> Unavailable:
    """Return what clients are told of an error of Redis, the database or the disk, and log which it is."""
    log.error("a dependency is away", error=type(error).__name__)
    return Unavailable("The service cannot reach its storage right now; try again in a few seconds.")


def _answer_bug(error: Exception) -> Response:
    log.exception("unhandled error", exc_info=error)
    g.refused = InternalError.code
    return _envelope(InternalError(), 500)


def _envelope(error: TimbreError, status: int) -> Response:
    told = body_at(request.path, error, status, g.request_id, asked_at(), g.get("ref", ""))
    response = jsonify(told)
    # A single call whose body has arrived is answered, whatever the answer.
    response.status_code = 200 if g.get("arrived") and isinstance(error, RequestError) else status
    return response


def asked_at() -> datetime:
    """Return the time at which the request came."""
    return now() - timedelta(seconds=time.perf_counter() - g.started)


def body_at(
    path: str, error: TimbreError, status: int, request_id: str, asked_at: datetime, ref: str = ""
) -> dict[str, Any]:
    """Return the body of an error answer in the form of a path.

    Parameters
    ----------
    ref : reference of a single call.
    """
    if _OF_SPACES.match(path):
        return spaces.error(error, request_id)
    if _OF_ENROLL.match(path):
        return enroll.error(error.code, str(error), ref)
    if voisentry.is_spoken_at(path):
        code = voisentry.SocketCode.EXCEPTION if status >= 500 else voisentry.SocketCode.BAD_REQUEST
        return voisentry.refusal_at(path, voisentry.Refused(status, str(error), code), asked_at, now())
    return body(error, request_id)


def body(error: TimbreError, request_id: str) -> dict[str, Any]:
    """Return the body of an error answer, in Timbre's own dialect."""
    fields = error.errors if isinstance(error, InvalidRequest) else ()
    return _DIALECT.error(error, request_id, fields)


class RequestParser(FlaskParser):
    """Parser of request bodies and queries; their faults become an `InvalidRequest`, field by field."""

    DEFAULT_VALIDATION_STATUS = STATUS[InvalidRequest]
    #: An unknown parameter of a query is refused, since it does nothing; one of a body is warned of.
    DEFAULT_UNKNOWN_BY_LOCATION = FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION | {"query": RAISE}

    def _get_schema(self, argmap: Any, req: Any) -> Schema:
        return _schema(argmap) if isinstance(argmap, type) else super()._get_schema(argmap, req)

    def load_json(self, req: Any, schema: Any) -> Any:
        """Parse the body, declared as JSON (which curl's `-d` alone does not do); no body is an empty object."""
        if not req.content_length:
            return {}
        if not req.is_json:
            raise _framework_error(415)
        try:
            found = super().load_json(req, schema)
            if found is missing:
                raise ValueError("Nothing came of the body that was announced.")
            json.dumps(found, ensure_ascii=False).encode()
        # Numbers of thousands of digits, or as many brackets; half a surrogate pair, which can be stored nowhere.
        except (ValueError, RecursionError) as error:
            return self._handle_invalid_json_error(error)
        return found

    def handle_error(self, error: Any, *_args: Any, **_kwargs: Any) -> None:  # type: ignore[override]
        """Raise for a body that does not fit its schema."""
        fields = error.messages.get("json", error.messages.get("query", error.messages))
        raise InvalidRequest(*_flatten(fields)) from error

    def _handle_invalid_json_error(self, error: Any, *_args: Any, **_kwargs: Any) -> None:  # type: ignore[override]
        raise InvalidRequest(("body", "The body is not valid JSON in UTF-8.")) from error


@cache
def _schema(kind: type[Schema]) -> Schema:
    """Return the one instance of a schema: making it copies every field, which took a tenth of a POST."""
    return kind()


def _flatten(messages: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(messages, dict):
        return [
            pair
            for name, inner in messages.items()
            for pair in _flatten(inner, path if name == "_schema" else f"{path}.{name}".lstrip("."))
        ]
    if isinstance(messages, list):
        return [(path or "body", str(message)) for message in messages]
    return [(path or "body", str(messages))]
