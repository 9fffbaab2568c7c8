"""Bodies as hostile hosts send them; every download runs against a real host on this machine."""

import gzip
import io
import itertools
import random
import resource
import ssl
from dataclasses import replace

import pytest
import trustme

from shared.domain.addresses import AddressRules, HttpUrl
from shared.domain.errors import DownloadFailed, DownloadTimeout, FileTooLarge, JobFailure, UrlNotAllowed
from tests.support.origins import drips, for_ever, ok, origin, redirects_to, says
from worker.egress import Egress
from worker.recordings import download
from worker.recordings.download import Downloader

LIMIT = 100_000
BODY = bytes(range(256)) * 300
EGRESS = Egress(rules=AddressRules.parse("1-65535", "127.0.0.0/8"))


@pytest.fixture
def downloader():
    return Downloader(egress=EGRESS, max_bytes=LIMIT, timeout_s=30.0)


def fetched(downloader, host, path="a.wav?X-Amz-Signature=s"):
    file = io.BytesIO()
    downloader.download(HttpUrl.parse(f"http://127.0.0.1:{host.port}/{path}"), file)
    return file.getvalue()


@pytest.mark.parametrize(
    "answer",
    [
        ok(BODY),
        ok(BODY, "Content-Encoding: identity"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        ok(b""),
    ],
    ids=["length", "identity", "chunked", "until close", "empty"],
)
def test_a_body_arrives_whole_however_it_is_framed(answer, downloader):
    with origin(says(answer)) as host:
        assert fetched(downloader, host) in (BODY, b"")
        assert host.hits == 1


def test_a_presigned_address_is_asked_once_by_get_with_its_query_as_it_is_and_no_coding(downloader):
    with origin(says(ok(BODY))) as host:
        fetched(downloader, host, "b/%2Fx%20y?X-Amz-Credential=A%2FB&X-Amz-Signature=0f%2B")
        (request,) = host.requests
    line, *headers = request.decode().split("\r\n")
    assert line == "GET /b/%2Fx%20y?X-Amz-Credential=A%2FB&X-Amz-Signature=0f%2B HTTP/1.1"
    assert "Accept-Encoding: identity" in headers
    assert f"Host: 127.0.0.1:{host.port}" in headers
    assert not any(header.lower().startswith(("authorization", "cookie", "referer")) for header in headers)


def test_a_file_of_exactly_the_limit_passes_and_a_byte_more_does_not(downloader):
    for framing in (lambda body: ok(body), lambda body: b"HTTP/1.0 200 OK\r\n\r\n" + body):
        with origin(says(framing(b"x" * LIMIT))) as host:
            assert len(fetched(downloader, host)) == LIMIT
        with origin(says(framing(b"x" * (LIMIT + 1)))) as host, pytest.raises(FileTooLarge):
            fetched(downloader, host)


def test_a_length_over_the_limit_is_refused_before_anything_arrives(downloader):
    with origin(says(b"HTTP/1.1 200 OK\r\nContent-Length: 104857601\r\n\r\n")) as host, pytest.raises(FileTooLarge):
        fetched(downloader, host)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], ids=["none", "negative"]
)
def test_an_endless_body_is_left_at_the_limit_without_being_kept_in_memory(head, downloader):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    block = b"\0" * 65536
    with origin(drips(head, for_ever(block), 0.0)) as host, pytest.raises(FileTooLarge):
        fetched(downloader, host)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_endless_chunks_are_left_at_the_limit(downloader):
    chunk = b"10000\r\n" + b"\0" * 65536 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with origin(drips(head, for_ever(chunk), 0.0)) as host, pytest.raises(FileTooLarge):
        fetched(downloader, host)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-gzip", "compress"])
def test_a_compressed_transfer_is_refused_unread(coding, downloader):
    bomb = gzip.compress(b"\0" * 10_000_000)
    with origin(says(ok(bomb, f"Content-Encoding: {coding}"))) as host, pytest.raises(DownloadFailed, match="compress"):
        fetched(downloader, host)


def test_a_compressed_transfer_encoding_is_refused(downloader):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    with origin(says(answer)) as host, pytest.raises(DownloadFailed):
        fetched(downloader, host)


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 410, 416, 429, 500, 501])
def test_any_other_status_is_named_and_not_tried_again(status, downloader):
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    with origin(says(answer)) as host:
        with pytest.raises(DownloadFailed, match=f"status {status}"):
            fetched(downloader, host)
        assert host.hits == 1


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 76800\r\n\r\n" + BODY[:5000],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["hang-up", "cut short", "chunks cut short", "502", "503", "504"],
)
def test_what_the_network_broke_is_tried_once_more_from_the_start(first, downloader):
    answers = iter([first, ok(BODY)])
    with origin(lambda _, send: send(next(answers))) as host:
        assert fetched(downloader, host) == BODY
        assert host.hits == 2
    with origin(says(first)) as host:
        with pytest.raises(DownloadFailed):
            fetched(downloader, host)
        assert host.hits == 2


@pytest.mark.parametrize(
    "script",
    [
        drips(b"HTTP/1.1 200 OK\r\nX-", for_ever(b"."), 0.05),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 76800\r\n\r\n", for_ever(b"."), 0.05),
        drips(b"HTTP/1.1 200 OK\r\n\r\n", for_ever(b"."), 0.05),
    ],
    ids=["headers", "body", "body until close"],
)
def test_a_drip_ends_at_the_wall_clock_and_is_not_tried_again(script, downloader):
    with origin(script) as host:
        with pytest.raises(DownloadTimeout, match="within 1 seconds"):
            fetched(replace(downloader, timeout_s=1.0), host)
        assert host.hits == 1


@pytest.mark.parametrize(
    "drops", [for_ever(b"." * 100), itertools.chain([b"." * 100], for_ever(b""))], ids=["slow", "silent"]
)
def test_a_host_that_sends_less_than_the_least_rate_is_left_long_before_the_wall_clock(drops, downloader):
    script = drips(b"HTTP/1.1 200 OK\r\nContent-Length: 76800\r\n\r\n", drops, 0.1)
    with origin(script) as host, pytest.raises(DownloadTimeout, match=r"32 KiB|stopped coming"):
        fetched(replace(downloader, timeout_s=60.0), host)


def test_more_than_was_announced_is_not_read(downloader):
    with origin(says(ok(b"ten bytes!") + b"x" * 200_000)) as host:
        assert fetched(downloader, host) == b"ten bytes!"


def test_a_body_arrives_also_by_way_of_redirects(downloader):
    with origin(says(ok(BODY))) as last, origin(redirects_to(f"http://127.0.0.1:{last.port}/")) as first:
        assert fetched(downloader, first) == BODY


def test_what_may_not_be_opened_is_neither_opened_nor_tried_again(downloader):
    with origin(redirects_to("http://[::1]/")) as host:
        with pytest.raises(UrlNotAllowed):
            fetched(downloader, host)
        assert host.hits == 1


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def server_context(authority, *names, sni=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.sni_callback = lambda _socket, name, _context: sni.append(name) if sni is not None else None
    return context


def secure(ca_file):
    egress = Egress(rules=EGRESS.rules, ca_file=ca_file, resolve=lambda _: ["127.0.0.1"])
    return Downloader(egress=egress, max_bytes=LIMIT, timeout_s=30.0)


@pytest.mark.parametrize("name", ["files.example", "files.example."])
def test_https_dials_the_judged_address_with_the_names_sni_host_and_certificate(name, authority, ca_file):
    sni = []
    with origin(says(ok(BODY)), tls=server_context(authority, "files.example", sni=sni)) as host:
        file = io.BytesIO()
        secure(ca_file).download(HttpUrl.parse(f"https://{name}:{host.port}/a"), file)
        assert file.getvalue() == BODY
        assert f"Host: {name}:{host.port}".encode() in host.requests[0]
    assert sni == ["files.example"]


def test_a_certificate_of_another_name_or_of_nobody_we_know_is_refused_and_not_tried_again(authority, ca_file):
    for contexts in (server_context(authority, "other.example"), server_context(trustme.CA(), "files.example")):
        with origin(says(ok(BODY)), tls=contexts) as host:
            with pytest.raises(DownloadFailed, match="certificate"):
                secure(ca_file).download(HttpUrl.parse(f"https://files.example:{host.port}/a"), io.BytesIO())
            assert host.hits == 1
            assert host.requests == []


def test_a_redirect_from_https_to_http_is_refused(authority, ca_file):
    with origin(says(ok(BODY))) as plain:
        script = redirects_to(f"http://127.0.0.1:{plain.port}/")
        tls = server_context(authority, "files.example")
        with origin(script, tls=tls) as host, pytest.raises(UrlNotAllowed, match="less safe"):
            secure(ca_file).download(HttpUrl.parse(f"https://files.example:{host.port}/a"), io.BytesIO())
        assert plain.hits == 0


ANSWERS = [
    ok(b"0123456789"),
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"abcd", "Content-Encoding: identity"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5;x=y\r\nabcde\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabcde",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://xn--a/?\xc3\xa4\r\nContent-Length: 0\r\n\r\n",
]


def mutated(chance):
    answer = bytearray(chance.choice(ANSWERS))
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(answer))
        odd = bytes(chance.choices(b"\0\r\n 0123456789:;,-\xff", k=chance.randrange(1, 9)))
        answer[at : at + chance.randrange(9)] = odd
    return bytes(answer)


# urllib3 leaves it to the garbage collector to close the connections of some of these.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_a_host_answers_the_job_ends_with_an_error_of_its_own(downloader, monkeypatch):
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)
    chance, failed = random.Random(9), 0
    with origin(lambda _, send: send(mutated(chance))) as host:
        for _ in range(500):
            try:
                fetched(downloader, host)
            except JobFailure as failure:
                failed += 1
                assert "Signature" not in str(failure)
    assert 100 < failed < 500
