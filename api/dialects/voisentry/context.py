"""Context of a request for voice biometrics: its user group, the answers and the refusals."""

from collections.abc import Sequence
from typing import Any

from flask import Response, g, jsonify, request

from api.auth import know
from api.counts import code_of
from api.dialects.voisentry.calls import Call, Outcome, drop_uploads, perform
from api.dialects.voisentry.receiving import Given, store_files
from api.errors import asked_at
from api.services import services
from shared.dialects import voisentry
from shared.dialects.voisentry import NO_VALID_SOURCES, Refused, SocketCode
from shared.domain.identities import Space, now
from shared.domain.sources import Source

_UNKNOWN_KEY = "Unauthorized: send a user group key that works, as the password of your account's user name."


def admit(key: str) -> None:
    """Set `g.client` and `g.space` to those of a user group key; raises Refused."""
    client = services().clients.authenticate_group(key)
    space = services().identities.store.space(client.space_id) if client and client.space_id else None
    if client is None or space is None:
        raise Refused(401, _UNKNOWN_KEY, SocketCode.DISABLED)
    know(client)
    g.space = space


def group() -> Space:
    """Return the user group of the request."""
    found: Space = g.space
    return found


def perform_given(call: Call, given: Sequence[Given]) -> tuple[Outcome, list[tuple[str, bool]]]:
    """Return the outcome of a call with the recordings of a form, and whether each was accepted, by name.

    Raises
    ------
    Refused
    """
    recordings: list[Source] = []
    addresses = [one.address for one in given if one.file is None]
    try:
        store_files(call, given, recordings)
    except BaseException:
        drop_uploads(services(), call, recordings)
        raise
    recordings += [address for address in addresses if address]
    if not recordings:
        raise voisentry.bad_request(voisentry.DOWNLOAD_FAILED if len(given) == 1 else NO_VALID_SOURCES)
    outcome = perform(services(), call, recordings)
    accepted = iter(outcome.accepted)
    usable = [True] * (len(given) - len(addresses)) + [address is not None for address in addresses]
    return outcome, [(one.name, fit and next(accepted)) for one, fit in zip(given, usable, strict=True)]


def answer_refused(refused: Refused) -> Response:
    """Return the response for a refusal, in the form of its path."""
    g.refused = refused.cause or code_of(refused.status)
    response = jsonify(voisentry.refusal_at(request.path, refused, asked_at(), now()))
    response.status_code = refused.status
    if refused.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="voice_biometrics", charset="UTF-8"'
    if refused.retry_after_s is not None:
        response.headers["Retry-After"] = str(refused.retry_after_s)
    return response


def answer(*parts: Any) -> Response:
    """Return the parts of an answer, mappings, as one JSON object."""
    return jsonify({name: value for part in parts for name, value in part.items()})
