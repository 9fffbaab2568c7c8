"""Download or copy a model's file; a download that was interrupted is resumed.

Only installation uses it; a running worker never downloads a model.
"""

import shutil
from pathlib import Path

import urllib3

from models.installation.progress import Say
from models.registry import sha256_of
from shared.domain.errors import ModelInstallError

_CONNECT_S = 15.0
_READ_S = 60.0
#: Connections per file; each resumes where the previous one was interrupted.
_ATTEMPTS = 5
_REDIRECTS = 3
_CHUNK_BYTES = 1 << 20
_MB = 1e6


def fetch(source: str, out: Path, say: Say, sha256: str | None = None) -> str:
    """Copy `source`, an http(s) URL or a path, to the file `out` and return its sha256.

    Until it is complete and checked the file is called `out` + ".part". After an interrupted download the part stays if
    the server sent an ETag, and the next call resumes it. After any other error no file is left.

    Raises
    ------
    ModelInstallError
        The source is missing, refuses, is interrupted too often, or does not have `sha256`.
    """
    part = out.with_name(out.name + ".part")
    if is_url(source):
        _download(source, part, say)
    else:
        _copy(Path(source), part)
    try:
        found = _checked(part, sha256)
        part.replace(out)
        return found
    finally:
        _forget(part)


def _copy(source: Path, part: Path) -> None:
    try:
        shutil.copyfile(source, part)
    except OSError as error:
        _forget(part)
        raise ModelInstallError(f"The file {source} cannot be read: {error.strerror or error}.") from error


def _checked(part: Path, expected: str | None) -> str:
    found = sha256_of(part)
    if expected not in (None, found):
        raise ModelInstallError(f"The file has the wrong checksum: sha256 {found} where {expected} was expected.")
    return found


def _download(url: str, part: Path, say: Say) -> None:
    if (tag := _tag(part)) is None or tag[0] != public(url):
        _forget(part)
    else:
        say(f"  resuming at {_size(part) / _MB:.1f} MB")
    part.touch()
    reason: urllib3.exceptions.HTTPError | None = None
    with urllib3.PoolManager(timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S)) as pool:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return _continue(pool, url, part, say)
            except urllib3.exceptions.HTTPError as error:
                reason = error
                say(f"  the connection broke at {_size(part) / _MB:.1f} MB (attempt {attempt} of {_ATTEMPTS})")
    if _tag(part) is None:
        _forget(part)
    # urllib3 wraps the cause: a name that does not resolve, a certificate, a refused connection.
    cause = type(getattr(reason, "reason", reason)).__name__
    raise ModelInstallError(
        f"{public(url)} cannot be downloaded: {_ATTEMPTS} attempts failed, the last with {cause}."
    ) from reason


def _continue(pool: urllib3.PoolManager, url: str, part: Path, say: Say) -> None:
    headers = {"Range": f"bytes={_size(part)}-"} if _size(part) else {}
    if headers and (tag := _tag(part)):
        headers["If-Range"] = tag[1]
    retries = urllib3.Retry(total=None, connect=0, read=0, redirect=_REDIRECTS)
    response = pool.request("GET", url, headers=headers, preload_content=False, retries=retries)
    try:
        if response.status not in (200, 206):
            _forget(part)
            raise ModelInstallError(f"{public(url)} cannot be downloaded: the server answers {response.status}.")
        if response.status == 200:
            _note_tag(part, url, response.headers.get("ETag"))
        _append(response, part, say)
    finally:
        response.close()


def _append(response: urllib3.BaseHTTPResponse, part: Path, say: Say) -> None:
    # 200 to a request with Range means that the server sends the whole file again.
    mode = "ab" if response.status == 206 else "wb"
    with part.open(mode) as file:
        total = file.tell() + int(response.headers.get("Content-Length", 0))
        for chunk in response.stream(_CHUNK_BYTES):
            tenths_before = 10 * file.tell() // max(1, total)
            file.write(chunk)
            if total and 10 * file.tell() // total > tenths_before:
                say(f"  {file.tell() / _MB:.1f} of {total / _MB:.1f} MB")


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _note_tag(part: Path, url: str, tag: str | None) -> None:
    # Weak tags (W/) do not promise the same bytes.
    _tag_file(part).unlink(missing_ok=True)
    if tag and not tag.startswith("W/"):
        _tag_file(part).write_text(f"{public(url)}\n{tag}")


def _tag(part: Path) -> tuple[str, str] | None:
    """Return the URL of a part and the server's ETag for it; None if the part cannot be resumed."""
    if not (part.exists() and _tag_file(part).exists()):
        return None
    url, _, tag = _tag_file(part).read_text().partition("\n")
    return url, tag


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size


def is_url(source: str) -> bool:
    """Tell whether a source is an address rather than a path."""
    return source.startswith(("http://", "https://"))


def public(url: str) -> str:
    """Return an address without its query, which may hold a signature."""
    return url.partition("?")[0]
