"""People whom the service remembers: enrol, verify, search, export and delete them, over HTTP with real speech."""

import io
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import requests
import soundfile

from shared.domain.voiceprints import Voiceprint
from tests.support.answers import failure, fields, refused
from tests.support.client import Client, Json, eventually
from tests.support.jobs import done, ok, upload
from tests.support.receiver import receiving
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, running

#: Two recordings of each of three people.
ANN = ("1688-142285-0005.flac", "1688-142285-0008.flac")
BOB = ("2609-156975-0000.flac", "2609-156975-0009.flac")
CEC = ("3080-5032-0000.flac", "3080-5032-0003.flac")
CONSENT = {"givenAt": "2026-05-04T09:30:00Z", "reference": "contract 17", "text": "Know me by my voice."}
VERIFY_FIELDS = {
    "score", "confidence", "decision", "operatingPoint", "leastConfidence", "calibrated", "model", "netSpeechSeconds",
    "dominantSpeaker", "quality", "channels", "timings",
}  # fmt: skip


def wav_of(name: str, start_s: float, end_s: float) -> bytes:
    """Return a part of a recording as a wav file."""
    samples, rate_hz = soundfile.read(DATA / name)
    file = io.BytesIO()
    soundfile.write(file, samples[int(start_s * rate_hz) : int(end_s * rate_hz)], rate_hz, format="WAV")
    return file.getvalue()


def enrol(client: Client, identity: str, file: str, **fields: object) -> Json:
    return done(client, ok(client.post("/v1/enrol", identity=identity, url=upload(client, file), **fields)))


def verify(client: Client, identity: str, file: str, **fields: object) -> Json:
    return done(client, ok(client.post("/v1/verify", identity=identity, url=upload(client, file), **fields)))


@pytest.fixture(scope="module")
def people(client: Client) -> Client:
    """The client, who has enrolled three people in a space, by one recording each."""
    for handle, (name, _) in {"ann": ANN, "bob": BOB, "cec": CEC}.items():
        enrol(client, handle, name, space="people")
    return client


def test_a_person_is_enrolled_by_one_request_and_again_by_the_next(client: Client) -> None:
    handle, name = "a+b@example.org", "Ann B."
    first = enrol(client, handle, ANN[0], name=name, consent=CONSENT)
    again = enrol(client, handle, ANN[1])
    assert first["identity"] == again["identity"] == handle
    assert first["identityId"] == again["identityId"]
    assert [one["enrolment"]["samples"] for one in (first, again)] == [1, 2]
    assert again["enrolment"]["enrolmentId"] == first["enrolment"]["enrolmentId"]
    found = ok(client.send("GET", f"/v1/identities/{handle}"))
    assert (found["name"], found["samples"], found["models"]) == (name, 2, [again["model"]])
    assert found["consent"] == CONSENT | {"givenAt": "2026-05-04T09:30:00.000Z"}
    assert ok(client.send("GET", f"/v1/identities/{found['identityId']}")) == found


def test_the_right_person_is_accepted_and_another_is_not(people: Client) -> None:
    right = verify(people, "ann", ANN[1], space="people")
    wrong = verify(people, "bob", ANN[1], space="people")
    assert (right["decision"], wrong["decision"]) == ("accept", "reject")
    assert right["confidence"] > 90 > 10 > wrong["confidence"]
    assert set(right) >= VERIFY_FIELDS
    assert (right["identity"], right["space"], right["replay"]) == ("ann", "people", None)
    kept = ok(people.send("GET", f"/v1/identities/ann/verifications/{right['verificationId']}?space=people"))
    assert kept["state"] == "performed"
    assert {name: kept["result"][name] for name in ("score", "confidence", "decision", "netSpeechSeconds")} == {
        name: right[name] for name in ("score", "confidence", "decision", "netSpeechSeconds")
    }


def test_a_recording_that_was_heard_before_is_told_of(people: Client) -> None:
    output = verify(people, "cec", CEC[0], space="people", operatingPoint="strict")
    assert output["replay"]["kind"] == "same"
    assert output["replay"]["of"] == "sample"
    assert "copy" in output["warning"]
    assert output["leastConfidence"] == 90


def test_a_search_finds_the_right_person_and_nobody_for_a_stranger(people: Client) -> None:
    url = upload(people, BOB[1])
    output = done(people, ok(people.post("/v1/search", url=url, space="people")))
    assert [match["identity"] for match in output["matches"]] == ["bob"]
    assert output["matches"][0]["confidence"] > 90
    assert (output["searched"], output["skipped"]) == (3, 0)
    enrol(people, "ann", ANN[0], space="alone")
    nobody = done(people, ok(people.post("/v1/search", url=url, space="alone")))
    assert nobody["matches"] == []
    assert nobody["nobody"] > 90


def test_speakers_are_named_by_identities_and_by_a_space(people: Client) -> None:
    url = people.upload("talk.flac", (DATA / "conversation.flac").read_bytes())
    matching = {"threshold": 50}
    for whom in ({"identities": ["ann", "cec"], "space": "people"}, {"space": "people"}):
        output = done(people, ok(people.post("/v1/identify", url=url, matching=matching, **whom)))
        assert {turn["match"] for turn in output["identification"]} - {None} == {"ann", "cec"}, whom


def test_an_enrolment_of_samples_is_computed_once(client: Client) -> None:
    ok(client.post("/v1/identities", handle="once"), 201)
    for number, name in enumerate(ANN):
        added = ok(client.post("/v1/identities/once/samples", url=upload(client, name), handle=f"once-{number}"), 202)
        assert done(client, added)["sampleId"] == added["sampleId"] == added["jobId"]
    path = "/v1/identities/once/enrolments"
    wanted = {"samples": ["once-0", "once-1"], "kind": "once"}
    made = ok(client.post(path, **wanted), 202)
    output = done(client, made)
    assert (output["enrolment"]["samples"], output["enrolment"]["kind"]) == (2, "once")
    assert refused(client.post(path, **wanted), 409, "handle_taken")
    assert refused(client.post("/v1/enrol", identity="once", url="media://x"), 409, "wrong_state")
    states = [one["state"] for one in ok(client.send("GET", path))["items"]]
    assert states == ["computed"]


def test_a_sample_of_another_voice_is_refused(client: Client) -> None:
    ok(client.post("/v1/identities", handle="mixed"), 201)
    for name in (ANN[0], ANN[1], BOB[0]):
        done(client, ok(client.post("/v1/identities/mixed/samples", url=upload(client, name)), 202))
    made = ok(client.post("/v1/identities/mixed/enrolments", samples="all"), 202)
    job = client.wait(made["jobId"], 60)
    assert (job["status"], job["output"]["code"]) == ("failed", "sample_refused")
    enrolment = ok(client.send("GET", f"/v1/identities/mixed/enrolments/{made['enrolmentId']}"))
    assert (enrolment["state"], enrolment["failure"]["code"]) == ("open", "sample_refused")


def test_a_recording_that_cannot_be_enrolled_says_why(client: Client) -> None:
    short = client.upload("short.wav", wav_of(ANN[0], 0.0, 3.0))
    for url, code in ((short, "sample_refused"), (client.upload("nothing.wav", b"no sound"), "not_audio")):
        accepted = ok(client.post("/v1/enrol", identity="unheard", url=url))
        failure(client.wait(accepted["jobId"]), code)
        sample = ok(client.send("GET", f"/v1/identities/unheard/samples/{accepted['sampleId']}"))
        assert (sample["state"], sample["failure"]["code"], sample["heard"]) == ("failed", code, None)
    refused(client.post("/v1/verify", identity="unheard", url=short), 409, "not_enrolled")


def test_a_voiceprint_is_exported_and_made_an_enrolment_of_again(people: Client) -> None:
    exported = ok(people.send("GET", "/v1/identities/ann/enrolments/main/voiceprint?space=people"))
    assert Voiceprint.decode(exported["voiceprint"]).model_id == exported["model"]
    ok(people.post("/v1/identities", handle="brought"), 201)
    made = ok(people.post("/v1/identities/brought/enrolments", voiceprints=[exported["voiceprint"]]), 201)
    assert (made["state"], made["model"], made["samples"]) == ("computed", exported["model"], 1)
    assert verify(people, "brought", ANN[1])["decision"] == "accept"
    log = ok(people.send("GET", "/v1/audit", params={"kind": "enrolment"}))["items"]
    assert "export" in [entry["action"] for entry in log]


def test_an_enrolment_is_recomputed_only_where_its_recordings_are_kept(client: Client) -> None:
    enrol(client, "dropped", ANN[0], space="dropping")
    path = "/v1/identities/{}/enrolments/main/recompute?space={}"
    said = refused(client.post(path.format("dropped", "dropping")), 409, "enrol_again")
    assert "keepRecordingsSeconds" in said["message"]
    ok(client.send("PATCH", "/v1/space?space=keeping", json={"keepRecordingsSeconds": 3600}))
    enrol(client, "kept", ANN[0], space="keeping")
    again = done(client, ok(client.post(path.format("kept", "keeping")), 202))
    assert again["enrolment"]["version"] == 2


def test_a_deletion_takes_everything_and_gives_a_receipt(client: Client) -> None:
    first = enrol(client, "leaving", ANN[0])
    verified = verify(client, "leaving", ANN[1])
    receipt = ok(client.send("DELETE", "/v1/identities/leaving"))
    assert receipt["identityId"] == first["identityId"]
    assert receipt["removed"] == {"identities": 1, "samples": 1, "enrolments": 1, "verifications": 1}
    refused(client.send("GET", "/v1/identities/leaving"), 404, "not_found")
    for job_id in (first["sampleId"], verified["verificationId"]):
        refused(client.send("GET", f"/v1/jobs/{job_id}"), 404, "not_found")
    refused(client.send("DELETE", "/v1/identities/leaving"), 404, "not_found")


def test_a_space_goes_with_all_that_is_in_it(client: Client) -> None:
    enrol(client, "ann", ANN[0], space="leaving")
    removed = ok(client.send("DELETE", "/v1/space?space=leaving"))["removed"]
    assert removed == {"spaces": 1, "identities": 1, "samples": 1, "enrolments": 1, "verifications": 0}
    refused(client.send("GET", "/v1/identities/ann?space=leaving"), 404, "not_found")


def ids_of(answer: requests.Response) -> Json:
    """Return what an accepted request tells, but for the status, which moves on."""
    assert answer.status_code in (200, 202), answer.text
    return {name: value for name, value in answer.json().items() if name != "status"}


def test_a_repeated_request_finds_its_records_again(client: Client) -> None:
    url = upload(client, ANN[0])
    requests_of = {
        "/v1/enrol": {"identity": "twice", "url": url},
        "/v1/identities/twice/samples": {"url": url},
        "/v1/verify": {"identity": "twice", "url": url},
        "/v1/identities/twice/verify": {"url": url},
        "/v1/identities/twice/enrolments": {"samples": "all", "handle": "second"},
        "/v1/search": {"url": url},
    }
    for path, body in requests_of.items():
        send = partial(client.send, "POST", path, headers={"Idempotency-Key": str(uuid.uuid4())})
        with ThreadPoolExecutor(8) as at_once:
            answers = list(at_once.map(lambda send, body: send(json=body), [send] * 8, [body] * 8))
        done(client, ids_of(answers[0]))
        assert [ids_of(answer) for answer in [*answers, send(json=body)]] == [ids_of(answers[0])] * 9, path
        refused(send(json=body | {"url": "media://else"}), 422, "idempotency_mismatch")
        refused(send(json=body, params={"space": "default"}), 422, "idempotency_mismatch")
    found = ok(client.send("GET", "/v1/identities/twice"))
    assert (found["samples"], found["enrolments"], found["verifications"]) == (2, 2, 2)


def test_many_first_enrolments_at_once_make_one_identity(client: Client) -> None:
    url = upload(client, ANN[0])
    with ThreadPoolExecutor(8) as at_once:
        made = list(at_once.map(lambda _: client.post("/v1/enrol", identity="rushed", url=url), range(8)))
    assert len({ok(answer)["identityId"] for answer in made}) == 1
    assert max(done(client, answer.json())["enrolment"]["samples"] for answer in made) == 8


def test_a_webhook_tells_of_a_verification(people: Client) -> None:
    with receiving("204") as hook:
        url = upload(people, ANN[1])
        body = {"identity": "ann", "space": "people", "url": url, "webhook": hook.url}
        job_id = ok(people.post("/v1/verify", **body))["jobId"]
        told = json.loads(eventually(lambda: hook.posts)[0].body)
    assert told["jobId"] == job_id
    assert told["output"] == people.wait(job_id)["output"]
    assert told["output"]["identity"] == "ann"


def test_lists_are_read_page_by_page(client: Client) -> None:
    for number in range(3):
        ok(client.post("/v1/identities", handle=f"p{number}", space="paged"), 201)
    first = ok(client.send("GET", "/v1/identities?space=paged&limit=2"))
    rest = ok(client.send("GET", "/v1/identities", params={"space": "paged", "cursor": first["nextCursor"]}))
    assert [one["handle"] for one in first["items"] + rest["items"]] == ["p2", "p1", "p0"]
    assert (first["total"], rest["nextCursor"]) == (3, None)
    one = ok(client.send("GET", "/v1/identities?space=paged&handle=p1"))
    assert [found["handle"] for found in one["items"]] == ["p1"]
    assert ok(client.send("GET", "/v1/identities?space=paged&handle=p9"))["items"] == []


def test_whoever_must_be_enrolled_again_is_listed(people: Client) -> None:
    def listed(**params: str) -> set[str]:
        found = ok(people.send("GET", "/v1/identities", params={"space": "people", **params}))
        return {one["handle"] for one in found["items"]}

    assert listed(stale="true") == set()
    assert listed(withoutModel="another@1") == {"ann", "bob", "cec"}
    assert listed(withoutModel="another@1", handle="ann") == {"ann"}


def test_usage_and_audit_log_tell_of_it_and_hold_no_names(people: Client) -> None:
    usage = ok(people.send("GET", "/v1/usage", params={"kind": "verification"}))
    assert usage["total"] > 0
    assert {one["kind"] for one in usage["items"]} == {"verification"}
    assert all(one["seconds"] > 0 for one in usage["items"])
    lines = people.send("GET", "/v1/audit", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")
    entries = [json.loads(line) for line in lines.text.splitlines()]
    assert len(entries) >= ok(people.send("GET", "/v1/audit?limit=1"))["total"] - 1
    assert {"create", "verify", "search"} <= {entry["action"] for entry in entries}
    for entry in entries:
        assert set(entry) == {"entryId", "at", "action", "kind", "recordId", "keyId", "requestId"}
        assert str(uuid.UUID(entry["recordId"])) == entry["recordId"]
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert ok(people.send("GET", "/v1/audit", params={"from": later}))["items"] == []


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service whose operator requires consent."""
    folder: Path = tmp_path_factory.mktemp("careful")
    with running(folder, worker_processes=1, require_consent=True, **LOOPBACK) as stack:
        yield first_client(stack)


def test_consent_is_required_where_the_operator_says_so(careful: Client) -> None:
    url = upload(careful, ANN[0])
    said = refused(careful.post("/v1/enrol", identity="ann", url=url), 422, "consent_required")
    assert "TIMBRE_REQUIRE_CONSENT" in said["message"]
    refused(careful.post("/v1/identities", handle="ann"), 422, "consent_required")
    assert ok(careful.send("GET", "/v1/identities"))["items"] == []
    done(careful, ok(careful.post("/v1/enrol", identity="ann", url=url, consent=CONSENT)))
    refused(careful.send("PATCH", "/v1/identities/ann", json={"consent": None}), 422, "consent_required")
    ok(careful.send("PATCH", "/v1/space?space=staff", json={"consentBasis": "works agreement 4"}))
    ok(careful.post("/v1/identities", handle="bob", space="staff"), 201)


def test_no_recording_is_added_once_consent_is_required(careful: Client) -> None:
    basis = "/v1/space?space=former"
    ok(careful.send("PATCH", basis, json={"consentBasis": "works agreement 4"}))
    ok(careful.post("/v1/identities", handle="bob", space="former"), 201)
    ok(careful.send("PATCH", basis, json={"consentBasis": None}))
    refused(
        careful.post("/v1/identities/bob/samples?space=former", url=upload(careful, ANN[0])), 422, "consent_required"
    )
    for path, body in (
        ("/audios", {"identity": "bob"}),
        ("/voiceprints", {"identity": "bob", "handle": "main", "model": "phone/v1", "minAudios": 1}),
    ):
        assert "TIMBRE_REQUIRE_CONSENT" in careful.post(f"/v1/spaces/default/former{path}", **body).json()["message"]


def test_an_identity_is_removed_when_its_time_is_over(client: Client) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    ok(client.post("/v1/identities", handle="passing", expiresAt=soon), 201)
    eventually(lambda: client.send("GET", "/v1/identities/passing").status_code == 404, 120)


def test_another_clients_people_look_like_unknown_ones(people: Client, stranger: Client) -> None:
    identity = ok(people.send("GET", "/v1/identities/ann?space=people"))
    sample = ok(people.send("GET", "/v1/identities/ann/samples?space=people"))["items"][0]["sampleId"]
    enrolment = ok(people.send("GET", "/v1/identities/ann/enrolments?space=people"))["items"][0]["enrolmentId"]
    verification = verify(people, "ann", ANN[1], space="people")["verificationId"]
    for path in (
        "/v1/identities/{}", "/v1/identities/{}/samples", "/v1/identities/{}/enrolments",
        "/v1/identities/{}/verifications", f"/v1/identities/{{}}/samples/{sample}",
        f"/v1/identities/{{}}/enrolments/{enrolment}", f"/v1/identities/{{}}/enrolments/{enrolment}/voiceprint",
        f"/v1/identities/{{}}/verifications/{verification}",
    ):  # fmt: skip
        told = []
        for name in (identity["identityId"], str(uuid.uuid4())):
            body = refused(stranger.send("GET", path.format(name)), 404, "not_found")
            told.append(body["message"].replace(name, "NAME"))
        assert told[0] == told[1], path
    for body in ({"identity": identity["identityId"]}, {"identity": "ann", "space": "people"}):
        refused(stranger.post("/v1/verify", url="media://x", **body), 404, "not_found")
    refused(stranger.post("/v1/search", url="media://x", space="people"), 404, "not_found")
    refused(stranger.post("/v1/identify", url="media://x", space="people"), 404, "not_found")
    assert ok(stranger.send("GET", "/v1/usage"))["items"] == []


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, "identity"),
        ({"identity": ""}, "identity"),
        ({"identity": "a b"}, "identity"),
        ({"identity": "a\x00b"}, "identity"),
        ({"identity": "a" * 129}, "identity"),
        ({"identity": 5}, "identity"),
        ({"identity": "ann", "space": str(uuid.UUID(int=0))}, "space"),
        ({"identity": "ann", "name": "x" * 101}, "name"),
        ({"identity": "ann", "name": "\x00"}, "name"),
        ({"identity": "ann", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"identity": "ann", "expiresAt": "9999-12-31T23:59:59-23:59"}, "expiresAt"),
        ({"identity": "ann", "consent": {"givenAt": "2999-01-01T00:00:00Z", "reference": "x"}}, "consent.givenAt"),
        ({"identity": "ann", "consent": {"givenAt": "2020-01-01T00:00:00", "reference": "x"}}, "consent.givenAt"),
        ({"identity": "ann", "consent": {"givenAt": "2020-01-01T00:00:00Z"}}, "consent.reference"),
    ],
)
def test_a_malformed_enrolment_is_refused_by_its_field(client: Client, body: Json, wrong: str) -> None:
    assert fields(client.post("/v1/enrol", url="media://x", **body)) == [wrong]


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("/v1/search", {"limit": 0}, "limit"),
        ("/v1/search", {"limit": 51}, "limit"),
        ("/v1/search", {"leastConfidence": 101}, "leastConfidence"),
        ("/v1/verify", {}, "voiceprint"),
        ("/v1/verify", {"identity": "ann", "voiceprint": "x"}, "identity"),
        ("/v1/identify", {}, "voiceprints"),
        ("/v1/identify", {"identities": []}, "identities"),
        ("/v1/identify", {"identities": ["a b"]}, "identities.0"),
    ],
)
def test_a_malformed_request_about_people_is_refused_by_its_field(
    client: Client, path: str, body: Json, wrong: str
) -> None:
    found = fields(client.post(path, url="media://x", **body))
    assert wrong in found


def test_a_sample_of_another_identity_makes_no_enrolment(people: Client) -> None:
    sample = ok(people.send("GET", "/v1/identities/ann/samples?space=people"))["items"][0]["sampleId"]
    path = "/v1/identities/bob/enrolments?space=people"
    refused(people.post(path, samples=[sample], handle="foreign"), 409, "wrong_state")
    refused(people.send("GET", f"/v1/identities/bob/samples/{sample}?space=people"), 404, "not_found")
