"""API keys: 256 random bits in a recognisable form, of which only a keyed hash is ever stored."""

import hashlib
import hmac
import secrets
import zlib

#: Longest that a key or a webhook secret goes on working beside the one that replaces it, in seconds.
MAX_OVERLAP_S = 7 * 24 * 3600

_PREFIX = "sk_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_LENGTH = 6


def new_key() -> str:
    """Return a fresh key: `sk_`, 43 base62 characters of randomness, 6 of CRC-32.

    The prefix lets secret scanners find leaked keys, the checksum lets a typo be told from a revoked key without
    asking the database.
    """
    body = _PREFIX + _base62(secrets.randbits(256), 43)
    return body + _check(body)


def is_well_formed(key: str) -> bool:
    """Say whether `key` has the form and checksum of a key that `new_key` made."""
    body, check = key[:-_CHECK_LENGTH], key[-_CHECK_LENGTH:]
    return body.startswith(_PREFIX) and check == _check(body)


def key_hash(key: str, pepper: bytes) -> str:
    """Return what is stored of a key: hex HMAC-SHA256 under the server's pepper.

    A plain keyed hash is enough, and safer than a slow one: 256 random bits cannot be searched, and a slow hash
    would let strangers burn the server's time.
    """
    return hmac.new(pepper, key.encode(), hashlib.sha256).hexdigest()


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
