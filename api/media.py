"""Recordings that clients store: signed addresses to PUT them to and GET them from, a list, and their removal."""

from collections.abc import Iterator
from typing import Any

from flask import Response, g, request, send_file
from flask_smorest import Blueprint

from api.auth import guarded
from api.description import raises
from api.schemas import MediaAddress, MediaList, MediaQuery, MediaReceipt, MediaRequest
from api.services import services
from shared.adapters.dir_media import DirMedia
from shared.domain.commands import MEDIA_SCHEME
from shared.domain.errors import InvalidRequest, MediaNotFound, NotFound, RequestTooLarge
from shared.ports import MediaAddresses
from shared.wire.native import media_body

_CHUNK_BYTES = 1 << 16
_BYTES = {"type": "string", "format": "binary"}

blueprint = guarded("media", "Store recordings.")
#: The signed addresses of the local store: the signature stands in for a key.
signed_blueprint = Blueprint("signed", __name__, url_prefix="/v1/media", description="Signed addresses.")


@blueprint.route("/media/input", methods=["POST"])
@blueprint.arguments(MediaRequest)
@blueprint.response(201, MediaAddress)
def create_media_input(body: dict[str, str]) -> dict[str, str]:
    """Get an address to PUT a recording to; afterwards its media:// name can be used as a job's url."""
    return {"url": _addresses().put_address(g.client.id, _key(body))}


@blueprint.route("/media/output", methods=["POST"])
@blueprint.arguments(MediaRequest)
@blueprint.response(201, MediaAddress)
@raises(NotFound)
def create_media_output(body: dict[str, str]) -> dict[str, str]:
    """Get an address to download a stored recording from."""
    key = _key(body)
    if not services().media.contains(g.client.id, key):
        raise NotFound(str(MediaNotFound.of(key)))
    return {"url": _addresses().get_address(g.client.id, key)}


@blueprint.route("/media")
@blueprint.arguments(MediaQuery, location="query")
@blueprint.response(200, MediaList)
def list_media(query: dict[str, Any]) -> dict[str, Any]:
    """List stored recordings, page by page: `nextCursor` leads from one to the next."""
    page = services().media.list(g.client.id, query["cursor"], query["limit"])
    return media_body(page)


# Two slashes in a key are two: with one of them it would be another recording's.
@blueprint.route("/media/<key:key>", methods=["DELETE"], merge_slashes=False)
@blueprint.response(200, MediaReceipt)
def delete_media(key: str) -> dict[str, Any]:
    """Remove a stored recording; the answer is a receipt."""
    digest = services().media.remove(g.client.id, key)
    if digest is None:
        raise NotFound(str(MediaNotFound.of(key)))
    return {"url": MEDIA_SCHEME + key, "sha256": digest}


@signed_blueprint.route("/upload/<string:token>", methods=["PUT"])
@signed_blueprint.response(200)
@signed_blueprint.doc(requestBody={"content": {"application/octet-stream": {"schema": _BYTES}}})
def put_media(token: str) -> Response:
    """Store the body of the request as the file that its signed address stands for."""
    client_id, key = services().addresses.read("upload", token)
    _local().save(client_id, key, _limited_body(services().settings.max_upload_bytes()))
    return Response(status=200)


@signed_blueprint.route("/download/<string:token>")
@signed_blueprint.response(200, _BYTES, content_type="application/octet-stream")
def get_media(token: str) -> Response:
    """Give the file that the signed address stands for."""
    client_id, key = services().addresses.read("download", token)
    try:
        file = _local().open(client_id, key)
    except MediaNotFound as error:
        raise NotFound(str(error)) from None
    # Whatever a client has stored, no browser may take it for a page of ours.
    return send_file(file, mimetype="application/octet-stream", as_attachment=True, download_name="recording")


def _addresses() -> MediaAddresses:
    store = services().media
    return services().addresses if isinstance(store, DirMedia) else store


def _local() -> DirMedia:
    store = services().media
    if not isinstance(store, DirMedia):
        raise NotFound("This address is not valid; ask POST /v1/media/input or /v1/media/output for one.")
    return store


def _key(body: dict[str, str]) -> str:
    return body["url"].removeprefix(MEDIA_SCHEME)


def _limited_body(limit: int) -> Iterator[bytes]:
    """Yield the request's body, counting: the framework cuts a chunked body at its limit without a word."""
    request.max_content_length = limit + 1
    received = 0
    while chunk := request.stream.read(_CHUNK_BYTES):
        received += len(chunk)
        if received > limit:
            raise RequestTooLarge(f"The file is larger than {limit} bytes.")
        yield chunk
    if request.content_length is not None and received < request.content_length:
        raise InvalidRequest(("body", f"Only {received} of {request.content_length} bytes arrived; send it again."))
