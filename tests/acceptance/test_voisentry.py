"""Voice biometrics users as their clients use them: the conformance checks of the contract, on the whole service."""

import io
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from pydub import AudioSegment

from shared.local.stack import Stack
from tests.support.client import Client, eventually
from tests.support.groups import make_group_key
from tests.support.servers import AudioHost
from tests.support.sounds import DATA, encode, join, lasting, read
from tests.support.stacks import LOOPBACK, bugs, logs, make_client, running

BASE = "/voice_biometrics/v1/user"
ADA = [read(path) for path in sorted(DATA.glob("1688-*.flac"))]
BOB = [read(path) for path in sorted(DATA.glob("2609-*.flac"))]
ONE, OTHER = (encode(clip, "wav") for clip in ADA)
STRANGER = encode(join(BOB), "wav")
SILENCE = encode(AudioSegment.silent(6000, frame_rate=16_000), "wav")
DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d")
INSTANCE = re.compile(r"vb-[0-9a-f]{20}\.000001")
TRANSACTION = re.compile(r"[0-9a-f]{32}")
IDS = {"application_instance_id", "transaction_id"}
FOREVER_S = 120


def strict(text: str) -> Any:
    """Parse JSON without NaN, and without a name twice in an object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(pairs) == len(dict(pairs)), pairs
        return dict(pairs)

    return json.loads(text, parse_constant=pytest.fail, object_pairs_hook=once)


def wav(sound: AudioSegment, **changed: int) -> bytes:
    """Return a wav file of a sound whose rate, width or channels are changed."""
    made = sound
    for name, value in changed.items():
        made = getattr(made, f"set_{name}")(value)
    with made.export(io.BytesIO(), format="wav") as file:
        content: bytes = file.read()
    return content


def patiently(method: str, url: str, **options: Any) -> requests.Response:
    """Send a request, again while the machine is too busy for its job: nothing was kept of it."""
    ends_at = time.monotonic() + FOREVER_S
    while True:
        answer = requests.request(method, url, timeout=FOREVER_S, **options)
        if answer.status_code != 503 or time.monotonic() > ends_at:
            return answer


class Caller:
    """Client of a user group."""

    def __init__(self, url: str, key: str, name: str = "1-2-0/bob@example.com") -> None:
        self.url = url
        self.key = key
        self.auth = (name, key)

    def call(self, method: str, operation: str, expected: int = 200, **options: Any) -> Any:
        """Send a request; returns the body of the answer, an error's after its form was checked."""
        answer = patiently(method, f"{self.url}{BASE}/{operation}", **{"auth": self.auth} | options)
        assert answer.status_code == expected, (method, operation, answer.status_code, answer.text)
        assert answer.headers["Content-Type"] == "application/json"
        body = strict(answer.text)
        if expected >= 400:
            check_error(body, f"{BASE}/{operation}", expected)
            return body["error"]["text"]
        return body

    def put(self, operation: str, sound: bytes, expected: int = 200, **parameters: Any) -> Any:
        return self.call("PUT", operation, expected, params=parameters, data=sound)

    def post(self, operation: str, *sounds: bytes, expected: int = 200, **parameters: Any) -> Any:
        """POST recordings as `Source1`, `Source2` and so on; `wav_file_url` may be a list."""
        parts = {f"Source{i}": (f"{i}.wav", sound) for i, sound in enumerate(sounds, 1)}
        return self.call("POST", operation, expected, params=parameters, files=parts or None)

    def ask(self, operation: str, user_id: str, expected: int = 200) -> Any:
        return self.call("GET", operation, expected, params={"user_id": user_id})


def check_error(body: dict[str, Any], path: str, status: int) -> None:
    assert set(body) == {"error", "request"}
    assert set(body["error"]) == {"code", "text", "link", "datetime"}
    assert body["error"]["code"] in (f"HTTP {status}", "422")
    assert body["error"]["link"].startswith("https://")
    assert body["request"]["url"] == path
    assert DATE.fullmatch(body["error"]["datetime"]) and DATE.fullmatch(body["request"]["datetime"])


def check_ids(body: dict[str, Any], *more: str) -> None:
    assert set(body) == {*IDS, *more}
    assert INSTANCE.fullmatch(body["application_instance_id"])
    assert TRANSACTION.fullmatch(body["transaction_id"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("voisentry"), worker_processes=2, **LOOPBACK) as stack:
        yield stack
        assert bugs(stack) == []


@pytest.fixture(scope="module")
def owner(stack: Stack) -> Client:
    return make_client(stack, "Bobs Company")


@pytest.fixture(scope="module")
def group(stack: Stack, owner: Client) -> Caller:
    return Caller(stack.url, make_group_key(stack.settings, "Bobs Company", "bobs-group"))


@pytest.fixture(scope="module")
def bob(group: Caller) -> Caller:
    """The group, with the user Bob, whose voice is Ada's."""
    check_ids(group.put("register", ONE, user_id="Bob"))
    return group


def uploads(owner: Client) -> list[Any]:
    return items(owner, "/v1/media")


def test_without_a_key_or_with_a_wrong_one_the_answer_is_401(group: Caller) -> None:
    for auth in (None, ("1-2-0/bob@example.com", "ak-378b7602-5a91-47f8-9f6f-ef4bf3e234e9"), ("bob", "")):
        answer = requests.get(f"{group.url}{BASE}/exists", params={"user_id": "Bob"}, auth=auth, timeout=FOREVER_S)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        check_error(strict(answer.text), f"{BASE}/exists", 401)


@pytest.mark.parametrize("name", ["1-2-0/bob@example.com", "bob@example.com", "1-2-0/b/o/b", ""])
def test_any_form_of_the_user_name_is_taken(group: Caller, name: str) -> None:
    assert Caller(group.url, group.key, name).ask("exists", "nobody")["exists"] is False


def test_an_api_key_is_no_group_key(group: Caller, owner: Client) -> None:
    Caller(group.url, owner.key).call("GET", "exists", 401, params={"user_id": "Bob"})


def test_registering_again_is_refused_in_the_vendors_words(bob: Caller) -> None:
    assert bob.put("register", ONE, 400, user_id="Bob") == "Bad Request: user_id 'Bob' is already present"
    assert bob.post("register", ONE, expected=400, user_id="Bob") == "Bad Request: user_id 'Bob' is already present"


@pytest.mark.parametrize("operation", ["update", "verify"])
def test_users_who_are_not_there_are_not_found(group: Caller, operation: str) -> None:
    assert group.put(operation, ONE, 400, user_id="Bill") == "Bad Request: user_id 'Bill' not found"


@pytest.mark.parametrize("parameters", [{"user_id": "a b"}, {}, {"user_id": ""}, {"user_id": "a" * 127}], ids=str)
@pytest.mark.parametrize("operation", ["register", "update", "verify"])
def test_a_user_id_that_is_missing_or_wrong_is_refused(group: Caller, operation: str, parameters: Any) -> None:
    for method, options in (("PUT", {"data": ONE}), ("POST", {"files": {"Source1": ("1.wav", ONE)}})):
        assert "user_id" in group.call(method, operation, 400, params=parameters, **options)


@pytest.mark.parametrize("user_id", [".bob", "-bob", "8c9b4a56-0a3f-4a0f-9f6f-ef4bf3e234e9", "A" * 126])
def test_every_user_id_of_the_document_can_be_registered(group: Caller, user_id: str) -> None:
    check_ids(group.put("register", ONE, user_id=user_id))
    assert group.ask("exists", user_id)["exists"] is True
    assert group.ask("delete", user_id)["user_id"] == user_id


def test_two_parts_are_two_sources(group: Caller) -> None:
    answer = group.post("register", ONE, OTHER, user_id="Two")
    check_ids(answer, "sources")
    assert answer["sources"] == [{"source": "Source1", "accepted": True}, {"source": "Source2", "accepted": True}]


def test_a_recording_that_does_not_fit_is_not_accepted_and_the_other_is(group: Caller) -> None:
    answer = group.post("register", b"no recording", OTHER, user_id="Half")
    assert answer["sources"] == [{"source": "Source1", "accepted": False}, {"source": "Source2", "accepted": True}]
    assert group.put("verify", ONE, user_id="Half")["verified"] is True


def test_recordings_none_of_which_fits_are_refused_and_nothing_is_kept(group: Caller, owner: Client) -> None:
    assert group.post("register", b"no", b"no", expected=400, user_id="No") == "Bad Request: No valid files to read."
    text = group.post("register", SILENCE, SILENCE[:-2], expected=400, user_id="No")
    assert text == "Insufficient speaker observations in the audio source"
    assert group.ask("exists", "No")["exists"] is False
    assert uploads(owner) == []


def test_thirteen_recordings_are_too_many_and_none_is_too_few(group: Caller) -> None:
    text = "Bad Request: More than 12 audio sources were supplied."
    assert group.post("register", *[b"x"] * 13, expected=400, user_id="X") == text
    assert group.post("register", expected=400, user_id="X", wav_file_url=["a.example/b.wav"] * 13) == text
    assert group.post("register", expected=400, user_id="X") == "Bad Request: No audio sources found in the request."
    assert group.call("POST", "register", 400, params={"user_id": "X"}, files={"other": ("1.wav", ONE)})


def test_addresses_are_fetched_and_told_as_they_were_given(group: Caller, host: AudioHost) -> None:
    given = [
        host.serve("1.wav", ONE) + "?a=b&c=%2F",
        host.url("status/404"),
        "nothing here",
        host.serve("2.wav", OTHER),
    ]
    answer = group.post("register", user_id="Fetched", wav_file_url=given)
    assert answer["sources"] == [
        {"source": address, "accepted": fits} for address, fits in zip(given, (True, False, False, True), strict=True)
    ]


def test_files_and_addresses_come_together(group: Caller, host: AudioHost) -> None:
    address = host.serve("2.wav", OTHER)
    answer = group.post("register", ONE, user_id="Both", wav_file_url=address)
    assert [one["source"] for one in answer["sources"]] == ["Source1", address]
    assert all(one["accepted"] for one in answer["sources"])


def test_an_address_that_gives_nothing_is_an_exception_of_downloading(group: Caller, host: AudioHost) -> None:
    for address in (host.url("status/404"), "a b", "s3://bucket/key", "media://x", "ftp://127.0.0.1/x"):
        text = group.post("register", expected=400, user_id="Gone", wav_file_url=address)
        assert text == "Bad Request: Exception downloading audio."


def test_an_address_on_put_is_refused_in_the_vendors_words(group: Caller) -> None:
    text = group.put("register", ONE, 400, user_id="X", wav_file_url="a.example/b.wav")
    assert text == "Bad Request: wav_file_url not support for PUT, use POST instead."


@pytest.mark.parametrize(
    "sound",
    [
        wav(ADA[0], channels=2),
        wav(lasting(ADA[0], 61)),
        wav(ADA[0], frame_rate=4000),
        wav(ADA[0], sample_width=1),
        encode(ADA[0], "mp3"),
        encode(ADA[0], "wav-float"),
        b"",
        b"no recording",
    ],
    ids=["stereo", "61 s", "4 kHz", "8 bits", "mp3", "float", "empty", "text"],
)
def test_other_recordings_get_415(bob: Caller, sound: bytes) -> None:
    for operation in ("update", "verify"):
        assert bob.put(operation, sound, 415, user_id="Bob")


@pytest.mark.parametrize("codec", ["wav-mulaw", "wav-alaw", "wav-8k"])
def test_recordings_of_the_documented_kinds_are_accepted(group: Caller, codec: str) -> None:
    check_ids(group.put("register", encode(ADA[0], codec), user_id=codec))


def test_silence_has_the_code_of_the_engine(group: Caller) -> None:
    url = f"{group.url}{BASE}/register"
    answer = patiently("PUT", url, params={"user_id": "Silent"}, data=SILENCE, auth=group.auth)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "422"
    assert answer.json()["error"]["text"] == "Insufficient speaker observations in the audio source"
    assert group.ask("exists", "Silent")["exists"] is False


def test_the_same_voice_is_verified_and_another_is_not(bob: Caller) -> None:
    same = bob.put("verify", OTHER, user_id="Bob")
    check_ids(same, "verified", "confidence")
    assert same["verified"] is True and same["confidence"] >= 1.0
    other = bob.post("verify", STRANGER, user_id="Bob")
    check_ids(other, "verified", "confidence")
    assert other["verified"] is False and other["confidence"] < 1.0


def test_a_higher_sensitivity_lowers_the_confidence(bob: Caller) -> None:
    found = [bob.put("verify", OTHER, user_id="Bob", sensitivity=one)["confidence"] for one in ("10", "0.0", "-10")]
    assert found == sorted(found) and found[0] < found[2]


def test_a_sensitivity_out_of_range_is_refused(bob: Caller) -> None:
    text = bob.put("verify", OTHER, 400, user_id="Bob", sensitivity="11")
    assert text == "Bad Request: Sensitivity must be from -10 to 10, received 11."


def test_several_recordings_are_verified_where_the_text_is_free(bob: Caller) -> None:
    text = bob.post("verify", OTHER, ONE, expected=400, user_id="Bob")
    assert text == "Bad Request: Only one audio source can be submitted in text dependent mode."
    answer = bob.post("verify", OTHER, b"no", user_id="Bob", text_dependent="False")
    check_ids(answer, "verified", "confidence", "sources")
    assert [one["accepted"] for one in answer["sources"]] == [True, False]
    assert answer["verified"] is True


def test_a_copy_is_found_where_it_is_asked_for_and_changes_nothing_else(bob: Caller) -> None:
    sound = encode(ADA[1][200:], "wav")
    first = bob.put("verify", sound, user_id="Bob", enable_pad="TRUE")
    assert "pad_detected" not in first or first["pad_detected"] == {"type": "TypeA"}
    again = bob.put("verify", sound, user_id="Bob", enable_pad="true")
    check_ids(again, "verified", "confidence", "pad_detected")
    assert again["pad_detected"] == {"type": "TypeA"}
    assert (again["verified"], again["confidence"]) == (first["verified"], first["confidence"])
    check_ids(bob.put("verify", sound, user_id="Bob"), "verified", "confidence")


def test_a_copy_of_anybodys_recording_is_found(group: Caller) -> None:
    group.put("register", encode(ADA[0][500:], "wav"), user_id="Victim")
    group.put("register", STRANGER, user_id="Attacked")
    answer = group.put("verify", encode(ADA[0][500:], "wav"), user_id="Attacked", enable_pad="true")
    assert answer["pad_detected"] == {"type": "TypeA"} and answer["verified"] is False


def test_statistics_count_what_was_verified(group: Caller, owner: Client) -> None:
    group.put("register", ONE, user_id="Counted")
    new = group.ask("stats", "Counted")
    assert set(new) == {
        "user_group_name", "transaction_id", "registration_date", "update_date", "verification_date",
        "verification_attempts", "verifications_passed", "verifications_failed",
    }  # fmt: skip
    assert (new["update_date"] >= new["registration_date"], new["verification_date"]) == (True, "")
    group.put("verify", OTHER, user_id="Counted")
    group.put("verify", SILENCE, 400, user_id="Counted")
    stats = group.call("POST", "stats", data={"user_id": "Counted"})
    assert [stats[f"verification{name}"] for name in ("_attempts", "s_passed", "s_failed")] == [1, 1, 0]
    group.put("verify", STRANGER, user_id="Counted")
    stats = group.ask("stats", "Counted")
    assert [stats[f"verification{name}"] for name in ("_attempts", "s_passed", "s_failed")] == [2, 1, 1]
    assert all(DATE.fullmatch(stats[f"{name}_date"]) for name in ("registration", "update", "verification"))
    assert stats["user_group_name"] == "bobs-group"


def test_an_update_refines_the_voice_and_moves_its_date(group: Caller) -> None:
    group.put("register", ONE, user_id="Updated")
    before = group.ask("stats", "Updated")
    answer = eventually(lambda: group.post("update", OTHER, user_id="Updated"))
    check_ids(answer, "sources")
    after = group.ask("stats", "Updated")
    assert after["registration_date"] == before["registration_date"]
    assert after["update_date"] >= before["update_date"]
    assert group.put("verify", OTHER, user_id="Updated")["verified"] is True


def test_a_user_exists_until_it_is_deleted_and_can_then_be_registered_again(group: Caller) -> None:
    group.put("register", ONE, user_id="Short")
    answer = group.ask("exists", "Short")
    assert set(answer) == {"user_id", "transaction_id", "exists"} and answer["exists"] is True
    gone = group.call("POST", "delete", data={"user_id": "Short"})
    assert set(gone) == {"user_id", "transaction_id", "deleted"} and DATE.fullmatch(gone["deleted"])
    assert group.ask("stats", "Short", 404) == "Not found: user Id Short is not a registered user."
    assert group.ask("delete", "Short", 404) == "Not found: user Id Short is not a registered user."
    assert group.ask("exists", "Short")["exists"] is False
    check_ids(group.put("register", OTHER, user_id="Short"))


def test_user_ids_keep_their_case(bob: Caller) -> None:
    assert bob.ask("exists", "bob")["exists"] is False


def test_the_same_user_id_in_another_group_is_another_user(stack: Stack, bob: Caller) -> None:
    other = Caller(stack.url, make_group_key(stack.settings, "Bobs Company", "other-group"))
    assert other.ask("exists", "Bob")["exists"] is False
    check_ids(other.put("register", STRANGER, user_id="Bob"))
    assert bob.put("verify", STRANGER, user_id="Bob")["verified"] is False


def test_users_enrolled_natively_are_verified_too(group: Caller, owner: Client) -> None:
    url = owner.upload("native.wav", ONE)
    made = owner.post("/v1/enrol", url=url, identity="native", space="bobs-group").json()
    assert owner.wait(made["jobId"], FOREVER_S)["status"] == "succeeded"
    owner.send("DELETE", "/v1/media/native.wav")
    assert group.ask("exists", "native")["exists"] is True
    assert group.put("verify", OTHER, user_id="native")["verified"] is True


@pytest.mark.parametrize("operation", ["register", "update", "verify", "stats", "exists", "delete"])
def test_other_methods_are_refused_in_the_envelope(group: Caller, operation: str) -> None:
    for method in ("DELETE", "PATCH", *(["PUT"] if operation in ("stats", "exists", "delete") else [])):
        group.call(method, operation, 405)


def test_addresses_of_nothing_and_bodies_too_large_get_the_envelope_too(group: Caller) -> None:
    group.call("GET", "nothing", 404)
    group.put("register", b"x" * (24 * 1024 * 1024 + 1), 413, user_id="Large")
    group.post("register", b"x" * (24 * 1024 * 1024), expected=413, user_id="Large")


def test_a_body_may_come_in_chunks_of_no_known_length(group: Caller) -> None:
    group.call("PUT", "register", params={"user_id": "Chunked"}, data=iter([ONE[:1000], ONE[1000:]]))
    assert group.ask("exists", "Chunked")["exists"] is True


def test_of_two_registers_at_once_one_wins(group: Caller, owner: Client) -> None:
    for turn in range(3):
        user = f"Raced{turn}"

        def register(sound: bytes, user: str = user) -> tuple[int, str]:
            url = f"{group.url}{BASE}/register"
            answer = patiently("PUT", url, params={"user_id": user}, data=sound, auth=group.auth)
            return answer.status_code, answer.text

        with ThreadPoolExecutor(2) as pool:
            found = sorted(pool.map(register, (ONE, OTHER)))
        assert [status for status, _ in found] == [200, 400], found
        assert "is already present" in found[1][1]
    assert uploads(owner) == []


def test_application_status_costs_nothing_and_says_so(bob: Caller) -> None:
    instance = bob.put("verify", OTHER, user_id="Bob")["application_instance_id"]
    for method in ("GET", "POST"):
        answer = requests.request(
            method, f"{bob.url}/application_status", params={"application_instance_id": instance}, auth=bob.auth,
            timeout=FOREVER_S,
        )  # fmt: skip
        adr = strict(answer.text)["adr"]
        assert (adr["costs_valid"], adr["application_instance_id"]) == (True, instance)
        assert {adr[name] for name in ("platform_cost", "extra_cost", "pstn_cost")} == {0}
    assert requests.get(f"{bob.url}/application_status", timeout=FOREVER_S).status_code == 401


# The vendor's examples, with another host, key and user; curl alone decides what they send.
CURL_LINES = """
curl -sS --user {name}:{key} -X PUT --data-binary @{one} {url}/voice_biometrics/v1/user/register?user_id={user}&filename=bobsaudio1.wav
curl -sS --user {name}:{key} -F Source1=@{one};filename=Bob1.wav -F Source2=@{other};filename=Bob2.wav {url}/voice_biometrics/v1/user/update?user_id={user}
curl -sS --user {name}:{key} -T {other} {url}/voice_biometrics/v1/user/verify?user_id={user}
curl -sS --user {name}:{key} -F Source1=@{other} {url}/voice_biometrics/v1/user/verify?user_id={user}&sensitivity=1.0&enable_pad=true
curl -sS --user {name}:{key} {url}/voice_biometrics/v1/user/stats?user_id={user}
curl -sS --user {name}:{key} {url}/voice_biometrics/v1/user/exists?user_id={user}
curl -sS --user {name}:{key} {url}/voice_biometrics/v1/user/delete?user_id={user}
"""  # noqa: E501


def test_the_documents_curl_lines_work(group: Caller, tmp_path: Path) -> None:
    paths = {"one": tmp_path / "bobsaudio1.wav", "other": tmp_path / "bobsaudio2.wav"}
    paths["one"].write_bytes(ONE)
    paths["other"].write_bytes(OTHER)
    told = {"name": "1-2-0/bob@example.com", "key": group.key, "url": group.url, "user": "Curled", **paths}
    found = []
    for line in CURL_LINES.strip().splitlines():
        command = [part.format(**told) for part in line.split(" ")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=FOREVER_S)
        found.append(strict(done.stdout))
    registered, updated, *verified, stats, exists, deleted = found
    check_ids(registered)
    assert [one["accepted"] for one in updated["sources"]] == [False, True]  # the first one is enrolled already
    assert all(one["verified"] is True for one in verified)
    assert stats["verifications_passed"] == 2 and exists["exists"] is True and deleted["user_id"] == "Curled"


class Node:
    """Client of the on-premise form, as the published nodes write it: two readings of JSON, and of the answer alone."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key

    def get(self, verb: str, user: str) -> tuple[int, str]:
        return self._read(patiently("GET", self._address(verb, user)))

    def post(self, verb: str, user: str, *sounds: bytes, more: str = "") -> tuple[int, str]:
        names = ["source"] if len(sounds) == 1 else [f"source{i}" for i in range(1, len(sounds) + 1)]
        parts = [
            (name, (f"audiosource{i}.wav", sound, "application/octet-stream"))
            for i, (name, sound) in enumerate(zip(names, sounds, strict=True), 1)
        ]
        return self._read(patiently("POST", self._address(verb, user) + more, files=parts))

    def _address(self, verb: str, user: str) -> str:
        return f"{self.url}/voisentry/{verb}?key={self.key}&enrolid={user}"

    def _read(self, answer: requests.Response) -> tuple[int, str]:
        body = strict(answer.text)
        assert set(body) == {"status", "result"}
        assert isinstance(body["result"], str)
        return body["status"], body["result"]

    def member(self, found: tuple[int, str], name: str) -> Any:
        status, result = found
        assert status == 200, found
        text = strict(result)[name]
        assert isinstance(text, str)
        return strict(text)


def test_the_published_nodes_enrol_verify_update_and_delete(stack: Stack, group: Caller) -> None:
    node = Node(stack.url, group.key)
    user = "bob_smith@example.com"
    assert node.get("check", user) == (200, '{"enrolids": []}')
    assert node.member(node.post("enrol", user, ONE), "enrolment")
    assert node.post("enrol", user, ONE)[0] == 400
    assert strict(node.get("check", user)[1])["enrolids"] == [user]
    found = node.member(node.post("verify", user, OTHER, more="&textdependent=F"), "verification")
    assert found["verified"] is True and found["confidence"] >= 1.0
    assert strict(found["PAD_info"]) == {} or strict(found["PAD_info"])["type"] == "TypeA"
    copy = node.member(node.post("verify", user, OTHER), "verification")
    assert strict(copy["PAD_info"]) == {"type": "TypeA"}
    stranger = node.member(node.post("verify", user, STRANGER, wav(BOB[0])), "verification")
    assert stranger["verified"] is False
    assert node.member(node.post("update", user, OTHER, ONE), "updated")
    assert strict(node.get("delete", user)[1])["enrolids"] == [user]
    assert node.get("delete", user)[0] == 400


def test_nodes_are_told_what_is_wrong_by_a_status_of_their_own(stack: Stack, group: Caller) -> None:
    node = Node(stack.url, group.key)
    assert node.post("enrol", "nodes", wav(ADA[0], channels=2))[0] == 435
    assert node.post("enrol", "nodes", b"no", b"no")[0] == 435
    assert node.post("enrol", "nodes", SILENCE)[0] == 445
    assert node.post("enrol", "a b", ONE)[0] == node.post("enrol", "nodes")[0] == 400
    assert node.get("verify", "nodes")[0] == 405
    assert Node(stack.url, "ak-1").get("check", "nodes")[0] == 400
    assert node.get("check", "nodes") == (200, '{"enrolids": []}')


def test_no_log_holds_a_key_an_address_or_a_recording(stack: Stack, group: Caller) -> None:
    Node(stack.url, group.key).get("check", "logged")
    written = logs(stack)
    assert group.key not in written
    assert "enrolid=" not in written and "user_id=" not in written


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service whose workers come and go."""
    with running(tmp_path_factory.mktemp("fragile"), worker_processes=1, lease_s=3.0, **LOOPBACK) as stack:
        yield stack
        assert bugs(stack) == []


def test_when_no_worker_answers_the_call_is_refused_and_nothing_is_kept(fragile: Stack) -> None:
    client = make_client(fragile, "Late")
    group = Caller(fragile.url, make_group_key(fragile.settings, "Late", "late"))
    group.put("register", ONE, user_id="Bob")
    worker = next(process for process in fragile.processes if process.name == "worker")
    worker.stop()

    def call(operation: str, user_id: str) -> None:
        answer = requests.put(
            f"{group.url}{BASE}/{operation}", params={"user_id": user_id}, data=OTHER, auth=group.auth,
            timeout=FOREVER_S,
        )  # fmt: skip
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), answer.text
        check_error(strict(answer.text), f"{BASE}/{operation}", 503)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(call, ("register", "update", "verify"), ("Ada", "Bob", "Bob")))
    assert uploads(client) == []
    worker.start()
    assert eventually(lambda: verified(group, "Bob"), FOREVER_S) is True
    assert group.ask("exists", "Ada")["exists"] is False
    assert group.ask("stats", "Bob")["verification_attempts"] == 1
    identity = client.send("GET", "/v1/identities/Bob?space=late").json()
    assert (identity["verifications"], identity["samples"]) == (1, 1)


def verified(group: Caller, user_id: str) -> bool | None:
    """Return whether a user is verified; None while no worker has time."""
    answer = requests.put(
        f"{group.url}{BASE}/verify", params={"user_id": user_id}, data=OTHER, auth=group.auth, timeout=FOREVER_S
    )
    assert answer.status_code in (200, 503), answer.text
    return answer.json()["verified"] if answer.ok else None


@pytest.mark.parametrize("kill", ["worker", "api"])
def test_a_kill_in_the_middle_of_a_call_registers_a_user_wholly_or_not_at_all(
    fragile: Stack, host: AudioHost, kill: str
) -> None:
    client = make_client(fragile, f"Killed {kill}")
    group = Caller(fragile.url, make_group_key(fragile.settings, f"Killed {kill}", "killed"))
    address = host.serve("slow.wav", ONE).replace("/file/", "/gated/")
    found = []

    def register() -> None:
        try:
            answer = requests.post(
                f"{group.url}{BASE}/register", params={"user_id": "Bob", "wav_file_url": address}, auth=group.auth,
                timeout=FOREVER_S,
            )  # fmt: skip
            found.append(answer.status_code)
        except requests.ConnectionError:
            found.append(0)

    caller = threading.Thread(target=register)
    caller.start()
    eventually(lambda: host.hits["/gated/slow.wav"], FOREVER_S)
    victim = next(process for process in fragile.processes if process.name == ("API" if kill == "api" else "worker"))
    victim.kill()
    victim.start()
    host.gate.set()
    caller.join()
    assert found[0] in ((0,) if kill == "api" else (200, 503))
    # Jobs that go on without their caller have ended then.
    eventually(lambda: group_answers(group) and not unfinished(client), FOREVER_S)
    exists = group.ask("exists", "Bob")["exists"]
    assert exists == (found[0] == 200) or kill == "api"
    if exists:
        assert client.send("GET", "/v1/identities/Bob?space=killed").json()["samples"] == 1
        assert eventually(lambda: verified(group, "Bob"), FOREVER_S) is True
    else:
        assert client.send("GET", "/v1/identities?space=killed").json()["items"] == []


def group_answers(group: Caller) -> bool:
    try:
        return group.ask("exists", "nobody")["exists"] is False
    except requests.ConnectionError:
        return False


def unfinished(client: Client) -> list[Any]:
    return [one for status in ("pending", "running") for one in items(client, f"/v1/jobs?status={status}")]


def items(client: Client, path: str) -> list[Any]:
    return list(client.send("GET", path).json()["items"])
