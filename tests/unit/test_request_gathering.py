"""Gathering of a request: whole as soon as a thread need not wait for the client, and not before."""

import pytest

from api.request_gathering import LARGE_BYTES, Gathering

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"


def gathered(*parts):
    gathering = Gathering()
    for part in parts:
        gathering.add(part)
    return gathering


@pytest.mark.parametrize("request_bytes", [HEAD + b"hello", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_request_is_whole_with_its_last_byte_wherever_it_is_cut(request_bytes):
    for cut in range(len(request_bytes)):
        assert not gathered(request_bytes[:cut]).whole
        assert gathered(request_bytes[:cut], request_bytes[cut:]).whole
    assert gathered(*(bytes([byte]) for byte in request_bytes)).whole


@pytest.mark.parametrize(
    ("length", "large"), [(LARGE_BYTES - 1, False), (LARGE_BYTES, True), (10**17, True)], ids=["small", "large", "huge"]
)
def test_only_a_large_body_is_left_to_the_thread(length, large):
    gathering = gathered(HEAD.replace(b"5", str(length).encode()))
    assert (gathering.large, gathering.whole) == (large, large)
    assert gathered(HEAD.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")).large


@pytest.mark.parametrize("damaged", [HEAD[:20] + b"\n", b"\nGET"])
def test_a_line_without_a_carriage_return_is_for_the_parser_to_refuse(damaged):
    assert gathered(*(bytes([byte]) for byte in damaged)).whole


def test_a_client_that_waits_is_invited_unless_it_speaks_http_1_0_or_has_begun():
    head = HEAD.replace(b"Host", b"Expect: 100-Continue\r\nHost")
    assert gathered(head).invited
    assert not gathered(head + b"h").invited
    assert not gathered(head.replace(b"HTTP/1.1", b"HTTP/1.0")).invited
    assert not gathered(HEAD).invited
