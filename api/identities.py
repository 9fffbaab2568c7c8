"""Spaces and identities: make, change, list and remove them."""

from dataclasses import replace
from typing import Any

from api.auth import guarded
from api.description import raises
from api.schemas.base import SpaceQuery
from api.schemas.identities import (
    Identity,
    IdentityChangeRequest,
    IdentityList,
    IdentityQuery,
    IdentityReceipt,
    IdentityRequest,
    Space,
    SpaceChangeRequest,
    SpaceReceipt,
)
from api.services import services
from api.spaces import actor, find_identity, find_space, make_space
from shared.domain import identities
from shared.domain.errors import ConsentRequired, HandleTaken, NotFound, Unavailable
from shared.domain.identities import NewIdentity, RecordPage, RecordQuery, Removal

blueprint = guarded("identities", "Keep identities: people in a space, with their consent.")

#: Values of an identity, and of a space, by the fields of requests.
_IDENTITY_VALUES = {"handle": "handle", "name": "alias", "consent": "consent", "expiresAt": "expires_at"}
_SPACE_VALUES = {"name": "alias", "keepRecordingsSeconds": "keep_recordings_s", "consentBasis": "consent_basis"}


@blueprint.route("/identities", methods=["POST"])
@blueprint.arguments(IdentityRequest)
@blueprint.response(201, Identity)
@raises(HandleTaken, ConsentRequired)
def create_identity(body: dict[str, Any]) -> identities.Identity:
    """Make an identity, in a space that is made if it is new."""
    return services().identities.add_identity(actor(), make_space(body["space"]), new_identity(body))


@blueprint.route("/identities")
@blueprint.arguments(IdentityQuery, location="query")
@blueprint.response(200, IdentityList)
@raises(NotFound)
def list_identities(query: dict[str, Any]) -> RecordPage[identities.Identity]:
    """List the identities of a space, newest first, page by page.

    With `stale` or `withoutModel`: those that are enrolled under other models only, so must be enrolled again.
    """
    space = find_space(query["space"])
    without = _served_model() if query["stale"] else query["withoutModel"]
    if query["handle"] is not None:
        return _named(space, query["handle"], without)
    which = RecordQuery(take=query["limit"], cursor=query["cursor"], without_model=without)
    return services().identities.list_identities(space, which)


@blueprint.route("/identities/<reference:identity>")
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, Identity)
def get_identity(query: dict[str, Any], identity: str) -> identities.Identity:
    """Get an identity, by its id or handle."""
    return find_identity(identity, query["space"])[1]


@blueprint.route("/identities/<reference:identity>", methods=["PATCH"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.arguments(IdentityChangeRequest)
@blueprint.response(200, Identity)
@raises(HandleTaken, ConsentRequired)
def change_identity(query: dict[str, Any], body: dict[str, Any], identity: str) -> identities.Identity:
    """Change an identity; fields that are left out stay, null removes."""
    space, found = find_identity(identity, query["space"])
    changed = replace(found, **{_IDENTITY_VALUES[name]: value for name, value in body.items()})
    if found.consent is not None:
        services().identities.require_consent(space, changed.consent)
    return services().identities.change_identity(actor(), changed)


@blueprint.route("/identities/<reference:identity>", methods=["DELETE"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, IdentityReceipt)
def delete_identity(query: dict[str, Any], identity: str) -> Removal:
    """Remove an identity with its samples, enrolments, verifications and jobs; the answer is a receipt.

    Nothing of it can be read afterwards, also not in the database's files. Jobs about it end with `identity_deleted`.
    """
    _, found = find_identity(identity, query["space"])
    return services().identities.delete_identity(actor(), found.id)


@blueprint.route("/space")
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, Space)
@raises(NotFound)
def get_space(query: dict[str, Any]) -> identities.Space:
    """Get a space; the space `default` is always there."""
    return find_space(query["space"])


@blueprint.route("/space", methods=["PATCH"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.arguments(SpaceChangeRequest)
@blueprint.response(200, Space)
def change_space(query: dict[str, Any], body: dict[str, Any]) -> identities.Space:
    """Change a space, which is made if it is new; fields that are left out stay, null removes."""
    changed = replace(make_space(query["space"]), **{_SPACE_VALUES[name]: value for name, value in body.items()})
    return services().identities.change_space(actor(), changed)


@blueprint.route("/space", methods=["DELETE"])
@blueprint.arguments(SpaceQuery, location="query")
@blueprint.response(200, SpaceReceipt)
@raises(NotFound)
def delete_space(query: dict[str, Any]) -> Removal:
    """Remove a space and all that is in it; the answer is a receipt."""
    return services().identities.delete_space(actor(), find_space(query["space"]).id)


def new_identity(body: dict[str, Any]) -> NewIdentity:
    """Return the identity that a request asks for."""
    return NewIdentity(
        handle=body.get("handle"), alias=body["name"], consent=body["consent"], expires_at=body["expiresAt"]
    )


def _named(space: identities.Space, handle: str, without_model: str | None) -> RecordPage[identities.Identity]:
    """Return a page of the identity of that handle, or an empty one."""
    try:
        found = services().identities.identity(space, handle)
    except NotFound:
        return RecordPage([], None, 0)
    fits = without_model is None or (bool(found.model_ids) and without_model not in found.model_ids)
    return RecordPage([found] if fits else [], None, int(fits))


def _served_model() -> str:
    """Return the id of the model that makes voiceprints now; raises Unavailable."""
    served = services().models_served()
    if not served:
        raise Unavailable("No worker is there to say which model is served; try again, or send `withoutModel`.")
    return served[0].model_id
