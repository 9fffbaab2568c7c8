"""Sources of recordings: an http(s) URL, an upload (`media://`), or an object in a listed bucket (`s3://`)."""

import re
from dataclasses import dataclass
from posixpath import normpath
from urllib.parse import unquote, urlsplit

from shared.domain.addresses import HttpUrl, InvalidAddress
from shared.domain.text import one_line

#: Beginning of the keys of uploads that the service makes itself.
SERVICE_UPLOADS = ".audios/"
#: Most characters of a source's name.
MAX_NAME_LENGTH = 200
#: Path of an address of this service, whose last segment is its signature.
_SIGNED_PATH = re.compile(r"/v1/media/(upload|download)/[^/]*$")
#: Query or fragment whose sign was escaped, so that it counts as path.
_ESCAPED_QUERY = re.compile(r"%(3f|23).*", re.IGNORECASE)
#: Parameters of a segment (RFC 3986, 3.3), which may hold what a query does.
_PARAMETERS = re.compile(r"(;|%3b).*", re.IGNORECASE)
_MEDIA_SCHEME = "media://"
_S3_SCHEME = "s3://"
#: Keys of uploads, in the dialect of regular expressions that JSON Schema and Python share. HTTP clients take segments
#: of one or two dots out of a path (RFC 3986, 5.2.4), so that a DELETE would not reach such a key.
MEDIA_KEY_PATTERN = r"(?!(.*/)?\.\.?(/|$))[a-zA-Z0-9\-_./]+"
_MEDIA_KEY = re.compile(MEDIA_KEY_PATTERN)
#: Keys that an earlier release took may have such segments.
_STORED_MEDIA = re.compile(r"media://([a-zA-Z0-9\-_./]+)")
#: Bucket names (the S3 user guide, "General purpose bucket naming rules"), and keys without control characters.
_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.\-]{1,61}[a-z0-9])/([^\x00-\x1f\x7f]+)")


@dataclass(frozen=True)
class MediaUrl:
    """Upload of the client's own: `media://KEY`."""

    key: str

    @classmethod
    def parse(cls, text: str) -> "MediaUrl":
        """Parse `media://KEY`.

        Raises
        ------
        InvalidAddress
        """
        key = text.removeprefix(_MEDIA_SCHEME)
        if not text.startswith(_MEDIA_SCHEME) or not _MEDIA_KEY.fullmatch(key):
            raise InvalidAddress(
                "Must be media:// followed by letters, digits, '-', '_', '.' or '/', without the segments '.' and '..'."
            )
        return cls(key)

    @property
    def text(self) -> str:
        """The whole address."""
        return _MEDIA_SCHEME + self.key


@dataclass(frozen=True)
class S3Url:
    """Object in a bucket: `s3://BUCKET/KEY`."""

    bucket: str
    key: str

    @property
    def text(self) -> str:
        """The whole address."""
        return f"{_S3_SCHEME}{self.bucket}/{self.key}"


Source = HttpUrl | MediaUrl | S3Url


def source_name(source: Source) -> str | None:
    """Return a source's name for people, its path's last segment; None without one, or for a signature."""
    if isinstance(source, MediaUrl):
        return None if source.key.startswith(SERVICE_UPLOADS) else _last_segment(source.key)
    if isinstance(source, S3Url):
        return _last_segment(source.key)
    path = _ESCAPED_QUERY.sub("", urlsplit(source.text).path)
    if _SIGNED_PATH.search(normpath(unquote(path))):
        return None
    return _last_segment(unquote(_PARAMETERS.sub("", path.rpartition("/")[2])))


def _last_segment(path: str) -> str | None:
    return one_line(path.rpartition("/")[2])[:MAX_NAME_LENGTH] or None


def stored_source(text: str) -> Source:
    """Parse the address of a job's record, which an earlier release may have written; raises InvalidAddress."""
    stored = _STORED_MEDIA.fullmatch(text)
    return MediaUrl(stored[1]) if stored else parse_source(text)


def parse_source(text: str) -> Source:
    """Parse a recording's address.

    Raises
    ------
    InvalidAddress
    """
    if text.startswith(_MEDIA_SCHEME):
        return MediaUrl.parse(text)
    if found := _S3.fullmatch(text):
        return S3Url(*found.groups())
    try:
        return HttpUrl.parse(text)
    except InvalidAddress:
        raise InvalidAddress(
            "Must be an http:// or https:// address in ASCII without user name or password, or media://."
        ) from None
