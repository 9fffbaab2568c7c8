"""The service itself: probes, models, webhook secrets."""

from marshmallow import fields, validate

from api.schemas.base import Request
from shared.dialects.fields import Body, Rounded
from shared.domain.keys import MAX_OVERLAP_S


class ConnectionTest(Body):
    """Proof that address and key are right."""

    status = fields.String(required=True, metadata={"examples": ["OK"]})
    message = fields.String(required=True, metadata={"examples": ["Test connection successful"]})


class Liveness(Body):
    """Proof that the process lives."""

    status = fields.String(required=True, metadata={"examples": ["ok"]})
    version = fields.String(required=True, metadata={"description": "The service's version, as in the changelog."})


class Problem(Body):
    """Problem of a part of the service."""

    part = fields.String(
        required=True,
        validate=validate.OneOf(("redis", "database", "media", "disk", "workers", "couriers")),
        metadata={"examples": ["workers"]},
    )
    message = fields.String(required=True, metadata={"description": "Tells whoever operates the service what to do."})


class Readiness(Body):
    """Readiness to accept jobs, and how many there are; Redis alone knows what waits, and who works."""

    status = fields.String(
        required=True,
        validate=validate.OneOf(("ok", "degraded", "unavailable")),
        metadata={"examples": ["ok"], "description": "`degraded`: jobs are accepted, and wait."},
    )
    redis = fields.Boolean(required=True)
    database = fields.Boolean(required=True)
    media = fields.Boolean(required=True, metadata={"description": "Whether uploads can be stored."})
    disk = fields.Boolean(required=True, metadata={"description": "Whether the disk has room."})
    jobsWaiting = fields.Integer(attribute="waiting", metadata={"examples": [3]})
    jobsRunning = fields.Integer(attribute="running", metadata={"examples": [2]})
    oldestJobSeconds = Rounded(1, attribute="oldest_s", metadata={"examples": [4.2]})
    workers = fields.Integer(metadata={"examples": [2], "description": "Seen within the last minute."})
    couriers = fields.Integer(metadata={"examples": [1], "description": "Seen within the last minute."})
    problems = fields.List(fields.Nested(Problem), required=True, metadata={"examples": [[]]})


class SecretRotation(Request):
    """Rotation of the webhook secret."""

    overlapSeconds = fields.Integer(
        load_default=86_400,
        validate=validate.Range(0, MAX_OVERLAP_S),
        metadata={"description": "How long the secret before goes on signing; 0 ends it, and any other, at once."},
    )


class Secret(Body):
    """Webhook secret, shown this once."""

    secret = fields.String(required=True)


class ModelCalibration(Body):
    """Calibration of a model."""

    data = fields.String(required=True, metadata={"description": "The recordings that it was fitted on."})
    fittedAt = fields.String(required=True, attribute="fitted_at", metadata={"description": "ISO 8601, UTC."})


class Model(Body):
    """Speaker model."""

    handle = fields.String(required=True, metadata={"description": "Its name, as `model` of a request takes it."})
    version = fields.String(required=True, allow_none=True, metadata={"description": "Null while it is not installed."})
    dimension = fields.Integer(required=True, metadata={"description": "Length of its vectors."})
    sampleRate = fields.Integer(required=True, attribute="sample_rate_hz", metadata={"description": "In Hz."})
    minSpeechSeconds = fields.Float(
        required=True,
        attribute="min_speech_s",
        metadata={"description": "Least speech of the main speaker for a voiceprint."},
    )
    licence = fields.String(required=True)
    installed = fields.Boolean(required=True)
    calibrated = fields.Boolean(
        required=True, metadata={"description": "Whether scores can be turned into a confidence."}
    )
    calibration = fields.Nested(
        ModelCalibration, required=True, allow_none=True, metadata={"description": "Null while there is none."}
    )
    default = fields.Boolean(required=True)


class ModelList(Body):
    """Models of this service, the preferred first."""

    models = fields.List(fields.Nested(Model), required=True)
