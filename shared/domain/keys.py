"""API keys: 256 random bits in a recognisable form; only a keyed hash of them is stored."""

import hashlib
import hmac
import secrets
import zlib
from dataclasses import dataclass, field

#: Longest time that a key or a webhook secret stays valid beside its replacement, in seconds.
MAX_OVERLAP_S = 7 * 24 * 3600
#: Characters of a key's hash that are its id; nothing of the key itself is kept.
ID_LENGTH = 12
#: Most turns of a client in a round.
MAX_WEIGHT = 100


@dataclass(frozen=True)
class Client:
    """Caller of the API."""

    id: str
    name: str
    #: Turns that its jobs have in a round of all clients that wait.
    weight: int = 1
    #: Id of the only space that its key is good for; None for a key that is good for all.
    space_id: str | None = None
    #: Id of the API key that it called with, as lists show it.
    key_id: str = field(default="", compare=False)


_PREFIX = "sk_"
#: Prefix of keys that are good for one space alone, a user group: what takes the others takes none of them.
GROUP_PREFIX = "gk_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK_LENGTH = 6


def new_key(prefix: str = _PREFIX) -> str:
    """Return a fresh key: `sk_` or `gk_`, 43 base62 characters of randomness, 6 of CRC-32.

    The prefix lets secret scanners find leaked keys. The checksum tells a typo from a revoked key without a query to
    the database.
    """
    body = prefix + _base62(secrets.randbits(256), 43)
    return body + _check(body)


def is_well_formed(key: str, prefix: str = _PREFIX) -> bool:
    """Return whether `key` has the form and checksum of a key made by `new_key` with that prefix."""
    body = key[:-_CHECK_LENGTH]
    check = key[-_CHECK_LENGTH:]
    return body.startswith(prefix) and check == _check(body)


def key_hash(key: str, pepper: bytes) -> str:
    """Return the stored hash of a key: hex HMAC-SHA256 under the server's pepper.

    A fast keyed hash is enough, because 256 random bits cannot be searched. A slow hash would let strangers use up the
    server's processor time.
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
