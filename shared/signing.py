"""Webhook signatures: the vendor's own and those of Standard Webhooks, side by side over the same bytes.

The vendor's public documents contradict themselves about the encoding of `X-Signature`, so it is a setting: hex, as
their sample code compares it, or base64, as their prose says. Standard Webhooks 1.0: github.com/standard-webhooks.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"


def new_secret() -> str:
    """Return a fresh webhook secret: `whsec_` and 32 random bytes in base64, as Standard Webhooks wants it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def vendor_signature(secret: str, timestamp: int, body: bytes, encoding: str) -> str:
    """Return `X-Signature`: HMAC-SHA256 over `v0:{timestamp}:{body}`, keyed with the secret's own characters."""
    mac = _mac(secret.encode(), b"v0:%d:%b" % (timestamp, body))
    return base64.b64encode(mac).decode() if encoding == "base64" else mac.hex()


def standard_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature of `webhook-signature`: `v1,` and base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + base64.b64encode(_mac(key, b"%b.%d.%b" % (message_id.encode(), timestamp, body))).decode()


def signed_headers(
    signers: Sequence[str], message_id: str, timestamp: int, body: bytes, encoding: str
) -> dict[str, str]:
    """Return all headers of one delivery, signed with each of `signers`, the oldest first.

    `X-Signature` has room for one signature: the oldest secret's, so that a receiver is understood until the very end
    of a rotation.
    """
    return {
        "X-Request-Timestamp": str(timestamp),
        "X-Signature": vendor_signature(signers[0], timestamp, body, encoding),
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(standard_signature(s, message_id, timestamp, body) for s in signers),
    }


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
