"""Sealing: authenticated encryption of what is stored, AES-256-GCM under keys derived from the server secret."""

import base64
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.domain.errors import SealBroken

_NONCE_BYTES = 12
_KEY_BYTES = 32


class Sealer:
    """Seals small things; `purpose` keeps the keys of different uses apart (HKDF, RFC 5869)."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._aead = AESGCM(HKDF(SHA256(), 32, salt=None, info=purpose.encode()).derive(secret))

    def seal(self, plain: bytes, context: str) -> bytes:
        """Return `plain` encrypted, readable only under the same `context`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed.

        Raises
        ------
        SealBroken
            It was sealed under another server secret, or for another context.
        """
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except InvalidTag:
            raise SealBroken from None


class Envelope:
    """Seals what belongs to a job: commands, results, webhooks.

    Each value has a key of its own, which stands before it, sealed under the server's. So a copy of the database is
    worth nothing without the server secret. A removed record takes the only key to its values along, from Redis's
    append-only file too, see `redis_file.py`.
    """

    def __init__(self, secret: bytes) -> None:
        self._keys = Sealer(secret, "job keys")
        self._name_key = HKDF(SHA256(), 32, salt=None, info=b"names of uploads").derive(secret)
        self._wrapped_bytes = len(self._keys.seal(bytes(_KEY_BYTES), ""))

    def seal(self, text: str, context: str) -> str:
        """Return `text` sealed, in base64, readable only under the same `context`."""
        key = os.urandom(_KEY_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(key).encrypt(nonce, text.encode(), context.encode())
        return base64.b64encode(self._keys.seal(key, context) + nonce + sealed).decode()

    def tag(self, text: str, context: str) -> str:
        """Return the keyed hash of `text`, which tells equal ones of one `context` without telling what they are."""
        return hmac.digest(self._name_key, f"{context}/{text}".encode(), "sha256").hex()

    def unseal(self, sealed: str, context: str) -> str:
        """Return what was sealed.

        Raises
        ------
        SealBroken
            It was sealed under another server secret, or for another context.
        """
        raw = base64.b64decode(sealed)
        key = self._keys.unseal(raw[: self._wrapped_bytes], context)
        nonce = raw[self._wrapped_bytes :][:_NONCE_BYTES]
        body = raw[self._wrapped_bytes + _NONCE_BYTES :]
        try:
            return AESGCM(key).decrypt(nonce, body, context.encode()).decode()
        except InvalidTag:
            raise SealBroken from None
