"""Speaker models of this service."""

from typing import Any

from api.auth import guarded
from api.schemas.service import ModelList
from api.services import services
from shared.domain.errors import Unavailable

#: Sentence for whoever asks before a worker has started.
NO_WORKER = "No worker is there to say which models are installed; try again in a moment."

blueprint = guarded("models", "The speaker models of this service.")


@blueprint.route("/models")
@blueprint.response(200, ModelList)
def list_models() -> dict[str, Any]:
    """List the models that make voiceprints, the preferred first.

    A voiceprint names its model and version; those of two models, or of two versions, cannot be compared.
    """
    models = services().models.all()
    if not models:
        raise Unavailable(NO_WORKER)
    return {"models": models}
