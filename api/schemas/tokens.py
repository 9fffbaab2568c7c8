"""Browser tokens."""

from typing import Any

from marshmallow import RAISE, fields, validate

from api.browser_tokens import MAX_TOKEN_S, TokenKind
from api.schemas.base import Request
from shared.dialects.fields import Body, Choice, Timestamp

_DEFAULT_S = 900
_DEFAULT_KINDS = (TokenKind.VOICEPRINT, TokenKind.DIARIZE, TokenKind.IDENTIFY, TokenKind.VERIFY)


class TokenRequest(Request):
    """Request for a browser token; unknown fields are refused, for a misspelt one would grant more than was meant."""

    class Meta:
        unknown = RAISE

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error_messages["unknown"] = "There is no such field here; a browser token has `ttlSeconds` and `kinds`."

    ttlSeconds = fields.Integer(
        strict=True,
        load_default=_DEFAULT_S,
        validate=validate.Range(1, MAX_TOKEN_S),
        metadata={"description": "Lifetime of the token, in seconds.", "examples": [_DEFAULT_S]},
    )
    kinds = fields.List(
        Choice(TokenKind),
        load_default=_DEFAULT_KINDS,
        validate=validate.Length(1, len(TokenKind)),
        metadata={
            "description": "Kinds of jobs that the page may start. `search` also lets `identify` name anybody of a "
            "`space`. `enrol` lets it add a voice to any identity.",
            "default": list(_DEFAULT_KINDS),
            "examples": [["voiceprint", "diarize"]],
        },
    )


class Token(Body):
    """Browser token, shown this once."""

    token = fields.String(required=True, metadata={"examples": ["bt_SIGNED_TOKEN"]})
    expiresAt = Timestamp(required=True, attribute="expires_at")
    kinds = fields.List(Choice(TokenKind), required=True, metadata={"examples": [["voiceprint", "diarize"]]})
    mediaPrefix = fields.String(
        required=True,
        attribute="media_prefix",
        metadata={
            "description": "Beginning of the names of all uploads that the page may make and use.",
            "examples": ["media://tokens/0123456789abcdef0123456789abcdef/"],
        },
    )
