"""Session tokens: signed, good for half a day, and void once the API key that opened the session is."""

from itsdangerous import BadSignature, URLSafeTimedSerializer

from shared.adapters.sql.clients import SqlClients
from shared.dialects.spaces import slug
from shared.domain.keys import Client, key_hash

#: Lifetime of a token, in seconds.
SESSION_S = 12 * 3600


class Sessions:
    """Sessions of clients; a token carries the keyed hash of its API key, which is no key."""

    def __init__(self, clients: SqlClients, secret: bytes) -> None:
        self._clients = clients
        self._secret = secret
        self._signer = URLSafeTimedSerializer(secret, salt="spaces sessions")

    def open(self, handle: str, key: str) -> tuple[Client, str] | None:
        """Return the client of a handle and an API key, and a token; None where they do not fit."""
        client = self._clients.authenticate(key)
        if client is None or handle not in (slug(client), client.name):
            return None
        return client, self._signer.dumps(key_hash(key, self._secret))

    def client(self, bearer: str) -> Client | None:
        """Return the client of an API key or a token; None for what is neither, or has ended."""
        return self._clients.authenticate(bearer) or self._of_token(bearer)

    def _of_token(self, token: str) -> Client | None:
        try:
            return self._clients.holder(str(self._signer.loads(token, max_age=SESSION_S)))
        except BadSignature:
            return None
