"""Comparisons of two voiceprints."""

from marshmallow import fields, validate

from api.schemas.base import Request
from api.schemas.recordings import SHORTENED, ShortList, voiceprint
from shared.dialects.fields import Body, Rounded
from shared.domain.verification import OperatingPoint


class CompareRequest(Request):
    """Request to compare two voiceprints."""

    voiceprints = ShortList(
        voiceprint(),
        required=True,
        validate=validate.Length(equal=2, error="Must be two voiceprints."),
        metadata={"description": "Two voiceprints of one model, in any order.", "examples": [[SHORTENED, SHORTENED]]},
    )


def _decision(example: str) -> fields.String:
    rule = validate.OneOf(["accept", "reject"])
    return fields.String(required=True, allow_none=True, validate=rule, metadata={"examples": [example]})


def _least(point: OperatingPoint) -> fields.Integer:
    return fields.Integer(required=True, metadata={"examples": [point.least_confidence]})


class Decisions(Body):
    """Decision at each operating point; null where the model is not calibrated."""

    balanced = _decision("accept")
    strict = _decision("accept")
    strictest = _decision("reject")


class LeastConfidences(Body):
    """Confidence from which on each operating point accepts a voice."""

    balanced = _least(OperatingPoint.BALANCED)
    strict = _least(OperatingPoint.STRICT)
    strictest = _least(OperatingPoint.STRICTEST)


class VoiceprintComparison(Body):
    """Comparison of two voiceprints."""

    confidence = fields.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "How likely it is one person, 0 to 100, rounded down: what a verification gives for these "
            "two. Null where the model is not calibrated."
        },
    )
    score = Rounded(4, required=True, metadata={"description": "The cosine, -1 to 1."})
    calibrated = fields.Boolean(
        required=True, metadata={"description": "Whether scores of this model can be turned into a confidence."}
    )
    model = fields.String(required=True, metadata={"description": "Made both voiceprints: `handle@revision`."})
    decisions = fields.Nested(Decisions, required=True)
    leastConfidences = fields.Nested(LeastConfidences, required=True)
    warning = fields.String(metadata={"description": "Why there is no confidence, if there is none."})
