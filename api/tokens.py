"""Tokens for web pages of a client's own, so that no API key has to live in a browser."""

from typing import Any

from flask import g

from api.auth import guarded
from api.browser_tokens import BrowserToken
from api.schemas.tokens import Token, TokenRequest
from api.services import services

#: Header of an answer that nobody on the way may keep.
_UNKEPT = {"Cache-Control": {"description": "`no-store`.", "schema": {"const": "no-store"}}}

blueprint = guarded("tokens", "Let web pages of your own call this API.")


@blueprint.route("/tokens", methods=["POST"])
@blueprint.arguments(TokenRequest)
@blueprint.response(201, Token, headers=_UNKEPT)
def create_token(body: dict[str, Any]) -> Any:
    """Make a short-lived token for a web page, which then needs no API key.

    Call it from your server, and give the token to the page. With it the page uploads recordings below `mediaPrefix`,
    starts jobs of its `kinds` on them, follows and cancels jobs, and compares voiceprints. It can do nothing else. The
    token ends with its time, or with the API key that made it.
    """
    token = BrowserToken.make(g.client, body["ttlSeconds"], tuple(dict.fromkeys(body["kinds"])))
    made = {
        "token": services().browser_tokens.sign(token),
        "expires_at": token.expires_at,
        "kinds": token.kinds,
        "media_prefix": token.media_prefix,
    }
    return made, {"Cache-Control": "no-store"}
