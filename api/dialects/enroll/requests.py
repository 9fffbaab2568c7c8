"""Bodies of calls, read field by field: each fault has a code of its own."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from api.large_bodies import LongString
from shared.dialects.enroll import Code, Method, Refusal
from shared.domain.speech import ContentRequest, PhraseRule
from shared.domain.words import normalise

#: Most characters of a reference, and of a phrase.
_MOST_REF = 1024
_MOST_PHRASE = 1000
#: Most numbers of a vector that are looked at.
_MOST_NUMBERS = 5000
_PRECISIONS = ("full", "quick", "ultraquick")
#: Language and perhaps region: `NL-NL`.
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{2}|[0-9]{3}))?", re.IGNORECASE)

Fields = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Call:
    """Call to enrol a voice or, with a vector, to verify one."""

    audio: str | LongString = field(repr=False)
    method: Method
    #: What is asked of the words of the recording; None: nothing.
    content: ContentRequest | None
    vector: Sequence[float] | None = field(repr=False)


def read_ref(fields: Fields) -> str:
    """Return the reference, which every answer echoes; raises Refusal."""
    ref = _text(fields, "ref")
    if len(ref) > _MOST_REF:
        raise _wrong("ref", f"Longer than {_MOST_REF} characters.")
    return ref


def read_key(fields: Fields) -> str:
    """Return the API key; empty where there is none that can be one."""
    key = fields.get("api_key")
    return key if isinstance(key, str) and key.isascii() else ""


def read_call(fields: Fields, *, verifies: bool) -> Call:
    """Return the rest of a call.

    Parameters
    ----------
    verifies : whether it must have a vector.

    Raises
    ------
    Refusal
    """
    audio = fields.get("audio")
    if not isinstance(audio, str | LongString) or not len(audio):
        raise _wrong("audio", "Send the recording in base64.")
    vector = _vector(fields.get("vector"))
    if verifies and vector is None:
        raise _wrong("vector", "Send the vector that the enrolment gave.")
    method = _method(fields)
    return Call(audio=audio, method=method, content=_content(fields, method), vector=vector)


def _text(fields: Fields, name: str) -> str:
    found = fields.get(name)
    if found is None:
        return ""
    if isinstance(found, LongString):
        raise _wrong(name, "Too long.")
    if not isinstance(found, str):
        raise _wrong(name, "Must be a string.")
    return found


def _method(fields: Fields) -> Method:
    text = _text(fields, "method")
    if not text:
        raise _wrong("method", f"Send one of: {', '.join(Method)}.")
    try:
        return Method(text)
    except ValueError:
        raise Refusal(Code.METHOD, f"method: There is no such method; send one of: {', '.join(Method)}.") from None


def _content(fields: Fields, method: Method) -> ContentRequest | None:
    given = fields.get("content")
    content = {} if given is None else given
    if not isinstance(content, dict):
        raise _wrong("content", "Must be an object.")
    include = content.get("include")
    if include is not None and not isinstance(include, bool):
        raise _wrong("content.include", "Must be true or false.")
    if (_text(content, "precision") or _PRECISIONS[0]) not in _PRECISIONS:
        raise _wrong("content.precision", f"Send one of: {', '.join(_PRECISIONS)}.")
    language = _language(_text(content, "language"))
    phrase = _phrase(fields, method)
    if not include and phrase is None:
        return None
    rule = PhraseRule.WORDS if method is Method.LIVENESS else PhraseRule.SENTENCE
    return ContentRequest(language=language, phrase=phrase, rule=rule, told=bool(include))


def _language(text: str) -> str | None:
    """Return a language in the usual case, `en-US`; None for an empty one."""
    if not text:
        return None
    found = _LANGUAGE.fullmatch(text)
    if not found:
        raise _wrong("content.language", "Must be a language and perhaps a region: EN-US, say.")
    return found[1].lower() if found[2] is None else f"{found[1].lower()}-{found[2].upper()}"


def _phrase(fields: Fields, method: Method) -> str | None:
    """Return the phrase that is to be said; None for any."""
    phrase = _text(fields, "phrase").strip()
    if len(phrase) > _MOST_PHRASE:
        raise _wrong("phrase", f"Longer than {_MOST_PHRASE} characters.")
    if not phrase and method.needs_phrase:
        raise Refusal(Code.METHOD, f"phrase: {method} needs the words that are to be said.")
    if not phrase or method is Method.INDEPENDENT:
        return None
    if not normalise(phrase):
        raise Refusal(Code.METHOD, "phrase: It has no words that a recording could say; send letters or digits.")
    return phrase


def _vector(given: Any) -> Sequence[float] | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > _MOST_NUMBERS:
        raise _wrong("vector", "Must be the list of numbers that the enrolment gave.")
    return [_number(one) for one in given]


def _number(given: Any) -> float:
    try:
        number = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong("vector", "Must hold nothing but numbers.")
    return number


def _wrong(name: str, message: str) -> Refusal:
    return Refusal(Code.BODY, f"{name}: {message}")
