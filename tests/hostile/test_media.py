"""Stored recordings over HTTP: put, listed, downloaded, removed, by signed addresses that are good for one thing."""

import gzip
import hashlib
import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.apis import api
from tests.support.client import put


@pytest.fixture(scope="module")
def client(tmp_path_factory, redis_server):
    limits = {"posts_per_minute": 10**6, "reads_per_minute": 10**6, "max_file_bytes": 100_000}
    limits |= {"max_diarize_bytes": 100_000}
    with api(tmp_path_factory.mktemp("media"), redis_server.url, **limits) as client:
        yield client


def items(client, **query):
    return client.send("GET", "/v1/media", params=query).json()


def test_a_recording_is_put_listed_downloaded_and_removed_with_a_receipt(client):
    url = client.upload("in/hello.wav", b"content")
    (item,) = [item for item in items(client)["items"] if item["url"] == url]
    assert item["bytes"] == 7
    assert item["storedAt"].endswith("Z")
    address = client.post("/v1/media/output", url=url)
    assert address.status_code == 201
    got = requests.get(address.json()["url"], timeout=5)
    assert got.content == b"content"
    assert got.headers["Content-Type"] == "audio/wav"
    assert "attachment" in got.headers["Content-Disposition"]
    receipt = client.send("DELETE", "/v1/media/in/hello.wav")
    assert receipt.json() == {"url": url, "sha256": hashlib.sha256(b"content").hexdigest()}
    assert requests.get(address.json()["url"], timeout=5).status_code == 404
    assert client.send("DELETE", "/v1/media/in/hello.wav").status_code == 404
    assert client.post("/v1/media/output", url=url).status_code == 404


@pytest.mark.parametrize("key", ["input", "output", "upload/x", "download/x", "a.b-c_d", "media"])
def test_any_key_can_be_removed_also_one_named_like_an_address_of_ours(key, client):
    client.upload(key, b"x")
    assert client.send("DELETE", f"/v1/media/{key}").status_code == 200


@pytest.mark.parametrize(("key", "other"), [("/lead", "lead"), ("a//b", "a/b"), ("end/", "end")])
def test_each_slash_of_a_key_counts_when_it_is_removed(key, other, client):
    for name in (key, other):
        client.upload(name, name.encode())
    receipt = client.send("DELETE", f"/v1/media/{key}").json()
    assert receipt == {"url": f"media://{key}", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    assert client.send("DELETE", f"/v1/media/{other}").status_code == 200


def test_the_list_goes_page_by_page(client):
    for i in range(5):
        client.upload(f"page-{i}", b"x")
    seen, cursor = [], ""
    while cursor is not None:
        page = items(client, limit=2, cursor=cursor)
        seen += [item["url"] for item in page["items"]]
        cursor = page["nextCursor"]
    assert sorted(url for url in seen if "page" in url) == [f"media://page-{i}" for i in range(5)]
    for wrong in (
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"cursor": "\n"},
        {"cursor": "ü"},
        {"cursor": "page-1"},
    ):
        answer = client.send("GET", "/v1/media", params=wrong)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, next(iter(wrong)))


def test_an_address_is_good_for_its_own_purpose_only(client):
    url = client.upload("purpose", b"x")
    upload, download = client.address(url), client.post("/v1/media/output", url=url).json()["url"]
    swapped = upload.replace("/upload/", "/download/"), download.replace("/download/", "/upload/")
    assert requests.get(swapped[0], timeout=5).status_code == 404
    assert put(swapped[1], b"y").status_code == 404
    assert requests.get(download[:-1], timeout=5).status_code == 404
    assert requests.get(download, timeout=5).content == b"x"


def test_a_body_over_the_limit_is_refused_while_it_is_read_and_leaves_the_old_one(client):
    url = client.upload("limited", b"old")
    for body in (b"x" * 100_001, iter([b"x" * 60_000] * 2)):
        assert put(client.address(url), body).status_code == 413
    assert put(client.address(url), iter([b"new", b"er"])).status_code == 200
    assert requests.get(client.post("/v1/media/output", url=url).json()["url"], timeout=5).content == b"newer"


PART = (
    b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF....\r\n--x--'
)
TURNED = b'Content-Type: audio/wav\r\ncontent-disposition:form-data; name="file"\r\n\r\nRIFF....\r\n--x--'
FORMS = {
    "as browsers write them": b"------WebKitFormBoundaryabc\r\n" + PART,
    "as curl writes them": b"--------------------------1c0d3a7d9a8b5c4e\r\n" + PART,
    "with its headers the other way round": b"--x\r\n" + TURNED,
    "with bare ends of lines": b"--x\n" + PART,
    "after a blank line": b"\r\n--x\r\n" + PART,
    "long": b"--x\r\n" + PART + b"\0" * 90_000,
}


def form(body, **fields):
    return requests.Request("PUT", "http://x/", files={"file": ("a.wav", body)}, data=fields).prepare()


def refused_as_no_bare_file(client, answer, words):
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), answer.text
    assert all(word in answer.json()["message"] for word in words)
    assert "media://form.wav" not in [item["url"] for item in items(client, limit=1000)["items"]]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_refused_whatever_it_says_it_is_and_is_not_stored(name, chunked, client):
    body = FORMS[name]
    sent = iter([body[i : i + 1] for i in range(200)] + [body[200:]]) if chunked else body
    answer = put(client.address("media://form.wav"), sent, Content_Type="audio/wav")
    refused_as_no_bare_file(client, answer, ["multipart form", "curl -T FILE", "data=file"])


def test_a_form_is_refused_also_by_what_it_says_it_is_and_leaves_the_old_file(client):
    url = client.upload("old.wav", b"old")
    made = form(b"RIFF....", name="a field before it")
    answer = put(client.address(url), made.body, Content_Type=made.headers["Content-Type"])
    refused_as_no_bare_file(client, answer, ["multipart form"])
    answer = put(client.address(url), b"RIFF....", Content_Type='Multipart/Form-Data; boundary="x"')
    refused_as_no_bare_file(client, answer, ["multipart form"])
    assert requests.get(client.post("/v1/media/output", url=url).json()["url"], timeout=5).content == b"old"


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "x-gzip", "deflate", "zstd", "compress", "aws-chunked, gzip"])
def test_a_compressed_upload_is_refused_and_not_stored(coding, client):
    answer = put(client.address("media://form.wav"), gzip.compress(b"RIFF...."), Content_Encoding=coding)
    refused_as_no_bare_file(client, answer, ["compressed (Content-Encoding: ", "curl -T FILE"])


@pytest.mark.parametrize("coding", ["", "identity", "aws-chunked", "utf-8", "none", "binary"])
def test_a_word_that_codes_nothing_is_taken(coding, client):
    assert put(client.address("media://coded.wav"), b"x", Content_Encoding=coding).status_code == 200


@pytest.mark.parametrize(
    "body", [b"--", b"--x\r\n", b"--x\r\nRIFF\r\n", b"-" * 90_000, b"--x\r\n" + b"a:b\r\n" * 10_000, b"\r\n" * 40_000]
)
def test_what_only_looks_a_little_like_a_form_is_taken(body, client):
    assert put(client.address("media://dashes.wav"), body).status_code == 200


def test_a_large_form_is_answered_before_the_connection_ends(client):
    address = urlsplit(client.address("media://form.wav"))
    body = b"--x\r\n" + PART + b"\0" * 90_000
    head = f"PUT {address.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\nConnection: close\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 415 ")


@pytest.mark.parametrize("body", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n"])
def test_a_body_that_is_not_well_chunked_is_refused_and_not_stored(body, client):
    address = urlsplit(client.address("media://chunks.wav"))
    head = f"PUT {address.path} HTTP/1.1\r\nHost: host\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"invalid_request"' in answer
    assert "media://chunks.wav" not in [item["url"] for item in items(client)["items"]]
