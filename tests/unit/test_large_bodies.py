"""Large JSON bodies: their file comes back whole, and nothing that clients can send takes time or memory."""

import base64
import json
import random
import tempfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import large_bodies
from api.errors import InvalidRequest
from api.large_bodies import LongString, NotBase64, decoded, decoded_bytes, parsed

MEGABYTES_32 = 32 * 1024 * 1024


def fields_of(body, read=dict):
    """Return what `read` makes of the fields of a body."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(body)
        with parsed(file) as fields:
            return read(fields)


def file_of(body):
    return fields_of(body, lambda fields: b"".join(decoded(fields["file"])))


def in_lines(text, end):
    return "".join(text[at : at + 76] + end for at in range(0, len(text), 76))


#: Ways in which programs write base64 into JSON.
WRITINGS = {
    "plain": json.dumps,
    "without padding": lambda text: json.dumps(text.rstrip("=")),
    "of a browser": lambda text: json.dumps(f"data:audio/mp4;codecs=mp4a.40.2;base64,{text}"),
    "in lines": lambda text: json.dumps(in_lines(text, "\r\n")),
    "in lines by a shell": lambda text: f'"{in_lines(text, chr(10))}"',
    "by PHP": lambda text: json.dumps(text).replace("/", r"\/"),
    "for HTML": lambda text: json.dumps(text).replace("=", r"\u003d").replace("+", r"\u002B"),
    "all escaped": lambda text: '"' + "".join(f"\\u{ord(one):04x}" for one in text) + '"',
}


@pytest.mark.parametrize("size", [1, 2, 3, 40, 100_000, 3 * (1 << 20)])
@pytest.mark.parametrize("writing", WRITINGS)
def test_a_file_comes_back_however_it_was_written(writing, size):
    content = random.Random(size).randbytes(size)
    body = f'{{"a": 1, "file": {WRITINGS[writing](base64.b64encode(content).decode())}, "b": "ü"}}'
    assert file_of(body.encode()) == content
    assert fields_of(body.encode())["b"] == "ü"


@given(content=st.binary(min_size=1, max_size=400), writing=st.sampled_from(sorted(WRITINGS)))
def test_a_file_comes_back_wherever_it_is_cut(content, writing):
    body = f'{{"file": {WRITINGS[writing](base64.b64encode(content).decode())}}}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_bodies, "_LONG_BYTES", 64)
        # The beginning of a data URL fits into one.
        patch.setattr(large_bodies, "_PIECE_BYTES", 48)
        assert file_of(body.encode()) == content


def test_the_size_of_a_file_is_never_guessed_too_small():
    for size in range(1, 50):
        text = base64.b64encode(bytes(size)).decode()
        assert size <= decoded_bytes(text.rstrip("=")) <= decoded_bytes(text)


@pytest.mark.parametrize(
    "text", ["", "  ", "%%%", "ä", "AAAAA", "AA=A", "QQ==QQ==", "=", "data:audio/aac;base64,", "data:,AAAA", r"AA\\A"]
)
def test_what_is_no_base64_is_refused_short_or_long(text):
    for one in (text, "A" * 100_000 + text) if text.strip() and "data" not in text else (text,):
        with pytest.raises(NotBase64):
            file_of(f'{{"file": "{one}"}}'.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"1", b"null", b'"' + b"A" * 100_000 + b'"', b"{", b'{"a": NaN}', b'{"a": "\xff"}', b'{"a": "\\ud800"}',
        b'{"a": 1' + b"0" * 5000 + b"}", b"[" * 10_000, b'{"a": "' + b"A" * 100_000,
        b'{"a": "' + b"A" * 100_000 + b'" 1}',
    ],
    ids=lambda body: body[:12].decode("latin-1"),
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(InvalidRequest):
        fields_of(body)


def test_no_body_is_an_empty_object():
    assert fields_of(b"") == {}


def test_a_long_string_stays_on_the_disk_wherever_it_is():
    body = json.dumps({"file": "A" * 100_000, "inner": {"text": "B" * 100_000}, "short": "C" * 1000}).encode()
    found = fields_of(body)
    assert isinstance(found["file"], LongString) and isinstance(found["inner"]["text"], LongString)
    assert (len(found["file"]), found["short"]) == (100_000, "C" * 1000)
    assert "A" * 100 not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'"%s"' % (b"A" * MEGABYTES_32), id="a file"),
        pytest.param(b'"%s\xf0\x9f\x98\x80"' % (b"A" * MEGABYTES_32), id="a file and a character of 4 bytes"),
        pytest.param(b'"%s"' % (b'\\"' * (MEGABYTES_32 // 2)), id="quotes in a string"),
        # Each of its quotes looked at to the end of the body would take days.
        pytest.param(b'"%s' % (b'\\"' * (MEGABYTES_32 // 2)), id="quotes in a string that nothing ends"),
        pytest.param(b"[%s0]" % (b"0," * (MEGABYTES_32 // 2)), id="numbers"),
        pytest.param(b'["%s"]' % (b'","' * (MEGABYTES_32 // 3)), id="strings"),
        pytest.param(b"[" * MEGABYTES_32, id="brackets"),
        pytest.param(b'[%s""]' % (b'"%s",' % (b"x" * 16_400) * 2000), id="long strings"),
    ],
)
def test_a_body_takes_little_memory_whatever_is_in_it(text):
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b'{"file": %s}' % text)
        tracemalloc.start()
        try:
            with parsed(file) as fields:
                for _ in decoded(fields["file"]):
                    pass
        except (InvalidRequest, NotBase64, TypeError):
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < 8_000_000
