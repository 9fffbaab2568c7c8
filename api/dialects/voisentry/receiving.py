"""Receiving of recordings: one as the body, or several as parts of a form. They go by way of the disk."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, cast

from flask import request
from werkzeug.datastructures import MultiDict
from werkzeug.formparser import FormDataParser

from api.dialects.voisentry.calls import Call, refusing
from api.large_bodies import announced
from api.media import received_body
from api.services import services
from shared.adapters.scratch import scratch_file
from shared.dialects.voisentry import MOST_SOURCES, NO_SOURCES, TOO_MANY_SOURCES, bad_request
from shared.domain.addresses import HttpUrl, InvalidAddress
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl, Source

#: Largest body with recordings in it, in bytes.
MAX_BODY_BYTES = 24 * 1024 * 1024
#: Parts of a form, and bytes of it that are in memory at once.
_MOST_PARTS = 64
_MOST_HELD_BYTES = 256 * 1024
_CHUNK_BYTES = 1 << 20
_PART = re.compile(r"source\d*", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Given:
    """Recording that a request gives."""

    #: Name of the part, or the address as it was given.
    name: str
    #: File of the part; None for an address.
    file: IO[bytes] | None = None

    @property
    def address(self) -> HttpUrl | None:
        """The address to fetch it from; None for one that cannot be fetched from. Examples leave its scheme out."""
        try:
            return HttpUrl.parse(self.name if _SCHEME.match(self.name) else f"https://{self.name}")
        except InvalidAddress:
            return None


@dataclass(frozen=True)
class Form:
    """Request with a form: its parameters, and its recordings."""

    parameters: MultiDict[str, str]
    given: Sequence[Given]


@contextmanager
def received_form() -> Iterator[Form]:
    """Give the form of the request, files first; they are gone afterwards.

    Raises
    ------
    Refused, RequestEntityTooLarge
    """
    with ExitStack() as files:
        fields, parts = _parsed(files)
        parameters = MultiDict([*request.args.items(multi=True), *fields.items(multi=True)])
        given = [Given(name, part.stream) for name, part in parts.items(multi=True) if _PART.fullmatch(name)]
        given += [Given(address) for address in parameters.getlist("wav_file_url")]
        if not given:
            raise bad_request(NO_SOURCES)
        if len(given) > MOST_SOURCES:
            raise bad_request(TOO_MANY_SOURCES)
        yield Form(parameters, given)


def _parsed(files: ExitStack) -> tuple[MultiDict[str, str], MultiDict[str, Any]]:
    """Return fields and files of the body, whatever it announces of its length."""
    request.max_content_length = MAX_BODY_BYTES

    def scratch(*_: Any, **__: Any) -> IO[bytes]:
        return cast("IO[bytes]", files.enter_context(scratch_file(services().settings.data_dir / "scratch")))

    parser = FormDataParser(
        scratch,
        max_form_memory_size=_MOST_HELD_BYTES,
        max_content_length=MAX_BODY_BYTES,
        max_form_parts=_MOST_PARTS,
        silent=False,
    )
    try:
        with refusing():
            _, fields, parts = parser.parse(
                request.stream, request.mimetype, request.content_length, request.mimetype_params
            )
    except ValueError:
        raise bad_request("The body is not a form as multipart/form-data writes it.") from None
    return fields, parts


def store_file(call: Call) -> list[Source]:
    """Store the body of the request, a bare file, for the job of a call; raises Refused."""
    with refusing():
        chunks = received_body(MAX_BODY_BYTES)
        services().jobs.save_media(call.client.id, job_upload(call.job_id), chunks, announced(MAX_BODY_BYTES))
    return [MediaUrl(job_upload(call.job_id))]


def store_files(call: Call, given: Sequence[Given], made: list[Source]) -> None:
    """Store the files of a form for the job of a call, and add each to `made`; raises Refused."""
    with refusing():
        for number, file in enumerate(one.file for one in given if one.file):
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            key = job_upload(call.job_id, number)
            services().jobs.save_media(call.client.id, key, iter(partial(file.read, _CHUNK_BYTES), b""), size)
            made.append(MediaUrl(key))
