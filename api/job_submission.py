"""Job submission: from a validated request to a job, for all job POSTs."""

import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from flask import g, request
from flask_smorest import Blueprint

from api.browser_tokens import idempotency_prefix, require_allowed
from api.errors import InvalidRequest, TokenNotAllowed
from api.services import services
from shared.domain.addresses import HOST_REFUSED, HTTP_REFUSED, PORT_REFUSED
from shared.domain.audio import total_s
from shared.domain.commands import Command, CreateVoiceprint, Identify, Verify
from shared.domain.errors import (
    IdempotencyMismatch,
    InvalidVoiceprint,
    JobQuotaExceeded,
    TimbreError,
    TooManyJobs,
)
from shared.domain.jobs import IdempotencyKey, Job, JobSubmission, Webhook
from shared.domain.sources import S3Url, Source
from shared.domain.voiceprints import Voiceprint

_MAX_KEY_LENGTH = 255
#: Seconds by which a segment is longer at most where both its times are rounded to three digits.
_ROUNDING_S = 0.001
_KEY_HEADER = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "A name of your own for this request: for 24 h, the same key and body give the same job.",
    "schema": {"type": "string", "minLength": 1, "maxLength": _MAX_KEY_LENGTH},
}


def submits_job(*errors: type[TimbreError]) -> Callable[[Any], Any]:
    """Decorate a view that makes a job, which reads a header and has errors of its own beside `errors`."""
    own = (TokenNotAllowed, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded)
    return Blueprint.doc(parameters=[_KEY_HEADER], errors=(*own, *errors))


def submit(submission: JobSubmission) -> dict[str, Any]:
    """Store the job that was asked for; returns the answer.

    Raises
    ------
    TokenNotAllowed, InvalidRequest, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
    """
    return accepted(services().jobs.submit(g.client.id, checked(submission)), submission)


def accepted(job: Job, submission: JobSubmission) -> dict[str, Any]:
    """Return the answer to a request that made a job."""
    return {"id": job.id, "status": job.status, "warning": submission.warning}


def checked(submission: JobSubmission) -> JobSubmission:
    """Return a submission with its idempotency key and its client's weight, once it may be granted.

    What a key was used for stays as it was answered, whatever the service has been set up to since.

    Raises
    ------
    TokenNotAllowed, InvalidRequest, IdempotencyMismatch
    """
    require_allowed(submission)
    key = _idempotency_key()
    if not services().jobs.recall(g.client.id, key):
        _require_allowed_webhook(submission.webhook)
        _require_listed_bucket(submission.command.source)
        _require_served_model(submission.command)
        _require_short_segments(submission.command)
    return replace(submission, idempotency_key=key, weight=g.client.weight)


def recalled() -> str | None:
    """Return the id of the job that the request's idempotency key made before; raises IdempotencyMismatch."""
    return services().jobs.recall(g.client.id, _idempotency_key())


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


def _require_listed_bucket(source: Source | None) -> None:
    if isinstance(source, S3Url) and source.bucket not in services().settings.source_buckets():
        raise InvalidRequest(
            ("url", f"Bucket {source.bucket} is not one that this service reads; send a presigned address.")
        )


def _require_short_segments(command: Command) -> None:
    """Refuse more sound than a voiceprint is made of."""
    most_s = services().settings.max_audio_s
    if not isinstance(command, CreateVoiceprint):
        return
    seconds = total_s(command.segments)
    # What is beyond the last digit of a sum is no sound.
    if round(seconds, 6) > most_s + _ROUNDING_S * len(command.segments):
        message = f"They last {seconds:.6g} s together, and may last {most_s:g} s; send those that are heard best."
        raise InvalidRequest(("segments", message))


def _require_served_model(command: Command) -> None:
    """Refuse a model that no worker runs, and voiceprints of another, as far as workers have said which they run."""
    wrong = [*_wrong_model(command), *_wrong_voiceprints(command)]
    if wrong:
        raise InvalidRequest(*wrong)


def _wrong_model(command: Command) -> Iterator[tuple[str, str]]:
    served = services().models_served()
    names = {name for model in served for name in (model.handle, model.model_id)}
    if served and command.model is not None and command.model not in names:
        listed = ", ".join(model.handle for model in served)
        message = f"Model {command.model} is not served here; leave it out, or take one of: {listed}."
        yield "model", message + _how_to_serve(command.model)


def _how_to_serve(name: str) -> str:
    """Return a sentence on a model that is installed, though workers do not use it; empty for any other."""
    idle = [one for one in services().models.recent() if one.installed and name in (one.handle, one.model_id)]
    return f" It is installed: workers that are started with TIMBRE_MODEL={idle[0].handle} use it." if idle else ""


def _wrong_voiceprints(command: Command) -> Iterator[tuple[str, str]]:
    if isinstance(command, Identify):
        items = enumerate(command.voiceprints.items())
        yield from wrong_voiceprints(
            (f"voiceprints.{i}.voiceprint", f"Label {label!r}: ", one) for i, (label, one) in items
        )
    elif isinstance(command, Verify):
        yield from wrong_voiceprints([("voiceprint", "", command.voiceprint)])


def wrong_voiceprints(given: Iterable[tuple[str, str, Voiceprint]]) -> Iterator[tuple[str, str]]:
    """Yield (field, message) of each voiceprint of a model that is not served, as far as workers tell.

    Parameters
    ----------
    given : (field, words before the message, voiceprint) of each.
    """
    served = services().models_served()
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
    # Without a query it is what an earlier release made of the request.
    query = b"?" + request.query_string if request.query_string else b""
    asked = request.path.encode() + query + b"\n" + request.get_data()
    return IdempotencyKey(idempotency_prefix() + key, hashlib.sha256(asked).hexdigest())
