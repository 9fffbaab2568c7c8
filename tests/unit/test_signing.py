import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shared.dialects.pyannoteai import PyannoteAi
from shared.dialects.signatures import new_secret, standard_signature, vendor_signature
from shared.domain.addresses import HttpUrl
from shared.domain.delivery import Delivery

BODY = b'{"jobId":"job_123","status":"succeeded"}'


def signed_headers(secrets: list[str], job_id: str, timestamp: int, body: bytes, encoding: str) -> dict[str, str]:
    delivery = Delivery(
        job_id=job_id, client_id="c", url=HttpUrl.parse("https://x"), dialect="pyannoteai", body=body, attempt=1,
        sent=1, reason="",
    )  # fmt: skip
    return PyannoteAi(encoding).webhook_headers(delivery, secrets, timestamp)


def now() -> int:
    """Libraries refuse what is older than five minutes, and the suite may run for longer."""
    return int(datetime.now(UTC).timestamp())


def test_the_vendors_signature_is_that_of_the_published_vector():
    assert vendor_signature("test_secret", 1_700_000_000, BODY, "base64") == (
        "s8nkQ7s66JTYBnP8vRH9NQ6jZfSptR3Pzkm68tJMTKI="
    )
    assert vendor_signature("test_secret", 1_700_000_000, BODY, "hex").startswith("b3c9e443")


def test_a_secret_is_32_random_bytes_in_base64():
    assert new_secret() != new_secret()
    assert len(base64.b64decode(new_secret().removeprefix("whsec_"), validate=True)) == 32


def test_500_signatures_are_verified_by_the_standard_webhooks_library():
    for number in range(500):
        secret, body = new_secret(), b'{"n":%d,"name":"\xc3\xa9"}' % number
        headers = signed_headers([secret], str(number), now(), body, "hex")
        assert Webhook(secret).verify(body, headers) == {"n": number, "name": "é"}


def test_during_a_rotation_both_secrets_verify_and_the_vendors_header_is_the_old_ones():
    old, new = new_secret(), new_secret()
    headers = signed_headers([old, new], "1", now(), BODY, "hex")
    assert Webhook(old).verify(BODY, headers) == Webhook(new).verify(BODY, headers)
    assert headers["X-Signature"] == vendor_signature(old, int(headers["X-Request-Timestamp"]), BODY, "hex")


@pytest.mark.parametrize("changed", ["body", "id", "timestamp", "secret"])
def test_whatever_is_changed_the_signature_does_not_fit(changed):
    secret = new_secret()
    headers = signed_headers([secret], "1", now(), BODY, "hex")
    body = BODY + b" " if changed == "body" else BODY
    if changed == "id":
        headers["webhook-id"] = "msg_2"
    if changed == "timestamp":
        headers["webhook-timestamp"] = str(now() + 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret() if changed == "secret" else secret).verify(body, headers)


def test_an_old_delivery_is_refused_by_the_library():
    old = int((datetime.now(UTC) - timedelta(minutes=6)).timestamp())
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, signed_headers([secret], "1", old, BODY, "hex"))


def test_standard_signatures_carry_their_version():
    assert standard_signature(new_secret(), "m", 1, b"").startswith("v1,")
