"""Recordings are uploaded to addresses that stand for themselves."""

import time
from collections.abc import Callable, Iterator

import pytest
import requests
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from shared.local.stack import Stack
from tests.support.answers import failure, fields, refused
from tests.support.client import Client, put, voiceprint
from tests.support.sounds import DATA

BODY = (DATA / "1688-142285-0005.flac").read_bytes()
OTHER_BODY = (DATA / "2609-156975-0000.flac").read_bytes()


def in_chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


def test_an_address_is_whole_and_answers_201(client: Client) -> None:
    answer = client.post("/v1/media/input", url="media://a.wav")
    assert answer.status_code == 201
    assert answer.json()["url"].startswith(client.url + "/")


@pytest.mark.parametrize("kind", [None, "audio/wav", "application/octet-stream", "application/json", "text/plain"])
def test_any_content_type_or_none_is_taken(kind: str | None, client: Client) -> None:
    answer = put(client.address("media://kind.flac"), BODY, **({"Content-Type": kind} if kind else {}))
    assert answer.status_code == 200
    voiceprint(client.run("media://kind.flac"))


def test_a_chunked_upload_is_taken(client: Client) -> None:
    answer = put(client.address("media://chunked.flac"), in_chunks(BODY))
    assert answer.status_code == 200
    voiceprint(client.run("media://chunked.flac"))


def test_an_upload_with_a_key_beside_its_address_is_taken(client: Client) -> None:
    answer = put(client.address("media://keyed.flac"), BODY, Authorization=f"Bearer {client.key}")
    assert answer.status_code == 200


def test_a_second_upload_replaces_the_first(client: Client) -> None:
    first = client.voiceprint(client.upload("again.flac", BODY))
    second = client.voiceprint(client.upload("again.flac", OTHER_BODY))
    assert first.score(second) < 0.8


def test_one_address_may_be_used_twice(client: Client) -> None:
    address = client.address("media://twice.flac")
    assert [put(address, body).status_code for body in (OTHER_BODY, BODY)] == [200, 200]


def test_nothing_may_be_uploaded_and_is_no_audio(client: Client) -> None:
    failure(client.run(client.upload("empty.wav", b"")), "not_audio")


@pytest.mark.parametrize("name", ["/etc/passwd", "...", "..a/b..", "a/.b/c.", "-rf", "a//b", "x" * 247])
def test_a_name_with_slashes_and_dots_stays_inside(name: str, client: Client, stack: Stack) -> None:
    voiceprint(client.run(client.upload(name, BODY)))
    files = [path for path in stack.settings.data_dir.rglob("*") if path.is_file()]
    recordings = [path for path in files if path.read_bytes() == BODY]
    assert recordings
    assert all(path.parent.parent == stack.settings.data_dir / "media" for path in recordings)


@pytest.mark.parametrize(
    "name", [".", "..", "./a", "a/.", "a/..", "../../x/y.wav", "a/../b", "a/./b", "//..//", "%2e", "a/%2E%2e/b"]
)
def test_a_name_that_a_delete_could_not_reach_is_refused_by_every_route(name: str, client: Client) -> None:
    for path in ("/v1/media/input", "/v1/media/output", "/v1/voiceprint"):
        assert fields(client.post(path, url=f"media://{name}")) == ["url"]


@pytest.mark.parametrize("name", ["x" * 248, "", "a b", "a?b", "a#b", "ä", "a\n", "a\\b", "%2e%2e"])
def test_other_names_are_refused(name: str, client: Client) -> None:
    assert fields(client.post("/v1/media/input", url=f"media://{name}")) == ["url"]


def test_an_address_on_the_web_is_no_name_for_an_upload(client: Client) -> None:
    assert fields(client.post("/v1/media/input", url="https://host/a.wav")) == ["url"]


def test_names_differ_by_case_and_path(client: Client) -> None:
    client.upload("Case.flac", BODY)
    for name in ("case.flac", "/Case.flac", "Case.flac/"):
        failure(client.run(f"media://{name}"), "media_not_found")


def test_another_clients_upload_is_not_found(client: Client, stranger: Client) -> None:
    client.upload("mine.flac", BODY)
    failure(stranger.run("media://mine.flac"), "media_not_found")
    stranger.upload("mine.flac", b"theirs")
    voiceprint(client.run("media://mine.flac"))


ALTERED: dict[str, Callable[[str], str]] = {
    "cut": lambda token: token[:-1],
    "longer": lambda token: token + "a",
    "another client or name": lambda token: ("A" if token[0] != "A" else "B") + token[1:],
    "another time": lambda token: ".".join([token.split(".")[0], "aaaaaa", token.split(".")[2]]),
    "no signature": lambda token: token.rpartition(".")[0],
    "a word": lambda _: "x",
    "dots": lambda _: "...",
}


@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_address_is_not_found(how: str, client: Client) -> None:
    base, _, token = client.address("media://altered.wav").rpartition("/")
    refused(put(f"{base}/{ALTERED[how](token)}", BODY), 404, "not_found")
    failure(client.run("media://altered.wav"), "media_not_found")


class _Forger(TimestampSigner):
    """Signs with a clock that is an hour and a second slow."""

    def get_timestamp(self) -> int:
        return int(time.time()) - 3601


def _signed(stack: Stack, secret: bytes) -> str:
    token = URLSafeTimedSerializer(secret, salt="media", signer=_Forger).dumps(["client", "late.wav"])
    return f"{stack.url}/v1/media/upload/{token}"


def test_an_address_is_good_for_an_hour_only(stack: Stack) -> None:
    body = refused(put(_signed(stack, stack.settings.secret_bytes()), BODY), 404, "not_found")
    assert "/v1/media/input" in body["message"]


def test_an_address_signed_by_another_is_not_found(stack: Stack) -> None:
    refused(put(_signed(stack, b"a secret of somebody else's making"), BODY), 404, "not_found")


def test_an_address_is_for_putting_only(client: Client) -> None:
    address = client.address("media://get.wav")
    refused(requests.get(address, timeout=5), 405, "method_not_allowed")
    refused(requests.post(address, data=BODY, timeout=5), 405, "method_not_allowed")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_that_is_too_large_is_refused_and_leaves_nothing(
    chunked: bool, small: Client, small_stack: Stack
) -> None:
    body = bytes(200_001)
    answer = put(small.address("media://large.wav"), in_chunks(body) if chunked else body)
    refused(answer, 413, "request_too_large")
    failure(small.run("media://large.wav"), "media_not_found")
    assert not list((small_stack.settings.data_dir / "media").rglob("part-*"))


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_of_exactly_the_limit_is_taken(chunked: bool, small: Client) -> None:
    body = bytes(200_000)
    assert put(small.address("media://limit.wav"), in_chunks(body) if chunked else body).status_code == 200


def test_a_refused_upload_leaves_the_earlier_one_in_place(small: Client) -> None:
    small.upload("kept.flac", BODY)
    refused(put(small.address("media://kept.flac"), in_chunks(bytes(300_000))), 413, "request_too_large")
    voiceprint(small.run("media://kept.flac"))


def download_address(client: Client, name: str, body: bytes) -> str:
    return str(client.post("/v1/media/output", url=client.upload(name, body)).json()["url"])


@pytest.mark.parametrize(
    ("wanted", "status", "body", "content_range"),
    [
        ("bytes=2-4", 206, b"cde", "bytes 2-4/10"),
        ("bytes=-3", 206, b"hij", "bytes 7-9/10"),
        ("bytes=8-", 206, b"ij", "bytes 8-9/10"),
        ("lines=1-2", 200, b"abcdefghij", None),
        ("bytes=0-1,4-5", 200, b"abcdefghij", None),
        ("bytes=-99", 200, b"abcdefghij", None),
    ],
)
def test_a_part_of_a_download_can_be_asked_for(client: Client, wanted, status, body, content_range) -> None:  # type: ignore[no-untyped-def]
    address = download_address(client, "range.wav", b"abcdefghij")
    answer = requests.get(address, headers={"Range": wanted}, timeout=5)
    assert (answer.status_code, answer.content, answer.headers.get("Content-Range")) == (status, body, content_range)


def test_a_part_that_lies_outside_a_download_is_refused(client: Client) -> None:
    address = download_address(client, "range.wav", b"abcdefghij")
    answer = requests.get(address, headers={"Range": "bytes=10-"}, timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == "bytes */10"
    assert requests.head(address, headers={"Range": "bytes=0-1"}, timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("name", "kind"), [("a.wav", "audio/wav"), ("a.FLAC", "audio/flac"), ("a.html", "application/octet-stream")]
)
def test_a_download_says_what_it_is_and_no_browser_shows_it(client: Client, name: str, kind: str) -> None:
    answer = requests.get(download_address(client, name, b"<script>"), timeout=5)
    assert (answer.headers["Content-Type"], answer.headers["X-Content-Type-Options"]) == (kind, "nosniff")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert (answer.headers["Content-Length"], answer.headers["Accept-Ranges"]) == ("8", "bytes")


def test_an_upload_is_removed_with_its_job_unless_the_client_keeps_it(client: Client) -> None:
    for keep, left in (("true", 200), ("false", 404)):
        job = client.run(client.upload("kept.wav", b"no sound"))
        receipt = client.send("DELETE", f"/v1/jobs/{job['jobId']}?keepMedia={keep}").json()
        assert ("media" in receipt["removed"]) == (left == 404)
        assert client.send("DELETE", "/v1/media/kept.wav").status_code == left
