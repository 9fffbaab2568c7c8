"""Spaces of an owner."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flask import g

from api.dialects.spaces.context import SPACE, answer, blueprint, body_of, owner_of, space_of
from api.dialects.spaces.lists import BY_AGE_OR_HANDLE, listed
from api.dialects.spaces.requests import Naming, NewSpace
from api.services import services
from api.spaces import actor
from shared.dialects.spaces import Owner, SpaceBody
from shared.domain.identities import Space

_space = SpaceBody()


@blueprint.get("/spaces/<owner>")
def list_spaces(owner: str) -> Any:
    """List spaces."""
    owner_of(owner)
    return listed(_space, lambda query: services().identities.list_spaces(actor(), query), BY_AGE_OR_HANDLE, _owned)


@blueprint.post("/spaces/<owner>")
def create_space(owner: str) -> Any:
    """Make a space."""
    owner_of(owner)
    given = body_of(NewSpace)
    return _answer(services().identities.add_space(actor(), given["handle"], given.get("alias")), 201)


@blueprint.get(SPACE)
def get_space(owner: str, space: str) -> Any:
    """Get a space."""
    return _answer(space_of(owner, space))


@blueprint.patch(SPACE)
def change_space(owner: str, space: str) -> Any:
    """Change handle or alias of a space."""
    changed = replace(space_of(owner, space), **body_of(Naming))
    return _answer(services().identities.change_space(actor(), changed))


@blueprint.delete(SPACE)
def delete_space(owner: str, space: str) -> Any:
    """Remove a space with everything in it."""
    services().identities.delete_space(actor(), space_of(owner, space).id)
    return "", 204


def _owned(spaces: Iterable[Space]) -> list[dict[str, Any]]:
    owner = Owner.of(g.client)
    return [{"space": space, "owner": owner} for space in spaces]


def _answer(space: Space, status: int = 200) -> Any:
    return answer(_space, _owned([space])[0], status)
