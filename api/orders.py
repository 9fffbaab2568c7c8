"""From a validated request to a job: what all job POSTs have in common."""

import hashlib
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from flask import g, request
from flask_smorest import Blueprint

from api.schemas import Submission
from api.services import services
from shared.domain.commands import S3_SCHEME, Command, Identify, Verify
from shared.domain.errors import IdempotencyMismatch, InvalidRequest, InvalidVoiceprint, TooManyJobs
from shared.domain.jobs import IdempotencyKey, Order
from shared.domain.models import ListedModel
from shared.domain.voiceprints import Voiceprint
from shared.usecases import submit
from shared.wire.native import created_body

_MAX_KEY_LENGTH = 255
_KEY_HEADER = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "A name of your own for this request: for 24 h, the same key and body give the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": _MAX_KEY_LENGTH},
}

#: Decorates the views that end in `place`, which reads a header and has errors of its own.
places_job = Blueprint.doc(parameters=[_KEY_HEADER], errors=(IdempotencyMismatch, TooManyJobs))


def place(submission: Submission) -> dict[str, Any]:
    """Store the job that was asked for; returns the answer.

    Raises
    ------
    InvalidRequest, IdempotencyMismatch, TooManyJobs
    """
    key = _idempotency_key()
    # What a key was used for stays as it was answered, whatever the service has been set up to since.
    if not (key and services().jobs.knows(g.client.id, key)):
        _require_safe_webhook(submission)
        _require_listed_bucket(submission)
        _require_served_model(submission.command)
    order = Order(command=submission.command, webhook=submission.webhook, idempotency_key=key)
    job = submit(services().jobs, services().queue, g.client.id, order)
    return created_body(job, submission.warning)


def _require_safe_webhook(submission: Submission) -> None:
    """Refuse at once what a courier would never send to; names are judged when they are resolved, at each try."""
    if submission.webhook is None:
        return
    settings, parts = services().settings, urlsplit(submission.webhook.url)
    host, _, port = submission.webhook.host.rpartition(":")
    if parts.scheme != "https" and not settings.allow_http_webhooks:
        raise InvalidRequest(("webhook", "Must be an https:// address."))
    if not settings.address_rules().allow_port(int(port)):
        raise InvalidRequest(("webhook", f"Port {port} is not allowed in an address."))
    if _is_literal(host) and not settings.address_rules().allow(host, [host]):
        raise InvalidRequest(("webhook", f"{host} is not on the public internet."))


def _is_literal(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _require_listed_bucket(submission: Submission) -> None:
    url = submission.command.url
    bucket = url.removeprefix(S3_SCHEME).partition("/")[0]
    if url.startswith(S3_SCHEME) and bucket not in services().settings.source_buckets():
        raise InvalidRequest(("url", f"Bucket {bucket} is not one that this service reads; send a presigned address."))


def _require_served_model(command: Command) -> None:
    """Refuse voiceprints of another model than the workers run, as far as they have said which that is."""
    if isinstance(command, Identify):
        named = {f"voiceprints.{i}.voiceprint": item for i, item in enumerate(command.voiceprints.items())}
    elif isinstance(command, Verify):
        named = {"voiceprint": ("", command.voiceprint)}
    else:
        return
    for served in (m for m in services().models.all() if m.default and m.installed):
        wrong = [(field, why) for field, (label, text) in named.items() if (why := _other_model(text, label, served))]
        if wrong:
            raise InvalidRequest(*wrong)


def _other_model(text: str, label: str, served: ListedModel) -> str | None:
    try:
        Voiceprint.decode(text).require_model(served.model_id, served.dimension)
    except InvalidVoiceprint as error:
        return f"Label {label!r}: {error}" if label else str(error)
    return None


def _idempotency_key() -> IdempotencyKey | None:
    """Read the Idempotency-Key header: bare, or in quotes as the IETF draft (httpapi-idempotency-key) writes it."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    key = text.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= _MAX_KEY_LENGTH or not key.isprintable():
        raise InvalidRequest(("Idempotency-Key", f"Must have 1 to {_MAX_KEY_LENGTH} printable characters."))
    asked = request.path.encode() + b"\n" + request.get_data()
    return IdempotencyKey(key, hashlib.sha256(asked).hexdigest())
