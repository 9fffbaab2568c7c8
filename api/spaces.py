"""Spaces of the request's client, and the identities in them, as requests name them."""

from flask import g

from api.services import services
from shared.domain.identities import DEFAULT_SPACE, Actor, Identity, RecordKind, Space, is_id
from shared.identity_service import existing


def actor() -> Actor:
    """Return who sends the request, for the audit log."""
    return Actor(client_id=g.client.id, key_id=g.client.key_id, request_id=g.request_id)


def find_space(handle: str | None) -> Space:
    """Return a space of the client; the default one is always there.

    Raises
    ------
    NotFound
        It is not there, or another client's; the two look the same from outside.
    """
    if handle in (None, DEFAULT_SPACE):
        return make_space(handle)
    return services().identities.space(actor(), handle)


def make_space(handle: str | None) -> Space:
    """Return a space of the client, made if it is new."""
    return services().identities.ensure_space(actor(), handle or DEFAULT_SPACE)


def space_of(reference: str, handle: str | None) -> Space:
    """Return the space of an identity that is named by its id or handle; an id needs no space. Raises NotFound."""
    if handle is None and is_id(reference):
        return existing(services().identities.space_of(actor(), reference), RecordKind.IDENTITY)
    return find_space(handle)


def find_identity(reference: str, handle: str | None) -> tuple[Space, Identity]:
    """Return an identity, named by its id or handle, and its space; raises NotFound."""
    space = space_of(reference, handle)
    return space, services().identities.identity(space, reference)
