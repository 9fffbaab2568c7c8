"""Identities of a space."""

from dataclasses import replace
from typing import Any

from api.dialects.spaces.context import SPACE, answer, blueprint, body_of, reference, space_of
from api.dialects.spaces.lists import BY_AGE_OR_HANDLE, listed
from api.dialects.spaces.requests import Anything, Naming
from api.dialects.spaces.voiceprints import create_voiceprint, list_voiceprints_of
from api.services import services
from api.spaces import actor
from shared.dialects.spaces import IdentityBody
from shared.domain.identities import NewIdentity

IDENTITY = f"{SPACE}/identities/<identity>"
#: Fields that only a voiceprint has. The vendor's guides print this path for making one.
_OF_A_VOICEPRINT = {"model", "minAudios", "minSamples"}

_identity = IdentityBody()


@blueprint.get(f"{SPACE}/identities")
def list_identities(owner: str, space: str) -> Any:
    """List identities."""
    found = space_of(owner, space)
    return listed(_identity, lambda query: services().identities.list_identities(found, query), BY_AGE_OR_HANDLE)


@blueprint.post(f"{SPACE}/identities")
def create_identity(owner: str, space: str) -> Any:
    """Make an identity; or, by a body with a field that only voiceprints have, a voiceprint."""
    if _OF_A_VOICEPRINT & body_of(Anything).keys():
        return create_voiceprint(owner, space)
    new = NewIdentity(**body_of(Naming))
    return answer(_identity, services().identities.add_identity(actor(), space_of(owner, space), new), 201)


@blueprint.get(IDENTITY)
def get_identity(owner: str, space: str, identity: str) -> Any:
    """Get an identity."""
    return answer(_identity, services().identities.identity(space_of(owner, space), reference(identity)))


@blueprint.patch(IDENTITY)
def change_identity(owner: str, space: str, identity: str) -> Any:
    """Change handle or alias of an identity."""
    found = services().identities.identity(space_of(owner, space), reference(identity))
    return answer(_identity, services().identities.change_identity(actor(), replace(found, **body_of(Naming))))


@blueprint.delete(IDENTITY)
def delete_identity(owner: str, space: str, identity: str) -> Any:
    """Remove an identity with everything below it."""
    found = services().identities.identity(space_of(owner, space), reference(identity))
    services().identities.delete_identity(actor(), found.id)
    return "", 204


@blueprint.get(f"{IDENTITY}/voiceprints")
def list_identity_voiceprints(owner: str, space: str, identity: str) -> Any:
    """List the voiceprints of an identity."""
    found = space_of(owner, space)
    whose = services().identities.identity(found, reference(identity))
    return list_voiceprints_of(found, identity_id=whose.id)
