"""Text that people give, where it must stand on one line."""

import unicodedata

#: Unicode's categories of control characters, halves of surrogate pairs, and separators of lines and paragraphs.
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")
#: Bidirectional embeddings, overrides and isolates (UAX #9, 2), which make a text look like another one.
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def has_controls(text: str) -> bool:
    """Tell whether a text holds control characters, ends of lines or signs that turn its direction."""
    return any(map(_is_control, text))


def one_line(text: str) -> str:
    """Return a text on one line: runs of white space and of what `has_controls` finds become single blanks."""
    plain = (" " if _is_control(character) else character for character in text)
    return " ".join("".join(plain).split())


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in _CONTROLS or character in _TURNING
