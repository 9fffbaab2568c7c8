"""On-premise form of voice biometrics users, as published nodes of an identity platform speak it."""

import json
from typing import Any

from flask import Blueprint, Response, g, request

from api import auth
from api.dialects.voisentry.calls import Call, find_user, refusing
from api.dialects.voisentry.context import admit, answer, group, perform_given
from api.dialects.voisentry.receiving import received_form
from api.services import services
from api.spaces import actor
from shared.dialects import voisentry
from shared.dialects.voisentry import Operation

BASE = "/voisentry"

blueprint = Blueprint("voisentry-node", __name__, url_prefix=BASE)


@blueprint.before_request
def authenticate() -> None:
    """Set `g.client` and `g.space` to those of the key; raises Refused."""
    admit(request.args.get("key", ""))
    auth.limit()


blueprint.after_request(auth.tell)


@blueprint.get("/check")
def check_user() -> Response:
    """Tell whether a user is enrolled."""
    enrol_id = voisentry.enrol_id(request.args)
    with refusing():
        user = find_user(services(), group(), enrol_id)
    return answer(voisentry.node_answer({"enrolids": [enrol_id] if user else []}))


@blueprint.get("/delete")
def delete_user() -> Response:
    """Remove a user and everything that is kept of it."""
    enrol_id = voisentry.enrol_id(request.args)
    with refusing():
        user = find_user(services(), group(), enrol_id)
        if user is None:
            raise voisentry.not_found(enrol_id)
        services().identities.delete_identity(actor(), user.identity.id)
    return answer(voisentry.node_answer({"enrolids": [enrol_id]}))


@blueprint.post("/enrol")
def enrol_user() -> Response:
    """Enrol a user."""
    return answer(voisentry.node_answer({"enrolment": _enrolled(Operation.REGISTER)}))


@blueprint.post("/update")
def update_user() -> Response:
    """Refine the voice of a user."""
    return answer(voisentry.node_answer({"updated": _enrolled(Operation.UPDATE)}))


def _enrolled(operation: Operation) -> str:
    call, _, accepted = _performed(operation)
    return json.dumps({"enrolid": call.user_id, "sources": voisentry.sources(accepted)})


@blueprint.post("/verify")
def verify_user() -> Response:
    """Verify a user."""
    _, outcome, _ = _performed(Operation.VERIFY)
    found = voisentry.node_verification(bool(outcome.verified), outcome.confidence or 0.0, bool(outcome.is_copy))
    return answer(voisentry.node_answer({"verification": found}))


def _performed(operation: Operation) -> tuple[Call, Any, list[tuple[str, bool]]]:
    call = Call(
        client=g.client,
        space=group(),
        operation=operation,
        user_id=voisentry.enrol_id(request.args),
        enable_pad=operation is Operation.VERIFY,
        request_id=g.request_id,
    )
    with received_form() as form:
        return call, *perform_given(call, form.given)
