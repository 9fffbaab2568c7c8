"""Webhook signatures: pyannoteAI's own and those of Standard Webhooks 1.0 (github.com/standard-webhooks)."""

import base64
import hashlib
import hmac
import secrets

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


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()
