"""Requests that are hardly HTTP, byte for byte: each is answered as all errors are, and can be found in the log."""

import json
import socket
import uuid

import pytest

from tests.support.apis import api
from tests.support.client import eventually

POST = b"POST /v1/voiceprint HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /v1/test HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"PUT %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SECRET = b"sk_" + uuid.uuid4().hex.encode()
REQUESTS = {
    "a long line": (b"GET /" + SECRET + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 413),
    "a long header": (GET + b"X: " + SECRET + b"a" * 9000 + b"\r\n\r\n", 413),
    "many headers": (GET + b"X: y\r\n" * 200 + b"\r\n", 413),
    "no request": (SECRET + b"\r\n\r\n", 400),
    "no such version": (b"GET /" + SECRET + b" HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    "no method": (b"G(T /" + SECRET + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no header": (GET + SECRET + b" y: z\r\n\r\n", 400),
    "a null": (GET + b"X: " + SECRET + b"\0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "a negative length": (POST + b"Content-Length: -5\r\n\r\n", 400),
    "a length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
    "two codings": (POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400),
    "two lines of codings": (
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "an expectation": (POST + b"Expect: " + SECRET + b"\r\nContent-Length: 2\r\n\r\n{}", 400),
    "another protocol": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a proxy's line": (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + GET + b"\r\n", 400),
    "a chunk without a size": (CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk without an end": (CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", 400),
    "a chunk cut off": (CHUNKED + b"ffff\r\nabc", 400),
    "a body cut off": (b"PUT %b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 400),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("raw")


@pytest.fixture(scope="module")
def client(folder, redis_server):
    with api(folder, redis_server.url) as client:
        yield client


def answer(client, request):
    """Return status, headers and body of what is answered to these bytes."""
    host, _, port = client.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ") for line in headers), body


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_hardly_http_is_answered_as_all_errors_are(name, client, folder):
    request, expected = REQUESTS[name]
    path = client.address("media://x").removeprefix(client.url).encode()
    status, headers, body = answer(client, request.replace(b"%b", path))
    error = json.loads(body)
    assert status == expected
    assert headers["Content-Type"] == "application/json"
    assert error["code"] == {400: "invalid_request", 413: "request_too_large"}[status]
    assert error["message"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Request-Id"] == error["requestId"]
    log = next(folder.glob("api-*.log"))
    eventually(lambda: error["requestId"] in log.read_text())
    assert SECRET.decode() not in log.read_text()


@pytest.mark.parametrize("sent", [b"", b'{"url": "med'])
def test_json_that_never_comes_or_breaks_off_is_refused_and_no_bug(sent, client, folder):
    head = f"POST /v1/media/input HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {client.key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    status, _, body = answer(client, head.encode() + sent)
    assert (status, json.loads(body)["code"]) == (400, "invalid_request")
    assert "unhandled error" not in next(folder.glob("api-*.log")).read_text()


def address_for(client, host):
    """Ask for an address at a host; returns the status and what is answered."""
    body = b'{"url":"media://a"}'
    head = f"POST /v1/media/input HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {client.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    status, _, answered = answer(client, head.encode() + body)
    return status, json.loads(answered)


@pytest.mark.parametrize(
    "host",
    ["", "a/b?", "elsewhere.example", "10.0.0.1:8000", "[abc:]", "localhost.elsewhere.example", "x@localhost", "0"],
)
def test_a_host_that_is_not_surely_the_apis_own_gets_into_no_address(client, host):
    status, answered = address_for(client, host)
    assert (status, answered["errors"][0]["field"]) == (400, "Host")
    assert "TIMBRE_PUBLIC_URL" in answered["message"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.2", "[::1]:8000"])
def test_a_loopback_host_gets_an_address_there(client, host):
    status, answered = address_for(client, host)
    assert status == 201
    assert answered["url"].startswith(f"http://{host.lower()}/v1/media/upload/")
