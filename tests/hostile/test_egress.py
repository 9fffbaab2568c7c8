"""The door to clients' addresses against what hostile people write, counted at a canary that must see nobody."""

import itertools
import re
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.domain.addresses import AddressRules, HttpUrl
from tests.support.egress import OPEN, fetch
from tests.support.origins import drips, for_ever, ok, origin, redirects_to, says
from worker.egress import (
    GET_REDIRECTS,
    POST_REDIRECTS,
    AddressRefused,
    ConnectionBroken,
    Egress,
    EgressError,
    EgressTimeout,
    TooManyRedirects,
    system_resolver,
)

ANY_PORT = (range(1, 65_536),)
#: Names as the test's DNS knows them; whatever else is asked for goes to the machine's own resolver.
DNS = {
    "private.example": ["10.0.0.1"],
    "loopback.example": ["127.0.0.1"],
    "six.example": ["::1"],
    "mixed.example": ["8.8.8.8", "127.0.0.1"],
    "mixed-six.example": ["2606:4700::1111", "::ffff:127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "cgnat.example": ["100.64.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "multicast.example": ["224.0.0.1"],
    "zoned.example": ["fe80::1%lo"],
    "nothing.example": [],
    "origin.example": ["127.0.0.1"],
    "xn--mnchen-3ya.example": ["127.0.0.1"],
    # As the hosts file of many machines has it, and as services answer that tell any address by its name.
    "ip6-localhost": ["::1"],
    "127.0.0.1.nip.invalid": ["127.0.0.1"],
}

#: {P} is the canary's port. Everything a hostile person might write to reach this machine or its neighbours.
SHAPES = (Path(__file__).parent / "addresses.txt").read_text().split()
BLANKS = [
    "http://127.0.0.1:{P}/\r\nX: y", "http://127.0.0.1 :{P}/", " http://127.0.0.1:{P}/", "ht\ntp://127.0.0.1:{P}/",
    "http://127.0.0.1\t:{P}/", "http://example.org\x00@127.0.0.1:{P}/", "http://127.0.0.1:{P}/\x7f", "",
    "http://127.0.0.1:{P}/" + "x" * 10_000,
]  # fmt: skip


def resolver(host):
    name = host.lower().rstrip(".")
    return DNS[name] if name in DNS else system_resolver(host)


@pytest.fixture
def canaries():
    with ExitStack() as stack:
        yield [stack.enter_context(origin(says(ok(b"inside")), address)) for address in ("127.0.0.1", "::1")]


def hits(canaries):
    return sum(canary.hits for canary in canaries)


def test_there_are_more_than_sixty_shapes_and_the_canary_answers_those_who_may_come(canaries):
    assert len(SHAPES) + len(BLANKS) > 60
    open_door = Egress(rules=AddressRules.parse("1-65535", "127.0.0.0/8, ::1"))
    for canary, host in zip(canaries, ("127.0.0.1", "[::1]"), strict=True):
        assert fetch(open_door, f"http://{host}:{canary.port}/") == (200, b"inside")
    assert hits(canaries) == 2


@pytest.mark.parametrize("shape", SHAPES + BLANKS)
def test_no_way_of_writing_an_address_reaches_inside(shape, canaries):
    egress = Egress(rules=AddressRules(ports=ANY_PORT), resolve=resolver)
    for canary in canaries:
        with pytest.raises(EgressError) as caught:
            fetch(egress, shape.replace("{P}", str(canary.port)))
        # Nobody was dialled: the address was refused, or has no host that could be.
        assert isinstance(caught.value, AddressRefused) or "no address on the public" in str(caught.value)
    assert hits(canaries) == 0


@pytest.mark.parametrize("status", GET_REDIRECTS)
def test_no_redirect_reaches_inside(status, canaries):
    rules = AddressRules(ports=ANY_PORT, hosts=frozenset({"origin.example"}))
    egress = Egress(rules=rules, resolve=resolver)
    # A Location that names no host of its own means the origin itself, which may be asked.
    shapes = [shape for shape in SHAPES if "//" in shape or ":/" in shape]
    for shape, canary in itertools.product(shapes, canaries):
        where = shape.replace("{P}", str(canary.port))
        with origin(redirects_to(where, status)) as host, pytest.raises(EgressError):
            fetch(egress, f"http://origin.example:{host.port}/")
    assert hits(canaries) == 0


def test_a_name_that_answers_differently_a_moment_later_gains_nothing(canaries):
    answers = iter([["127.0.0.1"], ["::1"], ["::1"]])
    asked = []

    def rebinding(host):
        asked.append(host)
        return next(answers)

    rules = AddressRules.parse("1-65535", "127.0.0.1")
    with origin(says(ok(b"outside"))) as outside:
        assert fetch(Egress(rules=rules, resolve=rebinding), f"http://rebind.example:{outside.port}/")[1] == b"outside"
    assert asked == ["rebind.example"]
    assert hits(canaries) == 0


def test_a_name_that_rebinds_between_two_hops_is_judged_again(canaries):
    answers = iter([["127.0.0.1"], ["::1"]])
    rules = AddressRules.parse("1-65535", "127.0.0.1")
    egress = Egress(rules=rules, resolve=lambda _: next(answers))
    with (
        origin(redirects_to(f"http://rebind.example:{canaries[1].port}/")) as host,
        pytest.raises(EgressError, match=r"rebind\.example, leads to no address"),
    ):
        fetch(egress, f"http://rebind.example:{host.port}/")
    assert hits(canaries) == 0


@pytest.mark.parametrize("port", [22, 25, 6379, 8080, 65_535])
def test_other_ports_than_the_listed_are_refused(port):
    with pytest.raises(AddressRefused, match=f"Port {port} .*TIMBRE_ALLOWED_PORTS"):
        fetch(Egress(), f"http://8.8.8.8:{port}/")


@pytest.mark.parametrize("host", ["10.0.0.1", "127.1", "0x7f000001", "[::1]", "localhost", "a.localhost."])
def test_a_refused_host_is_named_with_the_setting_that_allows_it(host):
    with pytest.raises(AddressRefused, match=f"{re.escape(host.strip('[]'))}, .*TIMBRE_ALLOWED_HOSTS"):
        fetch(Egress(resolve=resolver), f"http://{host}/")


def told(host):
    """Return the kind of error that a host gives, and its sentence without the host."""
    with pytest.raises(EgressError) as caught:
        fetch(Egress(resolve=resolver), f"http://{host}/")
    return type(caught.value), str(caught.value).replace(host, "HOST")


@pytest.mark.parametrize("name", ["private.example", "loopback.example", "mixed.example", "zoned.example"])
def test_a_name_that_leads_inside_is_told_as_one_that_leads_nowhere(name):
    kind, sentence = told(name)
    assert (kind, sentence) == told("nothing.example") == told("no-such-host.invalid")
    assert kind is ConnectionBroken
    assert "TIMBRE_ALLOWED_HOSTS" in sentence


def test_a_listed_host_may_be_private_and_another_name_of_it_may_not(canaries):
    egress = Egress(rules=AddressRules.parse("1-65535", "Loopback.example"), resolve=resolver)
    port = canaries[0].port
    assert fetch(egress, f"http://LOOPBACK.example.:{port}/") == (200, b"inside")
    for other in ("origin.example", "127.0.0.1", "sub.loopback.example"):
        with pytest.raises(EgressError):
            fetch(egress, f"http://{other}:{port}/")


def test_a_host_that_takes_no_connection_at_one_address_is_tried_at_the_next():
    rules = AddressRules.parse("1-65535", "127.0.0.0/8,::1")
    with origin(says(ok(b"here"))) as host:
        egress = Egress(rules=rules, resolve=lambda _: ["::1", "127.0.0.1"])
        assert fetch(egress, f"http://two.example:{host.port}/")[1] == b"here"


def test_a_proxy_of_the_environment_is_not_used(canaries, tmp_path):
    with origin(says(ok(b"direct"))) as host:
        code = (
            "from tests.support.egress import OPEN, fetch;"
            f"print(fetch(OPEN, 'http://127.0.0.1:{host.port}/')[1].decode())"
        )
        proxy = f"http://127.0.0.1:{canaries[0].port}"
        environment = {"http_proxy": proxy, "https_proxy": proxy, "all_proxy": proxy, "HTTP_PROXY": proxy, "PATH": ""}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "direct\n", done.stderr
    assert hits(canaries) == 0


def test_redirects_are_followed_up_to_the_limit_and_not_beyond():
    with origin(says(ok(b"there"))) as last:
        where = f"http://127.0.0.1:{last.port}/"
        with origin(redirects_to(where)) as first:
            assert fetch(OPEN, f"http://127.0.0.1:{first.port}/", max_redirects=1) == (200, b"there")
            with pytest.raises(TooManyRedirects):
                fetch(OPEN, f"http://127.0.0.1:{first.port}/", max_redirects=0)


TARGETS = [
    "/b/a/../k.wav?X-Amz-Signature=0f",
    "/b/./k.wav",
    "/../../k.wav",
    "/b//a///k.wav",
    "//b/k.wav",
    "/b/%2fa%2F%c3%A9%2e%2e/k%20.wav?sig=%2b%2B",
    "/b/100%/k.wav?share=100%&a=%zz",
    '/b/[a]{b}|c^`"<>.wav?q=[a]{b}|c^`"<>\'',
    "/b/+~!$&'()*,;=:@?a/b?c",
    "/k.wav?",
]


def line_of(request):
    """Return the target that a request came for."""
    return request.split(b"\r\n", 1)[0].decode().removeprefix("GET ").removesuffix(" HTTP/1.1")


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_arrives_byte_for_byte_also_where_a_redirect_names_it_with_its_host(target):
    with origin(says(ok(b"there"))) as host:
        url = f"http://127.0.0.1:{host.port}{target}"
        fetch(OPEN, url)
        assert line_of(host.requests[0]) == target
    # Browsers write these with %, and a Location is written as browsers do.
    if not set(target) & set("{}^`\"<>'"):
        with origin(says(ok(b"there"))) as last, origin(redirects_to(f"http://127.0.0.1:{last.port}{target}")) as first:
            fetch(OPEN, f"http://127.0.0.1:{first.port}/")
            assert line_of(last.requests[0]) == target


#: Location, as bytes, of an answer to `/a/b/c?q=1` -> the target that is asked for next.
LOCATIONS = {
    "/é.wav?ä=ö".encode(): "/%C3%A9.wav?%C3%A4=%C3%B6",
    # Å and … hold bytes that Python takes for ends of lines.
    "/Å…\u2028.wav".encode(): "/%C3%85%E2%80%A6%E2%80%A8.wav",
    "à/à".encode(): "/a/b/%C3%A0/%C3%A0",
    b"/\xe4.wav": "/%E4.wav",
    b"/my call.wav?name=my call": "/my%20call.wav?name=my%20call",
    b"  /k.wav ": "/k.wav",
    b"/a\tb.wav": "/ab.wav",
    b"/\x01\x7f.wav": "/%01%7F.wav",
    b"/\"<>^`{}|[]'.wav?\"<>^`{}|[]'": "/%22%3C%3E%5E%60%7B%7D|[]'.wav?%22%3C%3E^`{}|[]%27",
    b"/%2f%C3%a9%.wav?%2b": "/%2f%C3%a9%.wav?%2b",
    b"/k.wav#there": "/k.wav",
    b"k.wav": "/a/b/k.wav",
    b"./k.wav": "/a/b/k.wav",
    b"../k.wav?s": "/a/k.wav?s",
    b"../../../../k.wav": "/k.wav",
    b"x/../%2E%2e/./k.wav": "/a/k.wav",
    b"..": "/a/",
    b".": "/a/b/",
    b"/x/../y/./k.wav": "/y/k.wav",
    b"/x//y///k.wav": "/x//y///k.wav",
    b"x//k.wav?a=/../b": "/a/b/x//k.wav?a=/../b",
    b"?q=2": "/a/b/c?q=2",
    b"#top": "/a/b/c?q=1",
}


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_location_is_read_as_browsers_read_it(location):
    move = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
    answers = iter([move, ok(b"there")])
    with origin(lambda _, send: send(next(answers))) as host:
        assert fetch(OPEN, f"http://127.0.0.1:{host.port}/a/b/c?q=1") == (200, b"there")
        assert line_of(host.requests[1]) == LOCATIONS[location]


def test_a_location_may_leave_out_the_scheme():
    with origin(says(ok(b"there"))) as last, origin(redirects_to(f"//127.0.0.1:{last.port}/a/../k")) as first:
        assert fetch(OPEN, f"http://127.0.0.1:{first.port}/") == (200, b"there")
        assert line_of(last.requests[0]) == "/a/../k"


INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 199 \r\nTransfer-Encoding: chunked\r\n\r\n",
]


@pytest.mark.parametrize("interim", [*INTERIM, b"".join(INTERIM), INTERIM[2] * 20])
def test_interim_answers_are_skipped(interim):
    with origin(says(interim + ok(b"the real one"))) as host:
        assert fetch(OPEN, f"http://127.0.0.1:{host.port}/") == (200, b"the real one")
        assert host.hits == 1


@pytest.mark.parametrize("interim", [*INTERIM, b"".join(INTERIM)])
def test_interim_answers_without_end_are_a_broken_connection(interim):
    with origin(drips(b"", for_ever(interim), 0.0)) as host, pytest.raises(ConnectionBroken):
        fetch(OPEN, f"http://127.0.0.1:{host.port}/")


def test_a_switch_of_protocols_that_nobody_asked_for_is_an_answer():
    with origin(says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nGET")) as host:
        assert fetch(OPEN, f"http://127.0.0.1:{host.port}/") == (101, b"")


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "identity, chunked", "chunked\r\nTransfer-Encoding: chunked"])
def test_chunks_are_put_together_whatever_else_the_header_says(coding):
    head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode()
    with origin(says(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) as host:
        assert fetch(OPEN, f"http://127.0.0.1:{host.port}/") == (200, b"abcde")


def test_a_post_keeps_its_body_over_307_and_meets_303_as_an_answer():
    def post(port):
        return OPEN.request(
            "POST", HttpUrl.parse(f"http://127.0.0.1:{port}/hook?x=1"), body=b"hello", headers={"X-Signature": "s"},
            deadline_s=30.0, max_redirects=2, redirect_statuses=POST_REDIRECTS,
        )  # fmt: skip

    with origin(says(ok(b"thanks"))) as last, origin(redirects_to(f"http://127.0.0.1:{last.port}/", 307)) as first:
        with post(first.port) as answer:
            assert (answer.status, answer.read(3)) == (200, b"tha")
        assert last.requests[0].endswith(b"\r\n\r\nhello")
        assert b"X-Signature: s" in last.requests[0]
        with origin(redirects_to("http://127.0.0.1/", 303)) as turning, post(turning.port) as answer:
            assert answer.status == 303


def test_where_only_https_is_allowed_http_is_refused_at_every_hop():
    url = HttpUrl.parse("http://127.0.0.1/")
    with pytest.raises(AddressRefused, match=r"must be https://.*TIMBRE_ALLOW_HTTP_WEBHOOKS"), OPEN.request(
        "POST", url, deadline_s=30.0, max_redirects=0, redirect_statuses=(), https_only=True
    ):  # fmt: skip
        pass


@pytest.mark.parametrize(
    "script",
    [
        drips(b"HTTP/1.1 200 OK\r\n", for_ever(b"X: y\r\n"), 0.05),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", for_ever(b"."), 0.05),
        drips(b"HTTP/1.1 200 OK\r\n\r\n", for_ever(b"."), 0.05),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", for_ever(b"1\r\n.\r\n"), 0.05),
        drips(b"", for_ever(b"HTTP/1.1 100 Continue\r\n\r\n"), 0.05),
        drips(b"", for_ever(b"HTTP/1.1 103 Early Hints\r\n\r\n"), 0.05),
        drips(b"", [b""] * 1000, 0.05),
    ],
    ids=["headers", "body", "body until close", "chunks", "continues", "hints", "silence"],
)
def test_a_drip_ends_at_the_deadline_whatever_it_drips(script):
    with origin(script) as host, pytest.raises(EgressTimeout):
        fetch(OPEN, f"http://127.0.0.1:{host.port}/", deadline_s=0.6)


def test_a_slow_resolver_ends_at_the_deadline():
    over = threading.Event()

    def slow(_host):
        over.wait(60)
        return ["127.0.0.1"]

    with pytest.raises(EgressTimeout):
        fetch(Egress(resolve=slow), "http://slow.example/", deadline_s=0.3)
    over.set()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02 garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["nothing", "garbage", "short", "chunk cut", "no last chunk", "no size", "two lengths", "headers", "nowhere"],
)
def test_a_broken_answer_is_a_broken_connection(answer):
    with origin(says(answer)) as host, pytest.raises(ConnectionBroken):
        fetch(OPEN, f"http://127.0.0.1:{host.port}/")


def test_no_error_repeats_the_address_with_its_query():
    with origin(says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as host:
        for path in ("/a?X-Amz-Signature=canary", "/\x7f?canary"):
            with pytest.raises(EgressError) as caught:
                fetch(OPEN, f"http://127.0.0.1:{host.port}{path}")
            assert "canary" not in str(caught.value)
            assert caught.value.__cause__ is None
