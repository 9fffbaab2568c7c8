"""Users of a group over HTTP, as the vendor's cloud serves them: register, update, verify, stats, exists, delete."""

import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Any

from flask import Blueprint, Response, g, request

from api import auth
from api.dialects.voisentry.calls import Call, User, find_user, perform, refusing
from api.dialects.voisentry.context import admit, answer, group, perform_given
from api.dialects.voisentry.receiving import Form, received_form, store_file
from api.dialects.voisentry.tickets import issue
from api.services import services
from api.spaces import actor
from shared.dialects import voisentry
from shared.dialects.voisentry import ONE_SOURCE, URL_ON_PUT, Operation, bad_request, date
from shared.domain.errors import NotFound

BASE = "/voice_biometrics/v1/user"
_STREAM_TYPE = "file"

blueprint = Blueprint("voisentry", __name__)


@blueprint.before_request
def authenticate() -> None:
    """Set `g.client` and `g.space` to those of the user group key; raises Refused."""
    given = request.authorization
    admit((given.password if given and given.type == "basic" else "") or "")
    auth.limit()


blueprint.after_request(auth.tell)


def put_recording(operation: Operation) -> Response:
    """Register, update or verify a user by one recording, the body."""
    if "wav_file_url" in request.args:
        raise bad_request(URL_ON_PUT)
    call = _call(operation, request.args)
    return answer(call.names, perform(services(), call, store_file(call)).found)


def post_recordings(operation: Operation) -> Response:
    """Register, update or verify a user by the recordings of a form, or at addresses."""
    with received_form() as form:
        return _performed(_call(operation, form.parameters), form)


def _performed(call: Call, form: Form) -> Response:
    is_bound = call.operation is Operation.VERIFY and call.text_dependent
    if is_bound and len(form.given) > 1:
        raise bad_request(ONE_SOURCE)
    outcome, accepted = perform_given(call, form.given)
    return answer(call.names, outcome.found, {} if is_bound else {"sources": voisentry.sources(accepted)})


def open_socket(operation: Operation) -> Response:
    """Give the address of a socket that takes the recording."""
    call = _call(operation, request.args)
    if request.args.get("stream_type", _STREAM_TYPE) != _STREAM_TYPE:
        raise bad_request("stream_type must be file.")
    return answer({"application_instance_id": call.application_instance_id, "url": issue(services(), call)})


def _call(operation: Operation, parameters: Any) -> Call:
    return Call.parse(g.client, group(), operation, parameters, request_id=g.request_id)


for _operation in Operation:
    for _method, _view in (("PUT", put_recording), ("POST", post_recordings), ("GET", open_socket)):
        # Endpoints of their own, since calls are limited for each.
        _name = f"{_view.__name__}-{_operation}"
        blueprint.add_url_rule(f"{BASE}/{_operation}", _name, partial(_view, _operation), methods=[_method])


@blueprint.route(f"{BASE}/stats", methods=["GET", "POST"])
def show_stats() -> Response:
    """Tell of a user's verifications."""
    user_id, user = _user()
    if user is None:
        raise voisentry.not_registered(user_id)
    return answer({"user_group_name": group().alias or group().handle}, _transaction(), _stats(user))


def _stats(user: User) -> dict[str, Any]:
    identity = user.identity
    updated_at = user.enrolment.computed_at or identity.created_at
    return {
        "registration_date": date(identity.created_at),
        "update_date": date(updated_at),
        "verification_date": date(identity.verified_at) if identity.verified_at else "",
        "verification_attempts": identity.num_accepted + identity.num_rejected,
        "verifications_passed": identity.num_accepted,
        "verifications_failed": identity.num_rejected,
    }


@blueprint.route(f"{BASE}/exists", methods=["GET", "POST"])
def show_exists() -> Response:
    """Tell whether a user is registered."""
    user_id, user = _user()
    return answer({"user_id": user_id}, _transaction(), {"exists": user is not None})


@blueprint.route(f"{BASE}/delete", methods=["GET", "POST"])
def delete_user() -> Response:
    """Remove a user and everything that is kept of it."""
    user_id, user = _user()
    try:
        if user is None:
            raise NotFound.of("user")
        removal = services().identities.delete_identity(actor(), user.identity.id)
    except NotFound:
        raise voisentry.not_registered(user_id) from None
    return answer({"user_id": user_id}, _transaction(), {"deleted": date(removal.deleted_at)})


def _user() -> tuple[str, User | None]:
    user_id = voisentry.user_id(request.values)
    with refusing():
        return user_id, find_user(services(), group(), user_id)


def _transaction() -> dict[str, str]:
    return {"transaction_id": uuid.uuid4().hex}


@blueprint.route("/application_status", methods=["GET", "POST"])
def show_application_status() -> Response:
    """Tell what a call cost, which is nothing."""
    instance_id = voisentry.instance_id(request.values)
    return answer(voisentry.application_status(instance_id, datetime.now(UTC)))
