"""Browser tokens: signed and short-lived, for web pages of a client's own, which should hold no API key.

Nothing is stored of them. A token ends with its time, its client, or the API key that made it.
"""

import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from flask import g
from itsdangerous import BadData, URLSafeSerializer

from api.errors import TokenNotAllowed
from shared.domain.jobs import JobSubmission
from shared.domain.keys import Client
from shared.domain.sources import MediaUrl, Source

#: Prefix by which programs and secret scanners tell a token from an API key.
PREFIX = "bt_"
MAX_TOKEN_S = 3600


class TokenKind(StrEnum):
    """Kind of job that a token may ask for; each is the name of an operation."""

    VOICEPRINT = "voiceprint"
    DIARIZE = "diarize"
    IDENTIFY = "identify"
    VERIFY = "verify"
    ENROL = "enrol"
    SEARCH = "search"


#: Operations that a token may call, with the kind that it needs. Every other one is closed, a new one too.
OPEN: dict[tuple[str, str], TokenKind | None] = {
    **{("POST", f"/v1/{kind}"): kind for kind in TokenKind},
    ("POST", "/v1/compare"): None,
    ("POST", "/v1/media/input"): None,
    ("POST", "/v1/media/output"): None,
    ("GET", "/v1/jobs/{job_id}"): None,
    ("GET", "/v1/jobs/{job_id}/turns"): None,
    ("POST", "/v1/jobs/{job_id}/turns"): None,
    ("POST", "/v1/jobs/{job_id}/cancel"): None,
    ("GET", "/v1/models"): None,
}

_CLOSED = "A browser token may not call this; send the request from your server, with an API key."
_WEBHOOK = "A browser token may not name a webhook; leave it out, and wait for the job (GET /v1/jobs/{jobId}?wait=30)."


@dataclass(frozen=True, kw_only=True)
class BrowserToken:
    """Token, as it is signed."""

    client_id: str
    #: Id of the API key that made it.
    key_id: str
    #: In seconds since 1970.
    expires_s: int
    #: Words of `TokenKind`; a newer release may have signed others.
    kinds: tuple[str, ...]
    #: Beginning of the keys of all uploads that it may name.
    folder: str

    @classmethod
    def make(cls, client: Client, life_s: int, kinds: tuple[str, ...]) -> "BrowserToken":
        """Return a token with a folder of its own, that no other has."""
        return cls(
            client_id=client.id,
            key_id=client.key_id,
            expires_s=int(time.time()) + life_s,
            kinds=kinds,
            folder=f"tokens/{secrets.token_hex(16)}/",
        )

    @classmethod
    def parse(cls, told: object) -> "BrowserToken | None":
        """Return the token of what was signed; None for other fields: one that is unknown may restrict the token."""
        match told:
            case {
                "client_id": str(client_id),
                "key_id": str(key_id),
                "expires_s": int(expires_s),
                "kinds": [*kinds],
                "folder": str(folder),
                **others,
            } if not others and all(isinstance(kind, str) for kind in kinds):
                return cls(client_id=client_id, key_id=key_id, expires_s=expires_s, kinds=tuple(kinds), folder=folder)
        return None

    @property
    def expires_at(self) -> datetime:
        """Time from which it is good for nothing."""
        return datetime.fromtimestamp(self.expires_s, UTC)

    @property
    def media_prefix(self) -> str:
        """Beginning of the `media://` names that it may use."""
        return MediaUrl(self.folder).text


class BrowserTokens:
    """Signer of tokens."""

    def __init__(self, secret: bytes) -> None:
        self._signer = URLSafeSerializer(secret, salt="browser tokens")

    def sign(self, token: BrowserToken) -> str:
        """Return the text of a token."""
        return PREFIX + str(self._signer.dumps(asdict(token)))

    def read(self, text: str) -> BrowserToken | None:
        """Return the token of a text; None where it is forged, of another release's form, or its time is over."""
        try:
            token = BrowserToken.parse(self._signer.loads(text.removeprefix(PREFIX)))
        except BadData:
            return None
        return token if token and time.time() < token.expires_s else None


def is_open(method: str, path: str) -> bool:
    """Tell whether any token may call an operation; `path` as the description has it."""
    return (method, path) in OPEN


def require_open(method: str, path: str) -> None:
    """Refuse an operation that is closed to the request's token, or of a kind that it lacks; raises TokenNotAllowed."""
    if not is_open(method, path):
        raise TokenNotAllowed(_CLOSED)
    if kind := OPEN[method, path]:
        require_kind(kind)


def token_without(kind: TokenKind) -> BrowserToken | None:
    """Return the request's token, where it lacks a kind; an API key lacks none."""
    token = of_request()
    return token if token is not None and kind not in token.kinds else None


def require_kind(kind: TokenKind) -> None:
    """Refuse what needs a kind that the request's token lacks; raises TokenNotAllowed."""
    if token := token_without(kind):
        raise TokenNotAllowed(
            f"This browser token is for {', '.join(token.kinds)}; ask POST /v1/tokens for one with {kind} in `kinds`."
        )


def require_allowed(submission: JobSubmission) -> None:
    """Refuse a job that sends the service to a place of a visitor's choice; raises TokenNotAllowed."""
    if of_request() is not None and submission.webhook is not None:
        raise TokenNotAllowed(_WEBHOOK)
    require_own_upload(submission.command.source)


def require_own_upload(source: Source | None) -> None:
    """Refuse a recording outside the folder of the request's token, if it has one; raises TokenNotAllowed."""
    token = of_request()
    if token is None or (isinstance(source, MediaUrl) and source.key.startswith(token.folder)):
        return
    raise TokenNotAllowed(
        f"A browser token may only name its own uploads; upload the recording to a name below {token.media_prefix}."
    )


def idempotency_prefix() -> str:
    """Return what keeps the idempotency keys of the request's token apart from its client's and other tokens'."""
    token = of_request()
    return token.folder if token is not None else ""


def of_request() -> BrowserToken | None:
    """Return the token that the request came with; None where it came with an API key."""
    token: BrowserToken | None = g.get("token")
    return token
