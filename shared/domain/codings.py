"""Codings of transfers: those that compress, told from words that code nothing."""

#: Codings that compress (RFC 9110, 8.4.1, and IANA's "HTTP Content Coding Registry").
_COMPRESSING = frozenset(("br", "compress", "dcb", "dcz", "deflate", "gzip", "x-compress", "x-gzip", "zstd"))


def compression(header: str) -> str:
    """Return the codings of a Content-Encoding or Transfer-Encoding header that compress; empty if none does.

    Storage repeats whatever uploaders said: `aws-chunked`, `utf-8`, `binary` and `none` change no byte.
    """
    codings = [word.partition(";")[0].strip().lower() for word in header.split(",")]
    return ", ".join(coding for coding in codings if coding in _COMPRESSING)
