"""Bodies as hostile hosts send them; every download runs against a real host on this machine."""

import email.utils
import gc
import gzip
import io
import itertools
import random
import re
import resource
import ssl
import time
from dataclasses import replace

import pytest
import trustme

from shared.domain.addresses import AddressRules, HttpUrl
from shared.domain.errors import DownloadFailed, DownloadTimeout, FileTooLarge, JobFailure, NotAudio, UrlNotAllowed
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
        ok(BODY, "Content-Encoding: aws-chunked"),
        ok(BODY, "Content-Encoding: UTF-8", "Transfer-Encoding: identity"),
        ok(BODY, "Content-Encoding: none", "Content-Encoding: binary"),
        ok(BODY, "Content-Encoding:", "Transfer-Encoding:"),
        ok(BODY, "Content-Encoding: ,"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        ok(b""),
    ],
    ids=["length", "identity", "aws", "utf-8", "none", "no value", "no words", "chunked", "until close", "empty"],
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


CODINGS = [
    "gzip",
    "deflate",
    "br",
    "zstd",
    "GZIP",
    "identity, gzip",
    "x-gzip",
    "compress",
    "aws-chunked,gzip",
    "gzip;q=1",
]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_transfer_is_refused_unread_and_the_sentence_says_what_to_do(coding, downloader):
    bomb = gzip.compress(b"\0" * 10_000_000)
    told = r"The transfer is compressed \(Content-Encoding: [a-z-]+\); .* must send the file as it is\."
    with origin(says(ok(bomb, f"Content-Encoding: {coding}"))) as host, pytest.raises(DownloadFailed, match=told):
        fetched(downloader, host)


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "chunked\r\nTransfer-Encoding: deflate"])
def test_a_compressed_transfer_encoding_is_refused(coding, downloader):
    answer = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode()
    with origin(says(answer)) as host, pytest.raises(DownloadFailed, match=r"compressed \(Transfer-Encoding: "):
        fetched(downloader, host)


def status(number, *headers):
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {number} X\r\n{lines}Content-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("number", [201, 202, 204, 206, 300, 304, 400, 401, 403, 410, 416, 451, 501, 505])
def test_any_other_status_is_named_and_not_tried_again(number, downloader):
    with origin(says(status(number, "Retry-After: 0"))) as host:
        with pytest.raises(DownloadFailed, match=f"status {number}"):
            fetched(downloader, host)
        assert host.hits == 1


@pytest.mark.parametrize("number", [404, 408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_tried_once_more_and_no_more(number, downloader):
    answers = iter([status(number), ok(BODY)])
    with origin(lambda _, send: send(next(answers))) as host:
        assert fetched(downloader, host) == BODY
        assert host.hits == 2
    with origin(says(status(number, "Retry-After: 1"))) as host:
        with pytest.raises(DownloadFailed, match=f"status {number}"):
            fetched(downloader, host)
        assert host.hits == 2


def appearing(after_s, header):
    """Answer 404 with `header` until a recording appears, `after_s` after the first request."""
    came = []

    def script(_request, send):
        came.append(time.monotonic())
        send(ok(BODY) if came[-1] - came[0] >= after_s else status(404, *header))

    return script


def test_a_fresh_recording_may_appear_some_seconds_after_its_address(downloader):
    with origin(appearing(2.0, [])) as host:
        assert fetched(downloader, host) == BODY


@pytest.mark.parametrize("write", [str, lambda s: email.utils.formatdate(time.time() + s + 1, usegmt=True)])
def test_a_host_may_say_when_to_try_again(write, downloader):
    with origin(appearing(3.5, [f"Retry-After: {write(4)}"])) as host:
        assert fetched(downloader, host) == BODY


FOR_LONG = ["11", "3600", "9" * 400, email.utils.formatdate(time.time() + 7200, usegmt=True)]


@pytest.mark.parametrize("wait", FOR_LONG, ids=["11 s", "an hour", "for ever", "a date"])
def test_a_host_that_wants_to_be_left_alone_for_long_is_not_asked_again(wait, downloader):
    with origin(says(status(503, f"Retry-After: {wait}"))) as host:
        with pytest.raises(DownloadFailed, match="status 503"):
            fetched(downloader, host)
        assert host.hits == 1


def test_a_second_try_that_comes_too_late_is_not_waited_for(downloader):
    with origin(says(status(404))) as host:
        with pytest.raises(DownloadFailed, match="status 404"):
            fetched(replace(downloader, timeout_s=1.0), host)
        assert host.hits == 1


@pytest.mark.parametrize("wait", ["-1", "soon", "", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "\xb2", "Mon, 99 Foo 0000"])
def test_a_strange_retry_after_is_none(wait, downloader):
    answers = iter([f"HTTP/1.1 503 X\r\nRetry-After: {wait}\r\n\r\n".encode("latin-1"), ok(BODY)])
    with origin(lambda _, send: send(next(answers))) as host:
        assert fetched(downloader, host) == BODY


def part(content_range, *headers):
    return ok(BODY, f"Content-Range: {content_range}", *headers).replace(b"200 OK", b"206 Partial Content")


def test_a_part_that_is_everything_is_taken(downloader):
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    chunked = b"HTTP/1.1 206 X\r\nContent-Range: Bytes 0-76799/76800\r\n" + chunks
    for answer in (part("bytes 0-76799/76800"), chunked):
        with origin(says(answer)) as host:
            assert fetched(downloader, host) == BODY


PARTS = [
    "bytes 0-76799/76801", "bytes 1-76800/76801", "bytes 0-76799/*", "bytes */76800", "bytes 0-9/10", "",
    "bytes 0-76798/76800", "bytes=0-76799/76800", "lines 0-76799/76800", f"bytes 0-{'9' * 5000}/1{'0' * 5000}",
]  # fmt: skip


@pytest.mark.parametrize("content_range", PARTS)
def test_any_other_part_is_refused(content_range, downloader):
    with origin(says(part(content_range))) as host:
        with pytest.raises(DownloadFailed, match=r"a part of the file \(status 206\)"):
            fetched(downloader, host)
        assert host.hits == 1


PAGES = [
    ("text/html", b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page, text/html,"),
    ("text/html; charset=utf-8", b"\xef\xbb\xbf\r\n\t  <html>", "a web page, text/html,"),
    ("TEXT/HTML;charset=UTF-8", b"\n" * 2000 + b"<!-- " + b"x" * 9000 + b" --><html>", "a web page, text/html,"),
    ("application/xhtml+xml", b'<?xml version="1.0"?><html>', "a web page, application/xhtml"),
    ("application/json", b' {"error": "not found"}', "JSON, application/json,"),
    ("application/json; charset=utf-8", b"[]", "JSON, application/json,"),
]


@pytest.mark.parametrize(("kind", "body", "name"), PAGES)
def test_a_document_in_place_of_a_recording_is_named_and_not_tried_again(kind, body, name, downloader):
    dripped = drips(ok(b"", f"Content-Type: {kind}").replace(b"Length: 0", b"Length: 99999"), [body], 0.1)
    for script in (says(ok(body, f"Content-Type: {kind}")), dripped if len(body) > 4096 else None):
        if script:
            with origin(script) as host:
                with pytest.raises(NotAudio, match=f"The address gave {re.escape(name)}.* direct link"):
                    fetched(downloader, host)
                assert host.hits == 1


RECORDINGS = [
    ("text/html", BODY),
    ("text/html", b"RIFF\0\0\0\0WAVE<html>"),
    ("text/html", b""),
    ("text/html", b" \r\n"),
    ("application/json", b"\xff\xfb{"),
    ("application/json", b"<"),
    ("text/plain", b"<html>"),
    ("audio/wav", b"{}"),
    ("", b"<html>"),
]


@pytest.mark.parametrize(("kind", "body"), RECORDINGS)
def test_whatever_does_not_begin_like_the_document_it_is_said_to_be_is_left_to_the_decoder(kind, body, downloader):
    with origin(says(ok(body, f"Content-Type: {kind}"))) as host:
        assert fetched(downloader, host) == body


def test_a_page_with_another_status_is_told_by_its_status(downloader):
    page = ok(b"<html>", "Content-Type: text/html").replace(b"200 OK", b"403 Forbidden")
    with origin(says(page)) as host, pytest.raises(DownloadFailed, match="status 403"):
        fetched(downloader, host)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 76800\r\n\r\n" + BODY[:5000],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
    ids=["hang-up", "cut short", "chunks cut short"],
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


UNMEASURED = b"." * download.UNMEASURED_BYTES


@pytest.mark.parametrize(
    ("head", "drops"),
    [
        (UNMEASURED, for_ever(b"." * 100)),
        (UNMEASURED, itertools.chain([b"." * 100], for_ever(b""))),
        (b"", itertools.chain([b"." * 100], for_ever(b""))),
    ],
    ids=["slow", "silent", "silent from the start"],
)
def test_a_host_that_sends_less_than_the_least_rate_is_left_long_before_the_wall_clock(head, drops, downloader):
    script = drips(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + head, drops, 0.1)
    patient = replace(downloader, timeout_s=60.0, max_bytes=10**6)
    with origin(script) as host, pytest.raises(DownloadTimeout, match=r"32 KiB|stopped coming"):
        fetched(patient, host)


def test_a_voice_note_may_come_as_slowly_as_it_is_spoken(downloader):
    # 27 KB in 13 s.
    with origin(drips(b"HTTP/1.1 200 OK\r\nContent-Length: 27000\r\n\r\n", [b"." * 1800] * 15, 13 / 15)) as host:
        assert len(fetched(downloader, host)) == 27_000


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
    # Here, where its warnings are expected.
    gc.collect()
    assert 100 < failed < 500
