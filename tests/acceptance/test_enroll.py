"""Single-call enrolment as its clients use it: the conformance checks of its contract, on the whole service."""

import base64
import json
import math
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from pydub import AudioSegment

from shared.local.stack import Stack
from tests.support.apis import api
from tests.support.client import Client, eventually
from tests.support.sounds import DATA, encode, join, lasting, read
from tests.support.stacks import bugs, first_client, logs, make_client, running

ADA = [read(path) for path in sorted(DATA.glob("1688-*.flac"))]
BOB = [read(path) for path in sorted(DATA.glob("2609-*.flac"))]
#: Eight seconds of each; nothing of `ADA` is in the probe.
ADA_8_S = join(ADA)
BOB_8_S = join(BOB)
PROBE = (DATA / "conversation.flac").read_bytes()
ENROL, VERIFY = "/voice/v1/enroll_voice", "/voice/v1/verify_voice"
KEYS = ["result", "code", "message", "data"]
FOREVER_S = 120
Json = dict[str, Any]


def aac(sound: AudioSegment, container: str = "aac") -> str:
    """Return sound as AAC in base64: ADTS, or m4a."""
    return base64.b64encode(encode(sound, container)).decode()


class Caller:
    """Customer's server, which knows the two paths and no more."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def send(self, path: str, body: bytes, status: int = 200, **options: Any) -> tuple[Json, requests.Response]:
        headers = {"Content-Type": "application/json"} | options.pop("headers", {})
        answer = requests.post(self.client.url + path, body, headers=headers, timeout=FOREVER_S, **options)
        assert answer.status_code == status, answer.text
        found = answer.json()
        assert list(found) == KEYS
        assert (found["result"] == "Ok") == (found["code"] == 0)
        assert found["result"] in ("Ok", "Err")
        if found["result"] == "Err":
            assert list(found["data"]) == ["ref"] and found["message"]
        return found, answer

    def call(self, path: str, **fields: Any) -> Json:
        """Send a call with the usual fields; those of None are left out."""
        usual = {"audio": aac(ADA_8_S), "api_key": self.client.key, "method": "text_indep"}
        body = {name: value for name, value in (usual | fields).items() if value is not None}
        return self.send(path, json.dumps(body).encode())[0]

    def enrol(self, **fields: Any) -> Json:
        return self.call(ENROL, **fields)

    def verify(self, vector: Any, sound: str | None = None, path: str = VERIFY, **fields: Any) -> Json:
        return self.call(path, vector=vector, audio=sound or base64.b64encode(PROBE).decode(), **fields)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("enroll"), worker_processes=1) as stack:
        yield stack
        assert bugs(stack) == []


@pytest.fixture(scope="module")
def acme(stack: Stack) -> Caller:
    return Caller(make_client(stack, "Acme"))


@pytest.fixture(scope="module")
def vector(acme: Caller) -> list[float]:
    """Vector of one person."""
    found = acme.enrol()
    assert found["code"] == 0, found
    numbers: list[float] = found["data"]["vector"]
    return numbers


@pytest.fixture(scope="module")
def dimension(acme: Caller) -> int:
    (model,) = [one for one in acme.client.send("GET", "/v1/models").json()["models"] if one["default"]]
    return int(model["dimension"])


def curl(*arguments: str) -> tuple[int, Json]:
    """Return status and body of what curl gets."""
    assert shutil.which("curl")
    done = subprocess.run(
        ["curl", "-sS", "-w", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=FOREVER_S,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_curl_enrols_eight_seconds_of_adts(acme: Caller, dimension: int, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    fields = {"audio": aac(ADA_8_S), "api_key": acme.client.key, "ref": "ü", "method": "text_indep", "phrase": ""}
    content = {"include": False, "language": "", "precision": "full"}
    body.write_text(json.dumps(fields | {"content": content}, ensure_ascii=False))
    # As `-d` alone declares it, too.
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        status, found = curl(acme.client.url + ENROL, "-H", f"Content-Type: {kind}", "--data-binary", f"@{body}")
        assert (status, found["result"], found["code"], found["message"]) == (200, "Ok", 0, "")
        assert list(found["data"]) == ["ref", "vector", "speech"]
        assert (found["data"]["ref"], found["data"]["speech"]) == ("ü", "")
        assert len(found["data"]["vector"]) == dimension + 4
        assert all(type(number) is float for number in found["data"]["vector"])
    status, found = curl(acme.client.url + ENROL)
    assert (status, found["result"], found["code"]) == (405, "Err", 1)


def test_curl_is_told_of_a_body_that_is_too_large(acme: Caller, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"audio": "A" * 20_000_000, "api_key": acme.client.key, "method": "text_indep"}))
    status, found = curl(acme.client.url + ENROL, "--data-binary", f"@{body}")
    assert (status, found["result"], found["code"], found["data"]) == (413, "Err", 5, {"ref": ""})
    status, found = curl(acme.client.url + ENROL, "-H", "Transfer-Encoding: chunked", "--data-binary", f"@{body}")
    assert (status, found["code"]) == (413, 5)


def in_lines(text: str, end: str = "\r\n") -> str:
    return end.join(text[at : at + 76] for at in range(0, len(text), 76))


@pytest.mark.parametrize(
    "audio",
    [
        pytest.param(lambda: aac(ADA_8_S, "m4a"), id="m4a"),
        pytest.param(lambda: aac(ADA_8_S, "wav"), id="wav"),
        pytest.param(lambda: "data:audio/mp4;base64," + aac(ADA_8_S, "m4a"), id="data URL"),
        pytest.param(lambda: "data:audio/aac;codecs=mp4a.40.2;base64," + aac(ADA_8_S), id="data URL with a codec"),
        pytest.param(lambda: in_lines(aac(ADA_8_S)), id="line breaks"),
        pytest.param(lambda: aac(ADA_8_S).rstrip("="), id="no padding"),
    ],
)
def test_audio_comes_in_any_form_of_base64(acme: Caller, audio: Any) -> None:
    assert acme.enrol(audio=audio())["code"] == 0


def test_line_breaks_may_stand_bare_in_the_json_as_shells_put_them(acme: Caller) -> None:
    text = '{"audio": "%s\n", "api_key": "%s", "method": "text_indep"}'
    found, _ = acme.send(ENROL, (text % (in_lines(aac(ADA_8_S), "\n"), acme.client.key)).encode())
    assert found["code"] == 0


def test_a_body_may_come_chunked(acme: Caller) -> None:
    body = json.dumps({"audio": aac(ADA_8_S), "api_key": acme.client.key, "method": "text_indep"}).encode()
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    assert acme.send(ENROL, pieces)[0]["code"] == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ref", ["ü", "", "\U0001f600" * 1024, '"\\/\x01\u2028', " x "], ids=lambda ref: ascii(ref)[:12]
)
def test_a_reference_is_echoed_with_success_and_failure(acme: Caller, ref: str) -> None:
    assert acme.enrol(ref=ref)["data"]["ref"] == ref
    for fields in ({"method": "no_method"}, {"api_key": "sk_wrong"}, {"audio": "%%%"}, {"vector": [1.0]}):
        assert acme.enrol(ref=ref, **fields)["data"] == {"ref": ref}


def test_what_is_left_out_is_empty(acme: Caller) -> None:
    for fields in ({}, {"ref": None, "content": None, "phrase": None}):
        body = {"audio": aac(ADA_8_S), "api_key": acme.client.key, "method": "text_indep"} | fields
        found, _ = acme.send(ENROL, json.dumps(body).encode())
        assert (found["code"], found["data"]["ref"], found["data"]["speech"]) == (0, "", "")


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (2, {"api_key": None}),
        (2, {"api_key": ""}),
        (2, {"api_key": 5}),
        (2, {"api_key": "sk_" + "0" * 49}),
        (2, {"api_key": "sk_ü\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")}),
        (1, {"audio": None}),
        (1, {"audio": 5}),
        (1, {"audio": ""}),
        (1, {"method": None}),
        (1, {"ref": 5}),
        (1, {"ref": "x" * 1025}),
        (1, {"phrase": ["x"]}),
        (1, {"content": "x"}),
        (1, {"content": {"include": "true"}}),
        (1, {"content": {"include": 1}}),
        (1, {"content": {"precision": "slow"}}),
        (1, {"content": {"include": True, "language": "English, please"}}),
        (3, {"audio": "%%%"}),
        (3, {"audio": "x" * 100_001}),
        (3, {"audio": base64.b64encode(PNG).decode()}),
        (4, {"audio": aac(ADA_8_S[:3000])}),
        (4, {"audio": aac(AudioSegment.silent(8000, frame_rate=16_000))}),
        (5, {"audio": aac(lasting(ADA_8_S, 32))}),
        (6, {"method": "text_free"}),
        (6, {"method": "text_dep_fixed"}),
        (6, {"method": "text_dep_fixed", "phrase": "  "}),
        (6, {"method": "liveness", "phrase": ""}),
        (6, {"method": "liveness", "phrase": "?!"}),
        (6, {"method": "text_dep_fixed", "phrase": "um, \U0001f600"}),
        (6, {"method": "text_dep_user", "phrase": "..."}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_fault_has_its_code(acme: Caller, code: int, fields: Json) -> None:
    found = acme.enrol(**fields)
    assert found["code"] == code, found


def test_five_seconds_are_enough_for_any_speech_and_four_for_a_phrase_of_ones_own(acme: Caller) -> None:
    assert acme.enrol(audio=aac(ADA_8_S[:5000], "m4a"))["code"] == 0
    assert acme.enrol(audio=aac(ADA_8_S[:4000]), method="text_dep_user")["code"] == 0
    assert acme.enrol(audio=aac(ADA_8_S[:4000]), method="text_dep_dob", phrase=None)["code"] == 0


def test_the_vector_has_norm_1_and_a_trailer_that_changes_no_cosine(vector: list[float], dimension: int) -> None:
    assert math.hypot(*vector[:dimension]) == pytest.approx(1, abs=1e-3)
    assert all(0 <= number < 1e-4 for number in vector[dimension:])
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-3)


def test_the_same_voice_is_verified_by_both_paths_and_another_is_not(acme: Caller, vector: list[float]) -> None:
    same = acme.verify(vector, ref="ada")
    assert list(same["data"]) == ["ref", "score", "confidence", "distance", "speech"]
    assert (same["code"], same["message"], same["data"]["ref"]) == (0, "", "ada")
    assert 50 <= same["data"]["confidence"] <= 99.99
    assert same["data"]["score"] == same["data"]["confidence"] == round(same["data"]["confidence"], 2)
    assert acme.verify(vector, path=ENROL, ref="ada") == same
    other = acme.verify(vector, aac(BOB_8_S))
    assert other["data"]["confidence"] < 50
    assert other["data"]["distance"] > same["data"]["distance"] > 0


def test_clients_may_round_and_average_vectors(acme: Caller, vector: list[float], dimension: int) -> None:
    same = acme.verify(vector)["data"]
    assert acme.verify(np.float32(vector).astype(float).tolist())["data"] == same
    assert acme.verify([float(f"{number:.9g}") for number in np.float32(vector)])["data"] == same
    another = acme.enrol(audio=base64.b64encode(PROBE).decode())["data"]["vector"]
    mean = np.mean(np.float32([vector, another]), axis=0)
    assert np.linalg.norm(mean[:dimension]) < 0.999
    found = acme.verify(mean.astype(float).tolist(), aac(ADA[0]), method="text_dep_user")
    assert (found["code"], found["message"]) == (0, "")
    assert found["data"]["confidence"] >= 50
    cut = acme.verify(vector[:dimension])
    assert cut["code"] == 0 and "last four numbers" in cut["message"]
    assert cut["data"]["distance"] == same["distance"]


def test_vectors_that_are_none_of_this_server_are_refused(acme: Caller, vector: list[float], dimension: int) -> None:
    own, trailer = vector[:dimension], vector[dimension:]
    of_another_model = [trailer[0] + 1e-9, *trailer[1:]]
    wrong = {
        "one short": vector[:-1],
        "one more": [*vector, 0.0],
        "none": [],
        "zeros": [0.0] * len(vector),
        "of another model": own + of_another_model,
        "doubled": [2 * number for number in vector],
        "trailer of zeros": own + [0.0] * 4,
        "no speech": [*own, trailer[0], 0.0, *trailer[2:]],
        "huge": [1e300] * dimension + trailer,
        "huge trailer": own + [1e300] * 4,
        "six decimals": [round(number, 6) for number in vector],
    }
    assert {name: acme.verify(one)["code"] for name, one in wrong.items()} == dict.fromkeys(wrong, 8)
    malformed: dict[str, Any] = {
        "letters": ["a", *vector[1:]],
        "a string": "0.1",
        "an object": {},
        "nested": [vector],
        "true": [True, *vector[1:]],
        "null": [None, *vector[1:]],
        "huge": [10**400, *vector[1:]],
    }
    assert {name: acme.verify(one)["code"] for name, one in malformed.items()} == dict.fromkeys(malformed, 1)
    text = json.dumps({"audio": aac(ADA_8_S), "api_key": acme.client.key, "method": "text_indep", "vector": ["n"]})
    for number in ("NaN", "Infinity", "1e999", "1" * 5000):
        assert acme.send(VERIFY, text.replace('"n"', number).encode())[0]["code"] == 1
    assert acme.call(VERIFY)["code"] == 1


def test_nothing_but_usage_remains(stack: Stack, vector: list[float]) -> None:
    client = make_client(stack, "Stateless")
    caller = Caller(client)
    caller.enrol(ref="canary-ref")
    caller.verify(vector, ref="canary-ref")
    for fields in ({"audio": base64.b64encode(PNG).decode()}, {"audio": aac(ADA_8_S[:3000])}, {"audio": "%%%"}):
        assert caller.enrol(**fields)["result"] == "Err"
    usage = client.send("GET", "/v1/usage").json()["items"]
    assert [one["kind"] for one in usage] == ["verification", "voiceprint"]
    assert [one["spaceId"] for one in usage] == [None, None]
    assert 8 < usage[1]["seconds"] < 10
    assert client.send("GET", "/v1/jobs").json()["items"] == []
    assert client.send("GET", "/v1/media").json()["items"] == []
    assert client.send("GET", "/v1/audit").json()["items"] == []
    assert "canary-ref" not in json.dumps(usage)
    assert not [path for path in (stack.settings.data_dir / "scratch").rglob("*") if path.is_file()]


def test_no_audio_vector_key_or_reference_is_in_the_logs(stack: Stack, acme: Caller, vector: list[float]) -> None:
    acme.verify(vector, ref="canary-reference")
    acme.enrol(ref="canary-reference", audio="%%%", phrase="canary phrase")
    text = logs(stack)
    assert ENROL in text
    for secret in (acme.client.key, aac(ADA_8_S)[:40], str(vector[0]), "canary-reference", "canary phrase"):
        assert secret not in text


def test_a_burst_over_the_limit_is_told_when_to_come_again(
    tmp_path_factory: pytest.TempPathFactory, acme: Caller
) -> None:
    with running(tmp_path_factory.mktemp("burst"), worker_processes=1, posts_per_minute=3) as stack:
        caller = Caller(first_client(stack))
        body = json.dumps({"audio": "%%%", "api_key": caller.client.key, "method": "text_indep", "ref": "r"}).encode()
        answers = [caller.send(ENROL, body) for _ in range(5)]
    assert [found["code"] for found, _ in answers] == [3, 3, 3, 10, 10]
    refused = answers[-1]
    assert refused[0]["data"] == {"ref": "r"}
    assert 1 <= int(refused[1].headers["Retry-After"]) <= 60
    assert "Retry-After" not in answers[0][1].headers


def test_every_path_below_answers_in_the_envelope(acme: Caller) -> None:
    for method, path, status in (
        ("GET", ENROL, 405), ("PUT", VERIFY, 405), ("POST", "/voice/v1/enroll_face", 404), ("GET", "/voice/v1", 404),
    ):  # fmt: skip
        answer = requests.request(method, acme.client.url + path, timeout=FOREVER_S)
        assert (answer.status_code, list(answer.json()), answer.json()["result"]) == (status, KEYS, "Err")
        assert answer.json()["data"] == {"ref": ""}


@pytest.mark.parametrize("seed", range(4))
def test_odd_bodies_are_answered_in_the_envelope_and_none_by_a_fault(
    acme: Caller, vector: list[float], seed: int
) -> None:
    rng = random.Random(seed)
    # Too short to be enrolled, so that no call takes long.
    usual: Json = {
        "audio": aac(ADA[0][:500]), "api_key": acme.client.key, "ref": "r", "method": "liveness", "phrase": "one two",
        "content": {"include": False, "language": "EN-US", "precision": "quick"}, "vector": vector,
    }  # fmt: skip
    odd: list[Any] = [
        None, True, False, 0, -1, 10**30, 1e300, "", "x", "\0", "\ud800", "sk_\udfff", "sk_" + "ü" * 49, "A" * 20_000,
        "A" * 100_000, [], [[]], {}, {"a": {}}, [None], ["x"], [0.5] * 260, list(vector), "data:;base64,", "=",
        "text_indep",
    ]  # fmt: skip
    for _ in range(60):
        fields = {name: rng.choice(odd) if rng.random() < 0.25 else value for name, value in usual.items()}
        if isinstance(fields["content"], dict) and rng.random() < 0.5:
            fields["content"] = {name: rng.choice(odd) for name in ("include", "language", "precision")}
        body = json.dumps(fields).encode()
        if rng.random() < 0.25:
            at = rng.randrange(len(body))
            body = (
                body[:at] + rng.choice([b"", b'"', b"\xff", b"{", b"\\", b",", b"\0"]) + body[at + rng.randrange(3) :]
            )
        found, answer = acme.send(rng.choice([ENROL, VERIFY]), body)
        assert (found["result"], answer.status_code) == ("Err", 200)
        assert found["code"] != 99, found


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'"x"', b"[" * 100_000, b'{"a":' * 9000, b'{"api_key": NaN}']
)
def test_what_is_no_object_is_a_malformed_body_or_has_no_key(acme: Caller, body: bytes) -> None:
    assert acme.send(ENROL, body)[0]["code"] == (1 if body else 2)


def test_a_body_of_16_mb_is_taken_with_its_file_and_a_stranger_is_refused(acme: Caller) -> None:
    sound = encode(ADA_8_S, "wav")
    # What lies behind the sound of a wav is passed over.
    padded = base64.b64encode(sound + bytes(12_300_000 - len(sound))).decode()
    assert 16_000_000 < len(padded) < 16 * 1024 * 1024
    assert acme.enrol(audio=padded)["code"] == 0
    assert acme.enrol(audio=padded, api_key="sk_stranger")["code"] == 2
    assert acme.client.send("GET", "/v1/media").json()["items"] == []


def test_so_many_large_bodies_are_under_way_and_small_calls_and_uploads_go_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(tmp_path_factory.mktemp("strangers"), worker_processes=1, api_uploads=8) as stack, ExitStack() as held:
        caller = Caller(first_client(stack))
        host, _, port = stack.settings.bind.rpartition(":")
        head = f"POST {ENROL} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n{{".encode()
        large = json.dumps({"audio": "A" * 100_000, "ref": "r"}).encode()

        def refused() -> list[requests.Response]:
            # One more each time: those that send no more are dropped after a while.
            held.enter_context(socket.create_connection((host, int(port)))).sendall(head)
            answer = requests.post(caller.client.url + ENROL, large, timeout=FOREVER_S)
            return [answer] if answer.status_code == 503 else []

        (answer,) = eventually(refused)
        assert list(answer.json()) == KEYS and answer.json()["code"] == 99
        assert int(answer.headers["Retry-After"]) > 0
        assert caller.enrol(audio="%%%")["code"] == 3
        assert caller.client.upload("beside", b"x" * 100_000)
        held.close()
        eventually(lambda: requests.post(caller.client.url + ENROL, large, timeout=FOREVER_S).status_code == 200)


def test_a_late_worker_leaves_an_error_and_nothing_else(tmp_path: Path, redis_server: Any) -> None:
    with api(tmp_path, redis_server.url, posts_per_minute=10**6, reads_per_minute=10**6) as client:
        found, answer = Caller(client).send(
            ENROL,
            json.dumps({"audio": aac(ADA_8_S), "api_key": client.key, "method": "text_indep", "ref": "r"}).encode(),
        )
        assert (found["code"], found["data"]) == (99, {"ref": "r"})
        assert int(answer.headers["Retry-After"]) > 0
        assert client.send("GET", "/v1/jobs").json()["items"] == []
        assert client.send("GET", "/v1/media").json()["items"] == []
        assert client.send("GET", "/v1/usage").json()["items"] == []


def test_the_words_are_told_where_they_are_asked_for(acme: Caller, vector: list[float]) -> None:
    content = {"include": True, "language": "EN-US", "precision": "ultraquick"}
    found = acme.enrol(content=content)
    assert found["code"] == 0
    assert len(found["data"]["speech"].split()) > 10
    assert acme.enrol(content=content | {"language": None})["data"]["speech"] == found["data"]["speech"]
    assert acme.verify(vector, aac(ADA_8_S), content=content)["data"]["speech"] == found["data"]["speech"]
    refused = acme.enrol(content=content | {"language": "NL-NL"})
    assert refused["code"] == 7 and " en" in refused["message"]


@pytest.fixture(scope="module")
def words(acme: Caller) -> str:
    """Words of `ADA_8_S`, as they were recognised."""
    found = acme.enrol(method="text_dep_user", content={"include": True})
    assert found["code"] == 0, found
    return str(found["data"]["speech"])


@pytest.mark.parametrize("method", ["text_dep_fixed", "text_dep_user", "text_dep_dob"])
def test_a_phrase_is_checked_by_both_calls(acme: Caller, vector: list[float], words: str, method: str) -> None:
    for call in (acme.enrol, lambda **fields: acme.verify(vector, aac(ADA_8_S), **fields)):
        said = call(method=method, phrase=words)
        assert (said["code"], said["data"]["speech"]) == (0, "")
        other = call(method=method, phrase="My voice is my passport.", ref="r")
        assert (other["code"], other["data"]) == (11, {"ref": "r"})


def test_the_words_of_liveness_must_come_in_their_order(acme: Caller, vector: list[float], words: str) -> None:
    spoken = re.findall(r"[a-z]{4,}", words.lower())
    # Far from each other, so that none is mistaken for its neighbour.
    some = [spoken[at] for at in (1, len(spoken) // 2, len(spoken) - 2)]
    for call in (acme.enrol, lambda **fields: acme.verify(vector, aac(ADA_8_S), **fields)):
        assert call(method="liveness", phrase=words)["code"] == 0
        assert call(method="liveness", phrase=" ".join(reversed(some)))["code"] == 11
        assert call(method="liveness", phrase=f"{words} zebra")["code"] == 11
        assert call(method="liveness", phrase=words, content={"language": "NL-NL"})["code"] == 7
