"""What is wrong with a request is said in one form, and nothing a client sends breaks the service."""

import json
import random
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.answers import UNREACHABLE, fields, refused
from tests.support.client import Client


def test_the_message_of_a_bad_request_is_its_first_error(client: Client) -> None:
    body = refused(client.post("/v1/voiceprint", url="ftp://x", webhook="x"), 400, "invalid_request")
    first = body["errors"][0]
    assert body["message"] == f"{first['field']}: {first['message']}"


NO_JOB = "0e2c1a4e-7a4f-4a67-9f43-0123456789ab"


@pytest.mark.parametrize("path", ["/v2/jobs", "/v1/jobs", "/v1/media", f"/v1/jobs/{NO_JOB}"])
def test_an_unknown_query_parameter_is_named(path: str, client: Client) -> None:
    assert fields(client.send("GET", f"{path}?statuss=failed")) == ["statuss"]


@pytest.mark.parametrize("wait", ["-1", "61", "x"])
def test_a_wait_that_cannot_be_is_refused(wait: str, client: Client) -> None:
    assert fields(client.send("GET", f"/v1/jobs/{uuid.uuid4()}?wait={wait}")) == ["wait"]


def test_a_model_that_is_not_served_is_refused_with_those_that_are(client: Client) -> None:
    answer = client.post("/v1/voiceprint", url=UNREACHABLE, model="titanet_huge")
    assert fields(answer) == ["model"]
    assert "titanet_huge is not served here" in answer.json()["message"]
    assert answer.json()["message"].endswith("one of: ge2e.")
    aliased = client.post("/v1/voiceprint", url=UNREACHABLE, model="precision-2")
    assert (aliased.status_code, "default model" in aliased.json()["warning"]) == (200, True)


@pytest.mark.parametrize("host", ["10.0.0.1", "10.0.0.1.", "[::1]"])
def test_a_webhook_at_a_private_address_is_refused_at_once(host: str, strict: Client) -> None:
    answer = strict.post("/v1/voiceprint", url=UNREACHABLE, webhook=f"https://{host}/hook")
    assert fields(answer) == ["webhook"]
    assert "not on the public internet" in answer.json()["message"]
    assert "TIMBRE_ALLOWED_HOSTS" in answer.json()["message"]


@pytest.mark.parametrize(
    ("webhook", "setting"),
    [("http://hook.example/", "TIMBRE_ALLOW_HTTP_WEBHOOKS"), ("https://hook.example:9000/", "TIMBRE_ALLOWED_PORTS")],
)
def test_a_webhook_that_a_setting_forbids_is_refused_with_its_name(webhook: str, setting: str, strict: Client) -> None:
    answer = strict.post("/v1/voiceprint", url=UNREACHABLE, webhook=webhook)
    assert fields(answer) == ["webhook"]
    assert setting in answer.json()["message"]


@pytest.mark.parametrize("path", ["/", "/docs/"])
def test_the_front_door_leads_to_the_docs(path: str, client: Client) -> None:
    answer = requests.get(client.url + path, timeout=5)
    assert (answer.url, answer.status_code) == (f"{client.url}/docs", 200)


def test_address_and_key_can_be_tried(client: Client) -> None:
    answer = client.send("GET", "/v1/test")
    assert (answer.status_code, answer.json()) == (200, {"status": "OK", "message": "Test connection successful"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_key(path: str, client: Client) -> None:
    answer = requests.get(client.url + path, timeout=5)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


def test_the_base_address_may_end_in_a_slash_as_the_sdk_allows(client: Client) -> None:
    assert client.send("GET", "/v1//test").status_code == 200
    assert client.send("POST", "/v1//voiceprint", json={"url": UNREACHABLE}).status_code == 200


def _wrong_keys(key: str) -> Iterator[str]:
    yield from ("", "Bearer", "Bearer ", "Bearer x", "Bearer sk_", f"Basic {key}", key, f"Bearer {key}x")
    yield f"Bearer {key[:-1]}"
    yield f"Bearer {key[:10]}{'a' if key[10] != 'a' else 'b'}{key[11:]}"
    yield "Bearer \xff\xfe"
    yield f"Bearer {'a' * 5000}"
    yield f"Bearer {key} {key}"


@pytest.mark.parametrize("path", ["/v1/test", "/v2/jobs", "/v1/voiceprint", "/v1/media/input"])
def test_without_a_valid_key_nothing_is_answered(path: str, client: Client) -> None:
    method = "POST" if path in ("/v1/voiceprint", "/v1/media/input") else "GET"
    messages = set()
    for wrong in _wrong_keys(client.key):
        answer = client.send(method, path, headers={"Authorization": wrong.encode("latin-1")})
        messages.add(refused(answer, 401, "unauthorized")["message"])
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert len(messages) == 1
    refused(requests.request(method, client.url + path, timeout=5), 401, "unauthorized")


def test_the_scheme_is_read_in_any_case(client: Client) -> None:
    assert client.send("GET", "/v1/test", headers={"Authorization": f"bearer {client.key}"}).status_code == 200


@pytest.mark.parametrize("job_id", [NO_JOB, "x", "a" * 2000, "%00", "%ff%fe", "*", "timbre:queued"])
def test_an_unknown_job_is_not_found(job_id: str, client: Client) -> None:
    refused(client.send("GET", f"/v1/jobs/{job_id}"), 404, "not_found")


def test_another_clients_job_looks_like_an_unknown_one(client: Client, stranger: Client) -> None:
    job_id = client.submit(UNREACHABLE)
    client.wait(job_id)
    theirs = refused(stranger.send("GET", f"/v1/jobs/{job_id}"), 404, "not_found")
    unknown = refused(stranger.send("GET", f"/v1/jobs/{uuid.uuid4()}"), 404, "not_found")
    assert theirs["message"] == unknown["message"]


def test_an_unknown_path_is_not_found(client: Client) -> None:
    for path in ("/v1", "/v1/voiceprints", "/v1/job", "/v1/test/", "/static/x", "/..%2f..%2fetc/passwd"):
        refused(client.send("GET", path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/voiceprint"), ("PUT", f"/v1/jobs/{NO_JOB}"), ("TRACE", "/v1/test")],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, client: Client) -> None:
    answer = client.send(method, path)
    refused(answer, 405, "method_not_allowed")
    assert "OPTIONS" in answer.headers["Allow"]


WRONG_URLS = [
    "", " ", "x", "a.wav", "/etc/passwd", "//host/a.wav", "javascript:alert(1)", "file:///etc/passwd", "ftp://host/a.wav",
    "data:audio/wav;base64,AAAA", "http://", "https:///a.wav", "http://user:password@host/a.wav", "http://user@host/a.wav",
    "http://@host/a.wav", "http://host:port/", "http://host:99999/", "http://host:0/", "http://[::1", "media://", "MEDIA://a",
    "media://a b", "media://ä", "media://a?b", "media://a\n", "http://host/" + "a" * 4096,
]  # fmt: skip


@pytest.mark.parametrize("url", WRONG_URLS, ids=lambda url: ascii(url)[:30])
def test_an_address_that_cannot_be_meant_is_refused_at_once(url: str, client: Client) -> None:
    assert set(fields(client.post("/v1/voiceprint", url=url))) == {"url"}


@pytest.mark.parametrize(
    "url", ["http://a b/", "http://a\0b/", " http://host/a.wav", "http://host/a.wav\n", "http://\ud83d\ude00/"]
)
def test_blanks_and_control_characters_in_an_address_are_refused_at_once(url: str, client: Client) -> None:
    assert fields(client.post("/v1/voiceprint", url=url)) == ["url"]


@pytest.mark.parametrize("url", [None, 1, True, [], {}, ["http://host/a.wav"], {"href": "http://host/a.wav"}])
def test_an_address_of_the_wrong_type_is_refused(url: Any, client: Client) -> None:
    assert fields(client.post("/v1/voiceprint", url=url)) == ["url"]


def test_the_address_is_required(client: Client) -> None:
    assert fields(client.post("/v1/voiceprint")) == ["url"]
    assert fields(client.post("/v1/media/input")) == ["url"]


@pytest.mark.parametrize("model", [1, True, [], {}, "x" * 101])
def test_a_model_of_the_wrong_type_or_length_is_refused(model: Any, client: Client) -> None:
    assert fields(client.post("/v1/voiceprint", url=UNREACHABLE, model=model)) == ["model"]


def test_an_empty_model_is_refused(client: Client) -> None:
    assert fields(client.post("/v1/voiceprint", url=UNREACHABLE, model="")) == ["model"]


def test_every_fault_is_named_at_once(client: Client) -> None:
    assert sorted(fields(client.post("/v1/voiceprint", url=1, model=1))) == ["model", "url"]


def test_a_null_model_is_no_model(client: Client) -> None:
    assert client.post("/v1/voiceprint", url=UNREACHABLE, model=None).json().keys() == {"jobId", "status"}


def test_the_vendors_model_is_taken_for_the_default_one_with_a_warning(client: Client) -> None:
    answer = client.post("/v1/voiceprint", url=UNREACHABLE, model="precision-2")
    assert answer.status_code == 200
    assert "precision-2" in answer.json()["warning"]


def test_unknown_fields_are_named_in_a_warning(client: Client) -> None:
    answer = client.post("/v1/voiceprint", url=UNREACHABLE, webhok="https://host/hook", numSpeakers=2)
    assert answer.status_code == 200
    assert "webhok" in answer.json()["warning"]
    assert "numSpeakers" in answer.json()["warning"]


def test_unknown_fields_are_named_wherever_they_are(client: Client, enrolled: dict[str, str]) -> None:
    people = [{"label": label, "voiceprint": text, "id": 7} for label, text in enrolled.items()]
    body = {"url": UNREACHABLE, "voiceprints": people, "matching": {"treshold": 70, "exclusive": None, "x": None}}
    answer = client.post("/v1/identify", **body)
    assert answer.json()["warning"] == "Unknown fields were ignored: 'matching.treshold', 'voiceprints.id'."


def test_unknown_fields_that_ask_for_nothing_need_no_warning(client: Client) -> None:
    answer = client.post("/v1/voiceprint", url=UNREACHABLE, numSpeakers=None, transcription=False)
    assert answer.json().keys() == {"jobId", "status"}


def test_very_many_unknown_fields_do_not_make_a_very_long_warning(client: Client) -> None:
    answer = client.post("/v1/voiceprint", url=UNREACHABLE, **{f"field{i}": 1 for i in range(3000)})
    assert answer.status_code == 200
    assert len(answer.json()["warning"]) < 2000


NO_OBJECTS = [
    b"{", b"[]",
    b'[{"url": "media://a"}]', b"null", b"1", b'"url"', b'{"url": "media://a"', b'{"url": "\xff"}', b"url=x",
    '{"url": "media://a"}'.encode("utf-16"), b"[" * 60_000, b'{"url":' * 8_000, b'{"url": ' + b"1" * 5_000 + b"}",
    b'{"url": "media://a", "x": "\\ud800"}', b'{"url": "media://a", "\\udfff": 1}',
]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/voiceprint", "/v1/media/input"])
@pytest.mark.parametrize("body", NO_OBJECTS, ids=lambda body: ascii(body)[:30])
def test_a_body_that_is_no_json_object_is_refused(path: str, body: bytes, client: Client) -> None:
    fields(client.send("POST", path, data=body, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_does_not_say_it_is_json_is_refused(kind: str | None, client: Client) -> None:
    headers = {"Content-Type": kind} if kind else {}
    body = json.dumps({"url": UNREACHABLE}).encode()
    refused(client.send("POST", "/v1/voiceprint", data=body, headers=headers), 415, "unsupported_media_type")


def test_a_chunked_body_of_json_is_refused(client: Client) -> None:
    chunks = iter([b'{"url": ', b'"media://a"}'])
    answer = client.send("POST", "/v1/voiceprint", data=chunks, headers={"Content-Type": "application/json"})
    refused(answer, 411, "length_required")


def test_a_body_over_64_kib_is_refused(client: Client) -> None:
    refused(client.post("/v1/voiceprint", url=UNREACHABLE, pad="x" * 65536), 413, "request_too_large")


def test_a_body_just_under_64_kib_is_read(client: Client) -> None:
    assert client.post("/v1/voiceprint", url=UNREACHABLE, pad="x" * 65_000).status_code == 200


def _odd_value(chance: random.Random, depth: int = 0) -> Any:
    plain = [
        None,
        True,
        -1,
        1e308,
        10**400,
        float("nan"),
        "",
        "\0",
        "\ud800",
        "\u202e",
        "😀" * 50,
        "media://x",
        UNREACHABLE,
    ]
    if depth < 3 and chance.random() < 0.3:
        return [_odd_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    if depth < 3 and chance.random() < 0.3:
        return {_odd_name(chance): _odd_value(chance, depth + 1) for _ in range(chance.randrange(3))}
    return chance.choice(plain)


def _odd_name(chance: random.Random) -> str:
    return chance.choice(
        ["url", "model", "", "_schema", "__proto__", "\ud800", "\n", "webhook", "self", "data", "x" * 300]
    )


def _damaged(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body))
    return chance.choice([body, body, body[:at], body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]])


def test_nothing_a_client_sends_is_an_internal_error(client: Client) -> None:
    chance = random.Random(20)
    for _ in range(150):
        value = {_odd_name(chance): _odd_value(chance) for _ in range(chance.randrange(4))}
        body = _damaged(chance, json.dumps(value).encode())
        path = chance.choice(["/v1/voiceprint", "/v1/media/input", "/v1/test", "/v1/jobs/x", "/v1/media/upload/x"])
        kind = chance.choice(
            ["application/json"] * 3 + ["application/json; charset=x", "text/plain", ";", "application/vnd.a+json"]
        )
        method = chance.choice(["POST"] * 4 + ["PUT", "GET", "OPTIONS", "PATCH"])
        answer = client.send(method, path, data=body, headers={"Content-Type": kind})
        assert answer.status_code < 500, (method, path, kind, body)
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["X-Request-Id"])
