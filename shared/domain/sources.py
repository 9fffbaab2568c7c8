"""Sources of recordings: an http(s) URL, an upload (`media://`), or an object in a listed bucket (`s3://`)."""

import re
from dataclasses import dataclass

from shared.domain.addresses import HttpUrl, InvalidAddress

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
