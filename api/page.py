"""Page for people, who record, see and compare voices: the files of `api/static`, where `TIMBRE_PAGE` asks for it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, Response, abort, redirect, request, url_for

from shared.adapters.media import upload_origin
from shared.settings import Settings

FOLDER = Path(__file__).parent / "static"
#: Headers of pages that hold a key: no other site learns their address, or gets a hold of their window.
PRIVATE = {"Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin"}
_FIRST = "index.html"
#: Types of the files that are served; others in the folder are not.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True)
class _File:
    """A file as it was at the start."""

    body: bytes
    etag: str
    kind: str

    @classmethod
    def read(cls, path: Path) -> "_File":
        body = path.read_bytes()
        return cls(body, hashlib.sha256(body).hexdigest()[:32], _TYPES[path.suffix])


def register(app: Flask, settings: Settings) -> None:
    """Serve the page at `/` and its files below `/static/`; where it is off, `/` leads to the docs."""
    if not settings.page:
        app.add_url_rule("/", "lead to docs from /", lambda: redirect(url_for("docs.get_docs")))
        return
    files = _files()
    headers = _headers(upload_origin(settings))

    def serve(name: str = _FIRST) -> Response:
        if name not in files:
            abort(404)
        return _answer(files[name], headers)

    app.add_url_rule("/", "page", serve)
    app.add_url_rule("/static/<path:name>", "page file", serve, merge_slashes=False)


def _files() -> dict[str, _File]:
    """Return the files that are served, by their path in the folder."""
    paths = [path for path in FOLDER.rglob("*") if path.suffix in _TYPES]
    return {path.relative_to(FOLDER).as_posix(): _File.read(path) for path in paths}


def _answer(file: _File, headers: dict[str, str]) -> Response:
    response = Response(file.body, content_type=file.kind, headers=headers)
    response.set_etag(file.etag)
    response.make_conditional(request)
    return response


def _headers(uploads: str | None) -> dict[str, str]:
    """Return the headers of all files.

    Parameters
    ----------
    uploads : origin that recordings are sent to and fetched from, besides the service's own.
    """
    sources = " ".join(["'self'", uploads] if uploads else ["'self'"])
    media = sources.replace("'self'", "'self' blob:")
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        f"media-src {media}; connect-src {sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return PRIVATE | {
        "Content-Security-Policy": policy,
        "Permissions-Policy": "microphone=(self)",
        # Asked for each time, so that nobody has files of two releases.
        "Cache-Control": "no-cache",
    }
