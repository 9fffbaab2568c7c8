"""Context of a request of the spaces API: its caller, its owner's space, the waiting for jobs, and answers."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, g, jsonify, request
from marshmallow import Schema, ValidationError

from api import auth
from api.dialects.spaces.sessions import Sessions
from api.errors import RequestParser
from api.services import services
from api.spaces import actor
from shared.dialects.pyannoteai import PyannoteAi
from shared.dialects.spaces import Owner, slug
from shared.domain.commands import Command
from shared.domain.errors import NotFound
from shared.domain.identities import Space, is_handle, is_id
from shared.domain.jobs import Job, JobSubmission
from shared.domain.keys import Client

View = TypeVar("View", bound=Callable[..., Any])

#: Path of a space.
SPACE = "/spaces/<owner>/<space>"

blueprint = Blueprint("spaces", __name__)
#: Route that makes tokens, and needs none.
entrance = Blueprint("spaces-entrance", __name__)

_parser = RequestParser()


def sessions() -> Sessions:
    """Return the sessions of the running application."""
    found: Sessions = current_app.extensions["timbre.sessions"]
    return found


@blueprint.before_request
def authenticate() -> None:
    """Set `g.client` to the client of the request's API key or token; raises Unauthorized."""
    auth.admit(sessions().client(auth.bearer()))
    auth.limit()


for _blueprint in (blueprint, entrance):
    _blueprint.after_request(auth.tell)


def route(method: str, *paths: str) -> Callable[[View], View]:
    """Decorate a view with its paths; those with audios are also there with samples."""

    def add(view: View) -> View:
        for path in dict.fromkeys((*paths, *(path.replace("/audios", "/samples") for path in paths))):
            blueprint.add_url_rule(path, view_func=view, methods=[method])
        return view

    return add


def owner_of(handle: str) -> Owner:
    """Return the caller's own organization; raises NotFound for another."""
    return own(g.client, handle)


def own(client: Client, handle: str) -> Owner:
    """Return the organization of a client; raises NotFound for another, whether there is one or not."""
    if handle != slug(client):
        raise NotFound("There is no such owner, or it is not yours; GET /orgs lists yours.")
    return Owner.of(client)


def space_of(owner: str, space: str) -> Space:
    """Return a space of the caller's; raises NotFound."""
    owner_of(owner)
    return services().identities.space(actor(), reference(space))


def reference(text: str) -> str:
    """Return a handle from a path or body; raises NotFound for a text that can be none."""
    if not is_handle(text) and not is_id(text):
        raise NotFound("There is nothing of that handle; it may have been deleted.")
    return text


def body_of(schema: type[Schema]) -> dict[str, Any]:
    """Return the JSON body of the request, read by a schema; raises InvalidRequest."""
    found: dict[str, Any] = _parser.parse(schema, request, location="json")
    return found


def read(schema: type[Schema], found: Any) -> dict[str, Any]:
    """Return JSON values as a schema reads them; raises InvalidRequest."""
    try:
        fields: dict[str, Any] = schema().load(found)
    except ValidationError as error:
        _parser.handle_error(error)
        raise
    return fields


def submission(command: Command, weight: int) -> JobSubmission:
    """Return the request for a job, whose own end nobody asks for."""
    return JobSubmission(command=command, dialect=PyannoteAi.name, weight=weight)


def wait(job_id: str, seconds: float) -> Job:
    """Return a job once it has ended, or as it stands after so many seconds; raises NotFound."""
    return services().waits.job(g.client.id, job_id, seconds)


def answer(schema: Schema, value: Any, status: int = 200) -> tuple[Response, int]:
    """Return a value as the answer."""
    return jsonify(schema.dump(value)), status
