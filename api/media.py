"""Uploads: signed addresses to PUT them to and GET them from, a list, and their removal."""

import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from flask import Response, g, request
from flask_smorest import Blueprint
from werkzeug.datastructures import Range
from werkzeug.wsgi import wrap_file

from api.auth import count, guarded, tell
from api.browser_tokens import require_own_upload
from api.description import raises
from api.errors import (
    InvalidRequest,
    RangeNotSatisfiable,
    RequestTooLarge,
    TokenNotAllowed,
    UnsupportedMediaType,
)
from api.schemas.media import MediaAddress, MediaList, MediaQuery, MediaReceipt, MediaRequest
from api.services import services
from shared.domain.codings import compression
from shared.domain.errors import MediaQuotaExceeded, NotFound
from shared.domain.media import MediaPage
from shared.domain.sources import MediaUrl

_CHUNK_BYTES = 1 << 16
_FORM = "multipart/form-data"
#: Beginning of a form: a boundary, and the headers of its first field (RFC 7578, 4.2), within `_FORM_BYTES`.
_FORM_BEGINNING = re.compile(
    rb"\s*--[^\r\n]{1,200}\r?\n(?:[^\r\n]+\r?\n){0,9}?content-disposition:\s*form-data", re.IGNORECASE
)
_FORM_BYTES = 4096
_BYTES = {"type": "string", "format": "binary"}
_ANY_TYPE = "application/octet-stream"
#: Media types of the accepted formats, by the extension of a key.
_TYPES = {
    ".aif": "audio/aiff",
    ".aiff": "audio/aiff",
    ".amr": "audio/amr",
    ".au": "audio/basic",
    ".caf": "audio/x-caf",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "video/webm",
}
#: Whatever a client has stored, no browser may show it as a page of ours.
_HARMLESS = {"Content-Disposition": "attachment; filename=recording"}
_FILE = {kind: {"schema": _BYTES} for kind in (_ANY_TYPE, "audio/*", "video/*")}
_RANGE_HEADER = {
    "in": "header",
    "name": "Range",
    "description": "Part of the file, `bytes=0-1023` (RFC 9110, 14.2).",
    "schema": {"type": "string"},
}

blueprint = guarded("media", "Store recordings.")
#: The signed addresses that the API serves itself: the signature stands in for a key.
signed_blueprint = Blueprint("signed", __name__, url_prefix="/v1/media", description="Signed addresses.")
signed_blueprint.after_request(tell)


@blueprint.route("/media/input", methods=["POST"])
@blueprint.arguments(MediaRequest)
@blueprint.response(201, MediaAddress)
@raises(MediaQuotaExceeded, TokenNotAllowed)
def create_media_input(body: dict[str, MediaUrl]) -> dict[str, str]:
    """Get an address to PUT a recording to; afterwards its media:// name can be used as a job's url."""
    require_own_upload(body["url"])
    return {"url": services().addresses.put_address(g.client.id, body["url"].key)}


@blueprint.route("/media/output", methods=["POST"])
@blueprint.arguments(MediaRequest)
@blueprint.response(201, MediaAddress)
@raises(NotFound, TokenNotAllowed)
def create_media_output(body: dict[str, MediaUrl]) -> dict[str, str]:
    """Get an address to download a stored recording from."""
    require_own_upload(body["url"])
    key = body["url"].key
    services().jobs.require_media(g.client.id, key)
    return {"url": services().addresses.get_address(g.client.id, key)}


@blueprint.route("/media")
@blueprint.arguments(MediaQuery, location="query")
@blueprint.response(200, MediaList)
def list_media(query: dict[str, Any]) -> MediaPage:
    """List stored recordings, page by page, in no order: `nextCursor` leads from one to the next."""
    try:
        return services().jobs.list_media(g.client.id, query["cursor"], query["limit"])
    except ValueError as error:
        raise InvalidRequest(("cursor", str(error))) from None


# Two slashes in a key are two: with one of them it would be another recording's.
@blueprint.route("/media/<key:key>", methods=["DELETE"], merge_slashes=False)
@blueprint.response(200, MediaReceipt)
def delete_media(key: str) -> dict[str, Any]:
    """Remove a stored recording; the answer is a receipt."""
    return {"url": MediaUrl(key).text, "sha256": services().jobs.remove_media(g.client.id, key)}


@signed_blueprint.route("/upload/<string:token>", methods=["PUT"])
@signed_blueprint.response(200)
@signed_blueprint.doc(requestBody={"content": {"application/octet-stream": {"schema": _BYTES}}})
@raises(UnsupportedMediaType, MediaQuotaExceeded)
def put_media(token: str) -> Response:
    """Store the body of the request, a bare file, under the name that its signed address stands for."""
    client_id, key = services().signed_media.read("upload", token)
    count(client_id)
    require_bare_file()
    limit = services().settings.max_upload_bytes()
    announced = request.content_length or 0
    if announced > limit:
        raise _too_large(limit)
    services().jobs.save_media(client_id, key, received_body(limit), announced)
    return Response(status=200)


@signed_blueprint.route("/download/<string:token>")
@signed_blueprint.response(200)
@signed_blueprint.alt_response(206, description="The part of the file that Range asks for.")
@signed_blueprint.doc(parameters=[_RANGE_HEADER], responses={200: {"content": _FILE}, 206: {"content": _FILE}})
@raises(RangeNotSatisfiable)
def get_media(token: str) -> Response:
    """Give the file that the signed address stands for, or a part of it."""
    client_id, key = services().signed_media.read("download", token)
    count(client_id)
    file = services().jobs.open_media(client_id, key)
    size = os.fstat(file.fileno()).st_size
    kind = _TYPES.get(PurePosixPath(key).suffix.lower(), _ANY_TYPE)
    response = Response(mimetype=kind, headers=_HARMLESS)
    response.content_length = size
    response.cache_control.private = True
    response.accept_ranges = "bytes"
    if request.method == "GET" and _asks_for_a_part(request.range, size):
        response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
    return _with_file(response, file)


def _with_file(response: Response, file: BinaryIO) -> Response:
    """Give the part of the file that the headers announce; the server sends it from the disk, not through memory."""
    file.seek(response.content_range.start or 0)
    response.response = wrap_file(request.environ, file)
    response.direct_passthrough = True
    return response


def _asks_for_a_part(wanted: Range | None, size: int) -> bool:
    """Tell whether to heed a Range header: other units and several ranges may be ignored (RFC 9110, 14.2)."""
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1:
        return False
    start, _ = wanted.ranges[0]
    # The last bytes of a shorter file are all of it.
    return start >= -size


def require_bare_file() -> None:
    """Refuse a form and a compressed body; raises UnsupportedMediaType."""
    if request.mimetype == _FORM:
        raise _form()
    if coding := compression(request.content_encoding or ""):
        raise UnsupportedMediaType(
            f"The upload is compressed (Content-Encoding: {coding}); send the file as it is, as `curl -T FILE` does."
        )


def _form() -> UnsupportedMediaType:
    return UnsupportedMediaType(
        "The upload is a multipart form; send the bare bytes of the file as the body, with `curl -T FILE` in place of "
        "`-F`, or `data=file` in place of `files=` in Python's requests."
    )


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The file is larger than {limit} bytes.")


def received_body(limit: int) -> Iterator[bytes]:
    """Yield the request's body, no form, counting: the framework cuts a chunked body at its limit without a word.

    Raises
    ------
    InvalidRequest, RequestTooLarge, UnsupportedMediaType
    """
    request.max_content_length = limit + 1
    received = 0
    while chunk := request.stream.read(_CHUNK_BYTES):
        if not received and _FORM_BEGINNING.match(chunk[:_FORM_BYTES]):
            raise _form()
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        yield chunk
    if request.content_length is not None and received < request.content_length:
        raise InvalidRequest(("body", f"Only {received} of {request.content_length} bytes arrived; send it again."))
