"""Comparisons of two voiceprints, at once and without a job."""

from collections.abc import Iterator
from typing import Any

from api.auth import guarded
from api.errors import InvalidRequest
from api.models import NO_WORKER
from api.schemas.comparisons import CompareRequest, VoiceprintComparison
from api.services import services
from shared.domain.errors import InvalidVoiceprint, Unavailable
from shared.domain.models import ListedModel
from shared.domain.verification import OperatingPoint, compare
from shared.domain.voiceprints import Voiceprint

blueprint = guarded("comparisons", "Compare two voiceprints.")


@blueprint.route("/compare", methods=["POST"])
@blueprint.arguments(CompareRequest)
@blueprint.response(200, VoiceprintComparison)
def compare_voiceprints(body: dict[str, Any]) -> dict[str, Any]:
    """Say how likely two voiceprints are of one person.

    The answer comes at once, without a recording and without a job. It is the same in either order. Any installed model
    will do, whichever the workers run.
    """
    one, other = body["voiceprints"]
    model = _model_of(one, other)
    comparison = compare(one, other, services().models.calibration(model))
    return {
        "confidence": comparison.confidence,
        "score": comparison.score,
        "calibrated": comparison.llr is not None,
        "model": model.model_id,
        "decisions": {point: comparison.decision(point) for point in OperatingPoint},
        "leastConfidences": {point: point.least_confidence for point in OperatingPoint},
        "warning": _warning(model),
    }


def _model_of(one: Voiceprint, other: Voiceprint) -> ListedModel:
    """Return the installed model that made both voiceprints; raises InvalidRequest, Unavailable."""
    installed = {model.model_id: model for model in services().models.recent() if model.installed}
    if not installed:
        raise Unavailable(NO_WORKER)
    model = installed.get(one.model_id)
    if model is None:
        named = f"A voiceprint of {one.model_id} cannot be compared here; installed models: {', '.join(installed)}."
        raise InvalidRequest(("voiceprints.0", named))
    wrong = [*_faults(0, one, model), *_faults(1, other, model)]
    if wrong:
        raise InvalidRequest(*wrong)
    return model


def _faults(number: int, voiceprint: Voiceprint, model: ListedModel) -> Iterator[tuple[str, str]]:
    """Yield (field, message) of a voiceprint that a model did not make."""
    try:
        voiceprint.require_model(model.model_id, model.dimension)
    except InvalidVoiceprint as error:
        yield f"voiceprints.{number}", str(error)


def _warning(model: ListedModel) -> str | None:
    if model.calibrated:
        return None
    return (
        f"Model {model.model_id} is not calibrated, so there is no confidence, and its score has no scale. "
        f"The operator can calibrate it: `make calibrate MODEL={model.handle}`."
    )
