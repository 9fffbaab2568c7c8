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
KEY_BYTES = 32


def seal_under(key: bytes, plain: bytes, context: str) -> bytes:
    """Return `plain` encrypted under a key of 32 bytes, readable only under the same `context`."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal_under(key: bytes, sealed: bytes, context: str) -> bytes:
    """Return what was sealed under a key; raises SealBroken."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
    except InvalidTag:
        raise SealBroken from None


class Sealer:
    """Seals small things; `purpose` keeps the keys of different uses apart (HKDF, RFC 5869)."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._key = HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(secret)

    def seal(self, plain: bytes, context: str) -> bytes:
        """Return `plain` encrypted, readable only under the same `context`."""
        return seal_under(self._key, plain, context)

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed.

        Raises
        ------
        SealBroken
            It was sealed under another server secret, or for another context.
        """
        return unseal_under(self._key, sealed, context)


class Tagger:
    """Keyed hashes, which tell equal things of one context without telling what they are."""

    def __init__(self, secret: bytes, purpose: str) -> None:
        self._key = HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(secret)

    def tag(self, plain: bytes, context: str) -> bytes:
        """Return the HMAC-SHA256 of `plain`."""
        return hmac.digest(self._key, f"{context}/".encode() + plain, "sha256")


class Envelope:
    """Seals what belongs to a job: commands, results, webhooks.

    Each value has a key of its own, which stands before it, sealed under the server's. So a copy of the database is
    worth nothing without the server secret. A removed record takes the only key to its values along, from Redis's
    append-only file too, see `redis_file.py`.
    """

    def __init__(self, secret: bytes) -> None:
        self._keys = Sealer(secret, "job keys")
        self._names = Tagger(secret, "names of uploads")
        self._wrapped_bytes = len(self._keys.seal(bytes(KEY_BYTES), ""))

    def seal(self, text: str, context: str) -> str:
        """Return `text` sealed, in base64, readable only under the same `context`."""
        key = os.urandom(KEY_BYTES)
        return base64.b64encode(self._keys.seal(key, context) + seal_under(key, text.encode(), context)).decode()

    def tag(self, text: str, context: str) -> str:
        """Return the keyed hash of `text`, which tells equal ones of one `context` without telling what they are."""
        return self._names.tag(text.encode(), context).hex()

    def unseal(self, sealed: str, context: str) -> str:
        """Return what was sealed.

        Raises
        ------
        SealBroken
            It was sealed under another server secret, or for another context.
        """
        raw = base64.b64decode(sealed)
        key = self._keys.unseal(raw[: self._wrapped_bytes], context)
        return unseal_under(key, raw[self._wrapped_bytes :], context).decode()
