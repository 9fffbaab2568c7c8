"""Owners: the caller as a user and as its organization, its session tokens, and the model index."""

from typing import Any

from flask import Flask, Response, g, jsonify

from api import auth
from api.dialects.spaces.context import answer, blueprint, body_of, entrance, owner_of, sessions
from api.dialects.spaces.requests import Credentials
from api.errors import Unauthorized
from api.services import services
from shared.dialects.spaces import AccountBody, Owner, models

_account = AccountBody()


@entrance.post("/auth/credentials")
def open_session() -> Response:
    """Give a token for an owner's handle and an API key."""
    given = body_of(Credentials)
    opened = sessions().open(given["handle"], given["password"])
    if opened is None:
        raise Unauthorized("Send `handle`, the owner's handle, and `password`, an API key of that owner.")
    client, token = opened
    auth.count(client.id)
    return jsonify({"token": token})


@blueprint.get("/user")
def get_user() -> Any:
    """Get the caller."""
    return answer(_account, Owner.of(g.client, "user"))


@blueprint.get("/orgs")
def list_orgs() -> Response:
    """List the caller's organizations, of which there is one."""
    return jsonify([_account.dump(Owner.of(g.client))])


@blueprint.get("/orgs/<org>")
def get_org(org: str) -> Any:
    """Get the caller's organization."""
    return answer(_account, owner_of(org))


def add_models(app: Flask, prefix: str, name: str) -> None:
    """Add the model index at a base."""
    app.add_url_rule(f"{prefix}/models", f"{name}.list_models", list_models)


def list_models() -> Response:
    """List the names of models that requests may carry."""
    return jsonify(models([model.model_id for model in services().models.recent() if model.default]))
