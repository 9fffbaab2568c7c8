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
    assert headers["X-Request-Id"] == error["requestId"]
    log = next(folder.glob("api-*.log"))
    eventually(lambda: error["requestId"] in log.read_text())
    assert SECRET.decode() not in log.read_text()


def test_a_request_that_does_not_say_where_it_goes_gets_no_address(client):
    body = b'{"url":"media://a"}'
    head = f"POST /v1/media/input HTTP/1.1\r\nHost: a/b?\r\nAuthorization: Bearer {client.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    status, _, answered = answer(client, head.encode() + body)
    assert (status, json.loads(answered)["errors"][0]["field"]) == (400, "Host")
