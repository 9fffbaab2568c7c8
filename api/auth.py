"""Authentication and rate limits: the key or token of a request names its client, whose requests are counted."""

import re

import structlog
from flask import Response, g, request
from flask_smorest import Blueprint

from api.browser_tokens import PREFIX, require_open
from api.errors import RateLimited, RequestParser, Unauthorized
from api.rates import Standing
from api.services import services
from shared.domain.keys import Client


def authenticate() -> None:
    """Set `g.client` to the client of the request's API key or browser token.

    Raises
    ------
    Unauthorized
        The header is missing, or its key is unknown; the answer is the same.
    TokenNotAllowed
        The operation is closed to the token. It is not counted, so that no visitor uses up its limit.
    """
    text = bearer()
    if text.startswith(PREFIX):
        _admit_token(text)
    else:
        admit(services().clients.authenticate(text))


def _admit_token(text: str) -> None:
    token = services().browser_tokens.read(text)
    client = services().clients.holder_of(token.client_id, token.key_id) if token else None
    if client is None:
        raise Unauthorized("The browser token is not valid, or no longer; ask your server for a new one.")
    know(client)
    g.token = token
    method = "GET" if request.method == "HEAD" else request.method
    require_open(method, _described_path())


def bearer() -> str:
    """Return the request's key or token; empty where there is none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def admit(client: Client | None) -> None:
    """Set `g.client`; raises Unauthorized for None."""
    if client is None:
        raise Unauthorized("Send a valid API key: 'Authorization: Bearer sk_...'.")
    know(client)


def know(client: Client) -> None:
    """Set `g.client`, and what logs and metrics tell of it: its name only where that is asked for."""
    g.client = client
    name = {"client": client.name} if services().settings.name_clients else {}
    structlog.contextvars.bind_contextvars(client_id=client.id, **name)
    services().name_in_metrics(client)


def limit() -> None:
    """Count the request for the client of its API key; raises RateLimited."""
    count(g.client.id)


def count(client_id: str) -> None:
    """Count the request for a client.

    Raises
    ------
    RateLimited
        The client has used up its limit for this minute.
    """
    g.passed, g.standing = services().rates.count(client_id, request.method, str(request.endpoint))
    if not g.passed:
        # Jobs or uploads are counted together, whatever their names.
        raise RateLimited(
            f"Too many requests: at most {g.standing.limit} {request.method} requests a minute to {_described_path()}. "
            f"Try again in {g.standing.reset_s} s."
        )


def _described_path() -> str:
    """Return the path of the request's operation, as the description has it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(request.url_rule))


def tell(response: Response) -> Response:
    """Add the X-RateLimit headers, and Retry-After to a refusal; times are in seconds."""
    standing: Standing | None = g.get("standing")
    if standing is not None:
        response.headers["X-RateLimit-Limit"] = str(standing.limit)
        response.headers["X-RateLimit-Remaining"] = str(standing.remaining)
        response.headers["X-RateLimit-Reset"] = str(standing.reset_s)
        if not g.passed:
            response.headers.setdefault("Retry-After", str(standing.reset_s))
    return response


def guarded(name: str, description: str, version: int = 1) -> Blueprint:
    """Return a blueprint under /v1, or another version, all of whose routes need an API key and are counted."""
    blueprint = Blueprint(name, name, url_prefix=f"/v{version}", description=description)
    blueprint.ARGUMENTS_PARSER = RequestParser()
    blueprint.before_request(authenticate)
    blueprint.before_request(limit)
    blueprint.after_request(tell)
    return blueprint
