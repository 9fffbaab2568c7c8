"""Tickets: signed addresses of sockets, each for one call, by one key, within a minute, once."""

import re
import uuid
from typing import Any

from flask import request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from api.dialects.voisentry.calls import Call
from api.services import Services
from shared.dialects.voisentry import Operation, Refused, SocketCode, bad_request
from shared.domain.identities import VerificationMode
from shared.domain.keys import Client

#: Seconds in which the socket must be opened.
TICKET_S = 60
#: Seconds for which a ticket that was used is remembered: longer than any is good, by two clocks.
_USED_S = 3 * TICKET_S
_ANYWHERE = ("0.0.0.0", "[::]", "::", "*")

_NO_STREAM = (
    "This service takes no recordings over WebSocket: its operator sets TIMBRE_STREAM_BIND and runs the stream, or "
    "sets TIMBRE_STREAM_URL. Use PUT or POST."
)
_UNKNOWN = f"auth_token is unknown, was used, or is older than {TICKET_S} s; call GET again"
_REVOKED = "The key that the url was made with has ended, or its user group; call GET again with one that works."


def issue(services: Services, call: Call) -> str:
    """Return the address of a socket for one call.

    Raises
    ------
    Refused
        There is no stream.
    """
    base = _base(services)
    told = {
        "client": call.client.id,
        "key": call.client.key_id,
        "space": call.space.id,
        "user": call.user_id,
        "job": call.job_id,
        "sensitivity": call.sensitivity,
        "text": call.text_dependent,
        "pad": call.enable_pad,
    }
    return f"{base}/wss/{call.operation}?auth_token={_signer(services, call.operation).dumps(told)}"


def redeem(services: Services, operation: Operation, token: str) -> Call:
    """Return the call of a ticket, which is good no more.

    Raises
    ------
    Refused
        It is forged, of another operation, too old or used, or its key has ended.
    RedisError
    """
    try:
        told = _signer(services, operation).loads(token, max_age=TICKET_S)
    except BadSignature:
        raise bad_request(_UNKNOWN) from None
    if not services.redis.set(f"timbre:ticket:{told['job']}", "used", nx=True, ex=_USED_S):
        raise bad_request(_UNKNOWN)
    client = services.clients.holder_of(told["client"], told["key"])
    if client is None:
        raise Refused(403, _REVOKED, SocketCode.DISABLED)
    return _call(services, operation, client, told)


def _call(services: Services, operation: Operation, client: Client, told: dict[str, Any]) -> Call:
    space = services.identities.store.space(told["space"])
    if space is None:
        raise Refused(403, _REVOKED, SocketCode.DISABLED)
    return Call(
        client=client,
        space=space,
        operation=operation,
        user_id=told["user"],
        sensitivity=told["sensitivity"],
        text_dependent=told["text"],
        enable_pad=told["pad"],
        mode=VerificationMode.WEBSOCKET,
        job_id=told["job"],
        request_id=str(uuid.uuid4()),
    )


def _signer(services: Services, operation: Operation) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(services.settings.secret_bytes(), salt=f"voisentry tickets {operation}")


def _base(services: Services) -> str:
    """Return the address of the stream, as clients see it."""
    settings = services.settings
    if settings.stream_url is not None:
        return settings.stream_url.rstrip("/")
    if settings.stream_bind is None:
        raise Refused(503, _NO_STREAM, SocketCode.EXCEPTION)
    if settings.public_url is not None:
        return re.sub("^http", "ws", settings.public_url).rstrip("/")
    host, _, port = settings.stream_bind.rpartition(":")
    if host in _ANYWHERE:
        host = re.sub(r":\d+$", "", request.host)
    return f"ws://{host}:{port}"
