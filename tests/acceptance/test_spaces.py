"""The spaces API as its clients use it: the conformance checks of its contract, on the whole service."""

import base64
import json
import re
import struct
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pydub import AudioSegment
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from shared.local.stack import Stack, free_port
from tests.support.client import Client, eventually
from tests.support.readme import DOCUMENTS
from tests.support.sounds import DATA, encode, join, lasting, read
from tests.support.stacks import bugs, make_client, running

ADA = [read(path) for path in sorted(DATA.glob("1688-*.flac"))]
BOB = [read(path) for path in sorted(DATA.glob("2609-*.flac"))]
#: Ada speaks most in it, and nothing of `ADA` is in it.
CONVERSATION = (DATA / "conversation.flac").read_bytes()
DURATION = re.compile(r"PT\d+\.\d{3}S")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
SOURCES = (
    "aws", "azure", "deepgram", "elevenlabs", "google", "ibm", "lmnt", "murf", "openai", "playht", "speechify", "other",
)  # fmt: skip
FOREVER_S = 120


class Caller:
    """Client of the spaces API, in one space of its own."""

    def __init__(self, client: Client, owner: str, space: str = "main", base: str = "/v1") -> None:
        self.client = client
        self.base = base
        self.owner = owner
        self.space = f"{base}/spaces/{owner}/{space}"

    def call(self, method: str, path: str, expected: int, **options: Any) -> Any:
        """Send a request, to a path in the space unless it begins with the base; returns the body of the answer."""
        whole = path if path.startswith(self.base) else self.space + path
        headers = {"Authorization": f"Bearer {self.client.key}"} | options.pop("headers", {})
        answer = requests.request(method, self.client.url + whole, headers=headers, timeout=FOREVER_S, **options)
        assert answer.status_code == expected, (method, path, answer.status_code, answer.text)
        body = answer.json() if answer.content else None
        # Real clients take any `message` for a failure.
        assert ("message" in body) == (expected >= 400) if isinstance(body, dict) else True
        return body

    def get(self, path: str, expected: int = 200) -> Any:
        return self.call("GET", path, expected)

    def post(self, path: str, expected: int = 201, **body: Any) -> Any:
        return self.call("POST", path, expected, json=body)

    def act(self, path: str, expected: int = 200) -> Any:
        """POST without a body."""
        return self.call("POST", path, expected)

    def upload(self, sound: bytes, expected: int = 201, **fields: Any) -> Any:
        return self.post("/audios", expected, file=base64.b64encode(sound).decode(), **fields)

    def voiceprint(self, handle: str, least: int = 1, identity: str = "ada", **fields: Any) -> str:
        """Make a voiceprint of an identity; returns its path."""
        asked = {"handle": handle, "identity": identity, "model": "phone/v1", "minAudios": least} | fields
        self.post("/voiceprints", **asked)
        return f"/voiceprints/{identity}/{handle}"

    def verify(self, audio: str, voiceprint: str = "computed") -> Any:
        return self.post("/verifications/identity", audio=audio, identity="ada", voiceprint=voiceprint)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    bind = f"127.0.0.1:{free_port()}"
    with running(tmp_path_factory.mktemp("spaces"), worker_processes=1, stream_bind=bind) as stack:
        yield stack
        assert bugs(stack) == []


@pytest.fixture(scope="module")
def rival(stack: Stack) -> Caller:
    """Another client with a space of the same handle."""
    caller = Caller(make_client(stack, "Rival"), "rival")
    caller.post("/v1/spaces/rival", handle="main")
    return caller


@pytest.fixture(scope="module")
def acme(stack: Stack) -> Caller:
    """Client with a space, an identity, recordings of two people and a computed voiceprint of one."""
    caller = Caller(make_client(stack, "Acme Corp."), "acme-corp")
    caller.post("/v1/spaces/acme-corp", handle="main", alias="Main")
    caller.post("/identities", handle="ada", alias="Ada Ä")
    caller.upload(encode(ADA[0], "flac"), handle="ada-short")
    caller.upload(CONVERSATION, handle="ada-long")
    caller.upload(encode(ADA[1], "flac"), handle="ada-probe")
    caller.upload(encode(join(BOB), "wav"), handle="bob")
    caller.upload(encode(AudioSegment.silent(4000, frame_rate=16_000), "wav"), handle="silence")
    voiceprint = caller.voiceprint("computed", alias="Computed")
    caller.act(f"{voiceprint}/audios/ada-long")
    caller.act(f"{voiceprint}:compute")
    return caller


def test_without_a_key_the_answer_is_401_with_a_message(acme: Caller) -> None:
    answer = requests.get(f"{acme.client.url}/v1/user", timeout=FOREVER_S)
    assert answer.status_code == 401
    assert set(answer.json()) == {"code", "message", "requestId"}


def test_user_and_organization_are_the_client(acme: Caller) -> None:
    user = acme.get("/v1/user")
    assert (user["type"], user["handle"], user["alias"]) == ("user", "acme-corp", "Acme Corp.")
    (org,) = acme.get("/v1/orgs")
    assert acme.get("/v1/orgs/acme-corp") == org
    assert org["type"] == "org"


def test_credentials_give_a_token_that_works_as_the_key_does(acme: Caller) -> None:
    key = acme.client.key
    token = acme.post("/v1/auth/credentials", 200, handle="acme-corp", password=key)["token"]
    session = Caller(Client(acme.client.url, token), "acme-corp")
    assert session.get("/v1/user") == acme.get("/v1/user")
    assert session.get("/identities/ada")["handle"] == "ada"
    for wrong in ({"handle": "rival", "password": key}, {"handle": "acme-corp", "password": token}):
        acme.post("/v1/auth/credentials", 401, **wrong)
    # The last character has bits that nobody reads.
    forged = token[:-9] + ("A" if token[-9] == "B" else "B") + token[-8:]
    Caller(Client(acme.client.url, forged), "acme-corp").get("/v1/user", 401)
    # Nowhere else.
    assert Client(acme.client.url, token).send("GET", "/v1/test").status_code == 401


def test_an_identity_is_made_once_and_has_a_handle_that_fits(acme: Caller) -> None:
    made = acme.post("/identities", handle="grace", alias="Grace")
    assert (made["handle"], made["alias"], made["audios"], made["voiceprints"]) == ("grace", "Grace", 0, 0)
    acme.post("/identities", 409, handle="grace")
    for wrong in ("A b", "a" * 51, "-a", "a--b", "ä", "", 1):
        acme.post("/identities", 400, handle=wrong)
    acme.post("/identities", handle="a" * 50)
    nameless = acme.post("/identities")
    assert nameless["handle"] == nameless["id"]
    assert acme.get("/identities/grace") == made
    acme.get("/identities/nobody", 404)
    changed = acme.call("PATCH", "/identities/grace", 200, json={"handle": "hopper", "alias": None})
    assert (changed["handle"], changed["alias"]) == ("hopper", None)
    acme.call("DELETE", "/identities/hopper", 204)
    acme.get("/identities/hopper", 404)


def test_a_foreign_owner_is_an_unknown_one(acme: Caller, rival: Caller) -> None:
    foreign, unknown = (acme.get(f"/v1/spaces/{owner}/main", 404) for owner in ("rival", "nobody"))
    assert foreign["message"] == unknown["message"]


def test_an_audio_waits_for_its_one_file(acme: Caller) -> None:
    made = acme.post("/audios", handle="raw")
    assert (made["state"], made["fileState"], made["duration"], made["uploadedAt"]) == ("avaitingFile",) * 2 + (
        None,
    ) * 2
    sound = encode(ADA[0], "mp3")
    heard = acme.call("POST", "/audios/raw/file", 200, data=sound)
    assert heard["state"] == "available"
    assert TIME.fullmatch(heard["uploadedAt"])
    assert DURATION.fullmatch(heard["duration"])
    acme.call("POST", "/audios/raw/file", 409, data=sound)
    assert acme.get("/audios/raw") == heard
    # The recording itself was dropped when it had been heard, and the upload with it.
    acme.get("/audios/raw/file", 404)
    assert acme.client.send("GET", "/v1/media").json()["items"] == []
    acme.call("DELETE", "/audios/raw", 204)
    acme.get("/audios/raw", 404)


def test_a_file_may_come_chunked_or_within_json(acme: Caller) -> None:
    acme.post("/samples", handle="chunked")
    sound = encode(ADA[0], "wav")
    pieces = (sound[start : start + 50_000] for start in range(0, len(sound), 50_000))
    assert acme.call("POST", "/samples/chunked/file", 200, data=pieces)["fileState"] == "available"
    body = json.dumps({"handle": "chunked-json", "file": base64.b64encode(sound).decode()}).encode()
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    made = acme.call("POST", "/samples", 201, data=pieces, headers={"Content-Type": "application/json"})
    assert made["state"] == made["fileState"] == "available"
    assert re.fullmatch(r"PT\d+\.\d{3}S", made["voiceDuration"])
    assert made["sampleRate"] == 16_000


def test_the_sound_of_an_audio_is_given_where_the_space_keeps_recordings(acme: Caller) -> None:
    kept = Caller(acme.client, "acme-corp", "keeping")
    changed = acme.client.send("PATCH", "/v1/space?space=keeping", json={"keepRecordingsSeconds": 3600})
    assert changed.status_code == 200, changed.text
    kept.upload(encode(ADA[0], "mp3"), handle="kept")
    answer = acme.client.send("GET", f"{kept.space}/audios/kept/file")
    assert (answer.status_code, answer.headers["Content-Type"], answer.content[:4]) == (200, "audio/wav", b"RIFF")
    kept.call("DELETE", "/audios/kept", 204)
    kept.get("/audios/kept/file", 404)


def test_20_mb_within_json_are_taken_and_more_than_32_are_not(acme: Caller) -> None:
    sound = lasting(join(ADA), 105).set_frame_rate(48_000).set_channels(2)
    head = b"RIFF" + struct.pack("<I", 36 + len(sound.raw_data)) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 2, 48_000, 192_000, 4, 16) + b"data" + struct.pack("<I", len(sound.raw_data))
    assert len(sound.raw_data) > 20_000_000
    made = acme.upload(head + sound.raw_data, handle="twenty-megabytes")
    assert made["duration"] == "PT105.000S"
    acme.upload(bytes(26_000_000), 413, handle="too-large")
    acme.get("/audios/too-large", 404)


@pytest.mark.parametrize("file", ["not base64: ä", "", 5, base64.b64encode(b"<html>no audio</html>").decode()])
def test_what_is_no_audio_is_refused_and_not_kept(acme: Caller, file: Any) -> None:
    body = acme.call("POST", "/audios", 422 if isinstance(file, str) and file[:4] == "PGh0" else 400,
                     json={"handle": "no-audio", "file": file})  # fmt: skip
    assert body["message"]
    acme.get("/audios/no-audio", 404)


def test_a_raw_upload_that_is_no_audio_is_not_available(acme: Caller) -> None:
    handle = acme.post("/audios")["handle"]
    assert "recording" in acme.call("POST", f"/audios/{handle}/file", 422, data=b"no audio")["message"]
    assert acme.get(f"/audios/{handle}")["state"] == "notAvailable"
    acme.post("/verifications/identity", 409, audio=handle, identity="ada", voiceprint="computed")


def test_an_audio_becomes_an_identitys_once(acme: Caller) -> None:
    acme.post("/identities", handle="eve")
    first, second = (acme.post("/audios")["handle"] for _ in range(2))
    assert acme.post(f"/audios/{first}:identify", 200, identity="ada")["identity"] == {
        "handle": "ada",
        "alias": "Ada Ä",
    }
    acme.post(f"/audios/{first}%3Aidentify", 409, identity="eve")
    assert acme.post(f"/samples/{second}/identify", 200, identity="eve")["identity"]["handle"] == "eve"
    acme.post(f"/audios/{second}:identify", 404, identity="nobody")
    third = acme.post("/audios", identity="eve")
    assert third["identity"]["handle"] == "eve"
    acme.post("/audios", 404, identity="nobody", handle="of-nobody")


def test_a_voiceprint_is_made_at_both_paths_in_both_vocabularies(acme: Caller) -> None:
    sane = acme.post("/voiceprints", handle="sane", identity="ada", model="phone/v1", minAudios=2)
    odd = acme.post(
        "/identities", handle="odd", identity="ada", model={"handle": "phone", "version": "v1"}, minSamples=2
    )
    for one in (sane, odd):
        assert (one["state"], one["model"], one["minAudios"], one["minSamples"]) == ("notComputable", "phone/v1", 2, 2)
        assert (one["audios"], one["samples"], one["totalDuration"], one["computedAt"]) == (0, 0, "PT0.000S", None)
        assert one["identity"] == {"handle": "ada", "alias": "Ada Ä"}
    acme.post("/voiceprints", 404, handle="x", identity="nobody", model="phone/v1", minAudios=1)
    acme.post("/voiceprints", 400, handle="x", identity="ada", model="no-such-model", minAudios=1)
    acme.post("/voiceprints", 409, handle="sane", identity="ada", model="phone/v1", minAudios=1)
    acme.get("/voiceprints/ada/none", 404)
    handles = [one["handle"] for one in acme.get("/identities/ada/voiceprints?sort=handle")]
    assert handles == sorted(handles)
    assert {"sane", "odd", "computed"} <= set(handles)


def test_the_models_requirements_are_checked_when_an_audio_is_added(acme: Caller) -> None:
    acme.post("/identities", handle="iris")
    voiceprint = acme.voiceprint("demanding", identity="iris")
    refusal = acme.act(f"{voiceprint}/audios/ada-short", 422)
    assert "at least 4.5 s" in refusal["message"]
    assert "needs 4.5 s" in acme.act(f"{voiceprint}/samples/silence", 422)["message"]
    acme.act(f"{voiceprint}/audios/no-such-audio", 404)
    acme.upload(encode(join(ADA), "wav-8k"), handle="iris-telephone")
    digital = acme.voiceprint("digital", identity="iris", model="digital/v1")
    assert "16000 Hz" in acme.act(f"{digital}/audios/iris-telephone", 422)["message"]
    assert acme.act(f"{voiceprint}/audios/iris-telephone")["audios"] == 1
    # 110 s and 9 s fit into two minutes, 9 s more do not.
    acme.upload(encode(lasting(read(DATA / "conversation.flac"), 110), "mp3"), handle="iris-long")
    acme.act(f"{voiceprint}/audios/iris-long")
    acme.upload(encode(join(ADA), "ogg-opus"), handle="iris-more")
    assert "120 s" in acme.act(f"{voiceprint}/audios/iris-more", 422)["message"]
    acme.act(f"{voiceprint}/audios/iris-long")


def test_audios_are_added_once_removed_and_settled_by_the_computation(acme: Caller) -> None:
    voiceprint = acme.voiceprint("story", least=2)
    acme.act(f"{voiceprint}:compute", 409)
    first = acme.act(f"{voiceprint}/audios/ada-short")
    assert (first["audios"], first["state"]) == (1, "notComputable")
    assert acme.act(f"{voiceprint}/samples/ada-short") == first
    both = acme.act(f"{voiceprint}/audios/ada-long")
    assert (both["audios"], both["samples"], both["state"]) == (2, 2, "computable")
    assert float(both["totalDuration"][2:-1]) > float(first["totalDuration"][2:-1])
    fewer = acme.call("DELETE", f"{voiceprint}/audios/ada-short", 200)
    assert (fewer["audios"], fewer["state"], fewer["computedAt"]) == (1, "notComputable", None)
    acme.act(f"{voiceprint}/audios/ada-short")
    answer = acme.client.send("GET", f"{acme.space}{voiceprint}/audios")
    assert {audio["handle"] for audio in answer.json()} == {"ada-short", "ada-long"}
    assert answer.headers["Page-Total"] == "1"
    acme.act(f"{voiceprint}%3Acompute")
    computed = eventually(lambda: (now := acme.get(voiceprint))["state"] == "computed" and now)
    assert TIME.fullmatch(computed["computedAt"])
    assert computed["audios"] == 2
    acme.act(f"{voiceprint}:compute", 409)
    acme.act(f"{voiceprint}/audios/ada-probe", 409)
    acme.call("DELETE", f"{voiceprint}/audios/ada-short", 409)


@pytest.mark.parametrize("form", ["flac", "mp3"])
def test_a_copy_of_a_recording_does_not_count_as_another_one(acme: Caller, form: str) -> None:
    voiceprint = acme.voiceprint(f"copied-{form}", least=2)
    acme.act(f"{voiceprint}/audios/ada-long")
    acme.upload(encode(read(DATA / "conversation.flac"), form), handle=f"ada-long-{form}")
    assert "copy of ada-long" in acme.act(f"{voiceprint}/audios/ada-long-{form}", 422)["message"]
    assert acme.get(voiceprint)["state"] == "notComputable"


def test_of_two_computations_at_once_one_wins(acme: Caller) -> None:
    voiceprint = acme.voiceprint("race")
    acme.act(f"{voiceprint}/audios/ada-long")
    records = len(acme.get("/v1/orgs/acme-corp/records/voiceprint?page-size=100"))
    found: list[int] = []

    def compute() -> None:
        found.append(acme.client.send("POST", f"{acme.space}{voiceprint}:compute").status_code)

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 409, 409, 409]
    eventually(lambda: acme.get(voiceprint)["state"] == "computed")
    assert len(acme.get("/v1/orgs/acme-corp/records/voiceprint?page-size=100")) == records + 1


def test_samples_of_two_people_are_not_computed(acme: Caller) -> None:
    acme.post("/identities", handle="two")
    sounds = {"two-ada": join(ADA), "two-bob": join(BOB)}
    acme.post("/voiceprints", handle="mixed", identity="two", model="default/v1", minAudios=2)
    for handle, sound in sounds.items():
        acme.upload(encode(sound, "flac"), handle=handle)
        acme.act(f"/voiceprints/two/mixed/audios/{handle}")
    refusal = acme.act("/voiceprints/two/mixed:compute", 409)
    assert "Unlike the other samples" in refusal["message"]
    assert acme.get("/voiceprints/two/mixed")["state"] == "computable"


def test_lists_are_arrays_in_pages(acme: Caller) -> None:
    acme.post("/v1/spaces/acme-corp", handle="many")
    many = Caller(acme.client, "acme-corp", "many")
    made = [many.post("/identities", handle=f"person-{number}", alias=f"Ärztin {number}") for number in range(5)]
    answer = acme.client.send("GET", f"{many.space}/identities?page=2&page-size=2")
    pages = {name: answer.headers[name] for name in ("Page-Total", "Page-Size", "Page-Current", "Item-Total")}
    assert pages == {"Page-Total": "3", "Page-Size": "2", "Page-Current": "2", "Item-Total": "5"}
    assert answer.json() == [made[2], made[1]]
    assert many.get("/identities?page=99") == []
    assert len(many.get("/identities?page-size=50")) == len(many.get("/identities?page-size=1000")) == 5
    assert [one["handle"] for one in many.get("/identities?search=tin 3")] == ["person-3"]
    between = f"after={made[1]['createdAt']}&before={made[3]['createdAt']}"
    assert many.get(f"/identities?{between}&sort=createdAt") == made[3:0:-1]
    for wrong in ("page=0", "page=x", "page-size=-1", "sort=shoe", "after=yesterday", f"page={'9' * 30}"):
        many.get(f"/identities?{wrong}", 400)
    acme.call("DELETE", many.space, 204)
    many.get("/identities", 404)


def test_the_same_voice_is_verified_and_another_is_not(acme: Caller) -> None:
    same = acme.verify("ada-probe")
    other = acme.verify("bob")
    for one in (same, other):
        assert one["state"] == "performed"
        assert one["score"] == one["scores"]["identity"]
        assert 0.0001 <= one["score"] <= 0.9999
        assert one["voiceprint"]["identity"] == {"handle": "ada", "alias": "Ada Ä"}
        assert one["scores"]["synthesis_sources"] == dict.fromkeys(SOURCES)
        assert one["scores"]["synthesis"] is one["scores"]["replay"] is None
        assert TIME.fullmatch(one["createdAt"]) and TIME.fullmatch(one["performedAt"])
        assert DURATION.fullmatch(one["duration"]) and DURATION.fullmatch(one["voiceDuration"])
    assert same["score"] > 0.5 > other["score"]
    assert same["model"] == "phone/v1"
    assert acme.get(f"/verifications/identity/{same['handle']}") == same
    assert same in acme.get("/verifications/identity")


def test_a_copy_of_an_enrolled_recording_has_the_replay_score_of_no_natural_one(acme: Caller) -> None:
    # Twice the same audio is no replay: it is the client who names it again.
    for audio in ("ada-long", "ada-probe", "ada-probe"):
        assert acme.verify(audio)["scores"]["replay"] is None
    acme.upload(encode(read(DATA / "conversation.flac"), "mp3"), handle="ada-copy")
    verification = acme.verify("ada-copy")
    assert verification["score"] > 0.5
    assert verification["scores"]["replay"] == 0.0


def test_silence_is_performed_without_a_score(acme: Caller) -> None:
    assert acme.get("/audios/silence")["voiceDuration"] == "PT0.000S"
    verification = acme.verify("silence")
    assert verification["state"] == "performedWithoutScore"
    assert verification["score"] is verification["scores"]["identity"] is verification["scores"]["replay"] is None


def test_a_recording_that_the_model_does_not_take_is_performed_without_a_score(acme: Caller) -> None:
    wide = acme.voiceprint("wide", model="digital/v1.1")
    acme.act(f"{wide}/audios/ada-long")
    acme.act(f"{wide}:compute")
    acme.upload(encode(ADA[1], "wav-8k"), handle="ada-narrow")
    assert acme.verify("ada-narrow", "wide")["state"] == "performedWithoutScore"
    assert acme.verify("ada-narrow")["state"] == "performed"


def test_only_a_computed_voiceprint_and_an_audio_with_its_file_can_be_verified(acme: Caller) -> None:
    acme.voiceprint("unready")
    fields = {"audio": "ada-probe", "identity": "ada", "voiceprint": "computed"}
    acme.post("/verifications/identity", 409, **fields | {"voiceprint": "unready"})
    acme.post("/verifications/identity", 409, **fields | {"audio": acme.post("/audios")["handle"]})
    for name in fields:
        acme.post("/verifications/identity", 404, **fields | {name: "nothing"})
        acme.post("/verifications/identity", 400, **fields | {name: None})


def test_authenticity_has_no_score(acme: Caller) -> None:
    verification = acme.post("/verifications/authenticity", model="default/v1", sample="ada-probe")
    assert (verification["state"], verification["score"]) == ("performedWithoutScore", None)
    assert set(verification["scores"].pop("synthesis_sources").values()) | set(verification["scores"].values()) == {
        None
    }


def test_records_outlive_what_they_refer_to(acme: Caller) -> None:
    voiceprint = acme.voiceprint("doomed", alias="Doomed")
    acme.act(f"{voiceprint}/audios/ada-long")
    acme.act(f"{voiceprint}:compute")
    verification = acme.verify("ada-probe", "doomed")
    (record, *_) = acme.get("/v1/orgs/acme-corp/records/voiceprint")
    assert record["voiceprint"] == {"handle": "doomed", "alias": "Doomed"}
    assert (record["space"]["handle"], record["model"], record["owner"]["type"]) == ("main", "phone/v1", "org")
    assert record["actor"]["handle"] == "acme-corp"
    assert TIME.fullmatch(record["computedAt"])
    (verified, *_) = acme.get("/v1/orgs/acme-corp/records/verification")
    assert verified["verification"] == {"handle": verification["handle"], "alias": None, "type": "identity"}
    acme.call("DELETE", voiceprint, 204)
    assert acme.get(f"/verifications/identity/{verification['handle']}")["voiceprint"] is None
    (kept, *_) = acme.get("/v1/user/records/voiceprint")
    assert (kept["id"], kept["voiceprint"]) == (record["id"], None)
    assert acme.get(f"/v1/records/voiceprint/{record['id']}")["computedAt"] == record["computedAt"]
    acme.get(f"/v1/records/verification/{record['id']}", 404)
    assert acme.get(f"/v1/orgs/acme-corp/records/voiceprint?after={'2100-01-01T00:00:00.000000Z'}") == []
    assert acme.get(f"/v1/orgs/acme-corp/records/verification?before={record['computedAt']}&page=50") == []


def test_every_base_serves_the_same(acme: Caller) -> None:
    for region in ("us", "eu"):
        base = f"/audiointel/{region}/v1"
        regional = Caller(acme.client, "acme-corp", base=base)
        for path in ("/identities/ada", "/audios?sort=handle", "/voiceprints/ada/computed", "/audios/none"):
            expected = 404 if path.endswith("none") else 200
            here, there = (caller.get(path, expected) for caller in (acme, regional))
            assert here == there or ({here.pop("requestId"), there.pop("requestId")} and here == there)
        assert "phone/v1" in [model["name"] for model in regional.get(f"{base}/models")]


def test_a_deleted_space_takes_everything_along(acme: Caller) -> None:
    acme.post("/v1/spaces/acme-corp", handle="short-lived")
    there = Caller(acme.client, "acme-corp", "short-lived")
    there.upload(encode(ADA[0], "flac"), handle="one")
    acme.post("/v1/spaces/acme-corp", 409, handle="short-lived")
    acme.call("PATCH", there.space, 200, json={"handle": "renamed"})
    acme.call("DELETE", f"{acme.base}/spaces/acme-corp/renamed", 204)
    there.get("/audios/one", 404)
    assert "renamed" not in [space["handle"] for space in acme.get("/v1/spaces/acme-corp")]
    assert [item["url"] for item in acme.client.send("GET", "/v1/media").json()["items"]] == []


def table() -> list[tuple[str, str]]:
    """Return method and path of every documented route."""
    text = DOCUMENTS["api/dialects/README.md"]
    return re.findall(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/\S+)` \|", text, re.MULTILINE)


def seen(caller: Caller, method: str, path: str, names: dict[str, str]) -> tuple[int, str]:
    """Return status and body, without what must differ: the request's id, and the names that were asked for."""
    path = re.sub(r"{(\w+)}", lambda found: names[found[1]], path)
    body = {name: names[name] for name in ("audio", "identity", "voiceprint")}
    answer = caller.client.send(method, f"/audiointel/us/v1{path}", json=body if method != "GET" else None)
    text = answer.text.replace(answer.headers["X-Request-Id"], "ID")
    for name in names.values():
        text = text.replace(name, "NAME")
    return answer.status_code, text


def test_what_is_foreign_is_answered_as_what_is_unknown_on_every_route(acme: Caller, rival: Caller) -> None:
    verification = acme.verify("ada-probe")["handle"]
    record = acme.get("/v1/orgs/acme-corp/records/voiceprint")[0]["id"]
    theirs = {"owner": "acme-corp", "org": "acme-corp", "space": "main", "identity": "ada", "audio": "ada-long"}
    theirs |= {"voiceprint": "computed", "verification": verification, "record": record}
    unknown = {name: str(uuid.uuid4()) for name in theirs}
    tried = 0
    # With the other's owner, and with one's own owner and space but the other's handles.
    for own in ({}, {"owner": "rival", "org": "rival", "space": "main"}):
        for method, path in table():
            creates = method == "POST" and path.endswith(("voiceprints", "/identity", "authenticity"))
            if not creates and set(re.findall(r"{(\w+)}", path)) <= own.keys():
                continue
            foreign, nothing = (seen(rival, method, path, names | own) for names in (theirs, unknown))
            assert foreign == nothing, (method, path)
            assert foreign[0] == 404, (method, path, foreign)
            tried += 1
    assert tried > 60
    assert acme.get("/voiceprints/ada/computed")["state"] == "computed"
    assert acme.get(f"/verifications/identity/{verification}")["state"] == "performed"
    for path in ("/v1/user/records/voiceprint", "/v1/spaces/rival/main/identities", "/v1/spaces/rival/main/audios"):
        assert rival.get(path) == []


#: Bodies of which none may end in a server error.
ODD = [
    b"", b"null", b"[]", b"5", b'"x"', b"{", b"[" * 50_000, b"\xff", b'{"handle": "\\ud800"}', b'{"alias": "\\u0000"}',
    b'{"handle": {}, "alias": [], "model": {"handle": 5}, "identity": {}, "file": {}, "minAudios": "x", "audio": 1}',
    b'{"minAudios": ' + b"9" * 5000 + b"}", b'{"minAudios": 1e400, "identity": "ada", "model": null}',
    b'{"identity": "\\u0000", "audio": "../x", "voiceprint": "x/y"}',
]  # fmt: skip


def test_no_body_and_no_path_ends_in_a_server_error(acme: Caller) -> None:
    names = {"org": "acme-corp", "owner": "acme-corp", "space": "main", "identity": "%00", "audio": "a%2Fb"}
    names |= {"voiceprint": "computed%3Acompute", "verification": "'", "record": "%F0%9F%98%80"}
    for method, path in table():
        if method == "DELETE" and path.endswith("{space}"):
            continue
        there = re.sub(r"{(\w+)}", lambda found: names[found[1]], path)
        for body in ODD if method in ("POST", "PATCH") else (b"",):
            json_type = {"Content-Type": "application/json"}
            answer = acme.client.send(method, f"/audiointel/us/v1{there}?search=%00", data=body, headers=json_type)
            assert answer.status_code < 500, (method, path, body[:50], answer.text)


#: The body of a verification as the vendor's reference prints it.
PRINTED = json.loads("""{
"id": "00000000-0000-0000-0000-000000000000",
"handle": "verification-a",
"alias": "Verification A",
"state": "performed",
"mode": "restApi",
"model": "phone/v1.0",
"audio": {
"handle": "audio-a",
"alias": "Audio A",
"state": "available"
},
"voiceprint": {
"handle": "voiceprint-a",
"alias": "Voiceprint A",
"state": "notComputable",
"identity": {
"handle": "identity-a",
"alias": "Identity A"
}
},
"duration": "PT3.500S",
"voiceDuration": "PT3.500S",
"scores": {
"identity": 0.85,
"synthesis": 0.85,
"synthesis_sources": {
"aws": 0.85,
"azure": 0.85,
"deepgram": 0.85,
"elevenlabs": 0.85,
"google": 0.85,
"ibm": 0.85,
"lmnt": 0.85,
"murf": 0.85,
"openai": 0.85,
"playht": 0.85,
"speechify": 0.85,
"other": 0.85
},
"replay": 0.85
},
"createdAt": "2023-01-01T00:00:00.000000Z",
"performedAt": "2023-01-01T00:00:00.000000Z"
}""")


def same_form(printed: Any, found: Any) -> bool:
    """Tell whether a value has the form of the printed one: the same keys, and times, durations and numbers alike."""
    if isinstance(printed, dict):
        return isinstance(found, dict) and all(same_form(value, found[name]) for name, value in printed.items())
    if isinstance(printed, float):
        return found is None or (isinstance(found, float) and 0 <= found <= 1)
    for form in (TIME, DURATION, re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")):
        if form.fullmatch(printed):
            return bool(form.fullmatch(found))
    return isinstance(found, str)


def test_the_documented_examples_work_word_for_word(acme: Caller) -> None:
    acme.post("/identities", handle="identity-a", alias="Identity A")
    acme.upload(encode(join(BOB), "flac"), handle="audio-a", alias="Audio A")
    # The guide's procedure: a voiceprint is created, a sample is added, it is computed, and validated.
    printed = (
        '{"handle": "{voiceprint}", "model": {"handle": "{model}", "version": "{version}"}, '
        '"identity": "{identity}", "minSamples": 1}'
    )
    names = {"voiceprint": "voiceprint-a", "model": "phone", "version": "v1.0", "identity": "identity-a"}
    for name, value in names.items():
        printed = printed.replace(f"{{{name}}}", value)
    made = acme.call("POST", "/identities", 201, json=json.loads(printed))
    assert made["state"] == "notComputable"
    acme.call("PATCH", "/voiceprints/identity-a/voiceprint-a", 200, json={"alias": "Voiceprint A"})
    acme.act("/voiceprints/identity-a/voiceprint-a/samples/audio-a")
    acme.act("/voiceprints/identity-a/voiceprint-a:compute")
    details = eventually(lambda: (now := acme.get("/voiceprints/identity-a/voiceprint-a"))["computedAt"] and now)
    assert (details["state"], details["model"]) == ("computed", "phone/v1.0")
    assert acme.get("/v1/orgs/acme-corp/records/voiceprint")[0]["voiceprint"]["handle"] == "voiceprint-a"
    # The reference's example of a verification.
    asked = {"audio": "audio-a", "identity": "identity-a", "voiceprint": "voiceprint-a"}
    verified = acme.post("/verifications/identity", handle="verification-a", alias="Verification A", **asked)
    assert same_form(PRINTED, verified), verified
    exact = ("handle", "alias", "state", "mode", "model", "audio")
    assert {name: verified[name] for name in exact} == {name: PRINTED[name] for name in exact}
    assert verified["voiceprint"] == PRINTED["voiceprint"] | {"state": "computed"}
    assert set(verified) == {*PRINTED, "score"}


@pytest.fixture(scope="module")
def sockets(stack: Stack) -> str:
    return f"ws://{stack.settings.stream_bind}"


def opened(sockets: str, caller: Caller, kind: str = "identity", base: str = "/v1") -> Any:
    headers = {"Authorization": f"Bearer {caller.client.key}"}
    return connect(f"{sockets}{base}/spaces/{caller.owner}/main/verify/{kind}", additional_headers=headers)


def send_recording(socket: Any, sound: bytes) -> None:
    for start in range(0, len(sound), 16 * 1024):
        socket.send(sound[start : start + 16 * 1024])
    socket.send(json.dumps({"type": "close"}))


def told(socket: Any) -> Any:
    """Return the message of the server, behind which it closes."""
    message = json.loads(socket.recv(FOREVER_S))
    with pytest.raises(ConnectionClosed):
        socket.recv(FOREVER_S)
    return message


def test_a_recording_is_verified_over_a_websocket(acme: Caller, sockets: str) -> None:
    opening = {"model": "phone/v1", "identity": "ada", "voiceprint": "computed", "config": {}, "audioFormat": "wav"}
    with opened(sockets, acme, base="/audiointel/eu/v1") as socket:
        socket.send(json.dumps(opening))
        send_recording(socket, encode(ADA[1], "ogg-opus"))
        message = told(socket)
    assert message["type"] == "verification"
    verification = message["verification"]
    assert (verification["mode"], verification["state"], verification["audio"]) == ("websocket", "performed", None)
    assert verification["scores"]["identity"] > 0.5
    assert verification.pop("chunks") == []
    assert acme.get(f"/verifications/identity/{verification['handle']}") == verification
    assert acme.client.send("GET", "/v1/media").json()["items"] == []


def test_authenticity_over_a_websocket_has_no_score(acme: Caller, sockets: str) -> None:
    with opened(sockets, acme, "authenticity") as socket:
        socket.send(json.dumps({"model": "default/v1", "config": {"synthesisSources": True}}))
        send_recording(socket, encode(ADA[1], "wav"))
        message = told(socket)
    assert (message["type"], message["verification"]["scores"]["synthesis"]) == ("verification", None)


@pytest.mark.parametrize(
    "messages",
    [
        ["no json"],
        ['{"identity": "ada"}'],
        ['{"identity": "ada", "voiceprint": "none"}'],
        ['{"identity": "ada", "voiceprint": "computed"}', '{"type": "unknown"}'],
        ['{"identity": "ada", "voiceprint": "computed"}', b"<html>no audio</html>", '{"type": "close"}'],
        [b"\xff"],
        ["[" * 100_000],
    ],
    ids=lambda messages: str(messages[-1])[:20],
)
def test_what_is_wrong_over_a_websocket_is_told_before_it_closes(
    acme: Caller, sockets: str, messages: list[str | bytes]
) -> None:
    with opened(sockets, acme) as socket:
        for message in messages:
            socket.send(message)
        error = told(socket)
    assert error["type"] == "error"
    assert error["code"]
    assert error["message"]


def test_a_recording_over_a_websocket_has_a_limit(acme: Caller, sockets: str) -> None:
    with opened(sockets, acme) as socket:
        socket.send('{"identity": "ada", "voiceprint": "computed"}')
        for _ in range(128):
            socket.send(bytes(256 * 1024))
        socket.send(b"more")
        assert told(socket)["code"] == "request_too_large"
    assert acme.client.send("GET", "/v1/media").json()["items"] == []


def test_a_websocket_needs_a_key_and_a_space_of_ones_own(acme: Caller, rival: Caller, sockets: str) -> None:
    nobody = Caller(Client(acme.client.url, "sk_none"), "acme-corp")
    stranger = Caller(rival.client, "acme-corp")
    lost = Caller(rival.client, "no-such-owner")
    found = []
    for caller in (nobody, stranger, lost):
        with pytest.raises(InvalidStatus) as refused, opened(sockets, caller):
            pass
        body = json.loads(refused.value.response.body or b"{}")
        found.append((refused.value.response.status_code, body["message"]))
    assert [status for status, _ in found] == [401, 404, 404]
    assert found[1] == found[2]


def test_a_stream_that_is_stopped_goes_away(acme: Caller, stack: Stack, sockets: str) -> None:
    (process,) = (one for one in stack.processes if one.name == "stream")
    with opened(sockets, acme) as socket:
        socket.send('{"identity": "ada", "voiceprint": "computed"}')
        socket.send(b"RIFF")
        process.stop()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(FOREVER_S)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
    assert acme.client.send("GET", "/v1/media").json()["items"] == []
    process.start()
    eventually(lambda: answers(stack))


def answers(stack: Stack) -> bool:
    try:
        return requests.get(f"http://{stack.settings.stream_bind}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False
