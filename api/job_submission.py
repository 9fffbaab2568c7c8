"""Job submission: from a validated request to a job, for all job POSTs."""

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from flask import g, request
from flask_smorest import Blueprint

from api.errors import InvalidRequest
from api.services import services
from shared.domain.addresses import HOST_REFUSED, HTTP_REFUSED, PORT_REFUSED
from shared.domain.commands import Command, Identify, Verify
from shared.domain.errors import IdempotencyMismatch, InvalidVoiceprint, JobQuotaExceeded, TooManyJobs
from shared.domain.jobs import IdempotencyKey, JobSubmission, Webhook
from shared.domain.models import ListedModel
from shared.domain.sources import S3Url, Source

_MAX_KEY_LENGTH = 255
_KEY_HEADER = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "A name of your own for this request: for 24 h, the same key and body give the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": _MAX_KEY_LENGTH},
}

#: Decorates the views that end in `submit`, which reads a header and has errors of its own.
submits_job = Blueprint.doc(parameters=[_KEY_HEADER], errors=(IdempotencyMismatch, TooManyJobs, JobQuotaExceeded))


def submit(submission: JobSubmission) -> dict[str, Any]:
    """Store the job that was asked for; returns the answer.

    Raises
    ------
    InvalidRequest, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
    """
    key = _idempotency_key()
    # What a key was used for stays as it was answered, whatever the service has been set up to since.
    if not (key and services().jobs.repeats(g.client.id, key)):
        _require_allowed_webhook(submission.webhook)
        _require_listed_bucket(submission.command.source)
        _require_served_model(submission.command)
    job = services().jobs.submit(g.client.id, replace(submission, idempotency_key=key, weight=g.client.weight))
    return {"id": job.id, "status": job.status, "warning": submission.warning}


def _require_allowed_webhook(webhook: Webhook | None) -> None:
    """Refuse at once what a courier would never send to; names are judged when they are resolved, at each try."""
    if webhook is None:
        return
    settings = services().settings
    url = webhook.url
    if url.scheme != "https" and not settings.allow_http_webhooks:
        raise InvalidRequest(("webhook", HTTP_REFUSED))
    if not settings.address_rules().allow_port(url.port):
        raise InvalidRequest(("webhook", PORT_REFUSED.format(url.port)))
    host = url.host.rstrip(".")
    if _is_literal(host) and not settings.address_rules().allow(host, [host]):
        raise InvalidRequest(("webhook", HOST_REFUSED.format(host)))


def _is_literal(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _require_listed_bucket(source: Source) -> None:
    if isinstance(source, S3Url) and source.bucket not in services().settings.source_buckets():
        raise InvalidRequest(
            ("url", f"Bucket {source.bucket} is not one that this service reads; send a presigned address.")
        )


def _require_served_model(command: Command) -> None:
    """Refuse a model that no worker runs, and voiceprints of another, as far as workers have said which they run."""
    served = [model for model in services().models.recent() if model.default and model.installed]
    if served:
        wrong = [*_wrong_model(command, served), *_wrong_voiceprints(command, served)]
        if wrong:
            raise InvalidRequest(*wrong)


def _wrong_model(command: Command, served: list[ListedModel]) -> Iterator[tuple[str, str]]:
    names = {name for model in served for name in (model.handle, model.model_id)}
    if command.model is not None and command.model not in names:
        listed = ", ".join(model.handle for model in served)
        yield "model", f"Model {command.model} is not served here; leave it out, or take one of: {listed}."


def _wrong_voiceprints(command: Command, served: list[ListedModel]) -> Iterator[tuple[str, str]]:
    given = []
    if isinstance(command, Identify):
        items = enumerate(command.voiceprints.items())
        given = [(f"voiceprints.{i}.voiceprint", f"Label {label!r}: ", one) for i, (label, one) in items]
    elif isinstance(command, Verify):
        given = [("voiceprint", "", command.voiceprint)]
    for field, whose, voiceprint in given:
        try:
            for model in served:
                voiceprint.require_model(model.model_id, model.dimension)
        except InvalidVoiceprint as error:
            yield field, f"{whose}{error}"


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
