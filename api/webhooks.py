"""The secret that a client's webhooks are signed with."""

from flask import g

from api.auth import guarded
from api.description import raises
from api.schemas.service import Secret, SecretRotation
from api.services import services
from shared.domain.errors import SecretRotating

blueprint = guarded("webhooks", "Verify that a webhook is ours.")


@blueprint.route("/webhook-secret", methods=["POST"])
@blueprint.arguments(SecretRotation)
@blueprint.response(201, Secret)
@raises(SecretRotating)
def rotate_secret(body: dict[str, int]) -> dict[str, str]:
    """Make a new webhook secret and show it, this once.

    The secret before goes on signing beside it for the overlap. With an overlap of 0 every older secret ends at once.
    """
    return {"secret": services().clients.rotate_webhook_secret(g.client.id, body["overlapSeconds"])}
