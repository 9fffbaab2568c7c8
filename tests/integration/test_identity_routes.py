"""Routes of identities on the application itself, with real SQL and Redis: what no worker is needed for."""

import hashlib

import pytest

from api.app import create_app
from api.services import Services
from shared.domain.jobs import IdempotencyKey
from shared.settings import Settings
from tests.support.callers import Caller
from tests.support.people import OLD_MODEL, People, voice

UNKNOWN = "8b0e0c4e-54b4-4f5b-9d5f-0123456789ab"
VOICES = "/v1/identities/ann/enrolments"


@pytest.fixture
def services(redis, redis_server, tmp_path):
    found = Services.from_settings(Settings(redis_url=redis_server.url, data_dir=tmp_path, reads_per_minute=10**6))
    yield found
    found.engine.dispose()


@pytest.fixture
def ann(services):
    return Caller(create_app(services), services.clients.create_key("tester"))


@pytest.fixture
def people(ann, tmp_path):
    return People(tmp_path, ann.key)


def code(answer):
    status, body = answer
    return status, body["code"]


def wrong(answer):
    """Return the fields that a refused request names."""
    status, body = answer
    assert (status, body["code"]) == (400, "invalid_request"), body
    return [error["field"] for error in body["errors"]]


def test_a_repeated_request_to_another_space_is_another_request(ann, people):
    people.identity("ann")
    once = {"Idempotency-Key": "once"}
    first = ann.post("/v1/identities/ann/samples", headers=once, url="media://a")
    assert first[0] == 202
    assert ann.post("/v1/identities/ann/samples", headers=once, url="media://a") == first
    elsewhere = ann.post("/v1/identities/ann/samples?space=default", headers=once, url="media://a")
    assert code(elsewhere) == (422, "idempotency_mismatch")


def test_a_key_that_an_earlier_release_took_is_still_known(ann, services, people):
    body = b'{"url": "media://a"}'
    before = hashlib.sha256(b"/v1/voiceprint\n" + body).hexdigest()
    headers = {"Content-Type": "application/json", "Idempotency-Key": "old"}
    _, made = ann.ask("POST", "/v1/voiceprint", headers, data=body)
    key = IdempotencyKey("old", before)
    assert services.jobs.recall(people.by.client_id, key) == made["jobId"]


def test_what_a_key_made_is_answered_though_its_enrolment_is_gone(ann, people):
    enrolment = people.enrolment(people.identity("ann"))
    once = {"Idempotency-Key": "once"}
    for path, body in (("/v1/identify", {"identities": ["ann"]}), ("/v1/verify", {"identity": "ann"})):
        first = ann.post(path, headers=once | {"Idempotency-Key": path}, url="media://a", **body)
        assert first[0] == 200, first
        assert ann.post(path, headers={"Idempotency-Key": path}, url="media://a", **body) == first
    first = ann.post("/v1/identify", headers=once, url="media://a", identities=["ann"])
    people.spaces.remove(people.by, "enrolment", enrolment.id)
    assert ann.post("/v1/identify", headers=once, url="media://a", identities=["ann"]) == first
    assert code(ann.post("/v1/identify", url="media://a", identities=["ann"])) == (409, "not_enrolled")


def test_the_default_space_is_always_there_and_no_other(ann):
    assert ann.ask("GET", "/v1/space")[1]["handle"] == "default"
    assert ann.ask("GET", "/v1/identities")[1] == {"items": [], "nextCursor": None, "total": 0}
    for path in ("/v1/space?space=x", "/v1/identities?space=x", "/v1/identities/ann?space=x"):
        assert code(ann.ask("GET", path)) == (404, "not_found")
    assert ann.ask("DELETE", "/v1/space")[0] == 200
    assert ann.ask("GET", "/v1/space")[0] == 200


def test_an_id_needs_no_space_and_a_handle_does(ann, tmp_path):
    found = People(tmp_path, ann.key, "elsewhere").identity("ann")
    assert ann.ask("GET", f"/v1/identities/{found.id}")[1]["space"] == "elsewhere"
    assert code(ann.ask("GET", "/v1/identities/ann")) == (404, "not_found")
    assert ann.ask("GET", "/v1/identities/ann?space=elsewhere")[0] == 200
    assert code(ann.ask("GET", f"/v1/identities/{found.id}?space=default")) == (404, "not_found")


def test_an_unknown_id_enrols_nobody_and_makes_no_space(ann):
    assert code(ann.post("/v1/enrol", identity=UNKNOWN, url="media://a", space="new")) == (404, "not_found")
    assert code(ann.ask("GET", "/v1/space?space=new")) == (404, "not_found")


def test_a_repeated_enrolment_completes_what_is_known_of_a_person(ann):
    ann.post("/v1/enrol", identity="ann", url="media://a", name="Ann", expiresAt="2999-01-01T00:00:00Z")
    ann.post(
        "/v1/enrol", identity="ann", url="media://b", consent={"givenAt": "2026-01-01T00:00:00Z", "reference": "x"}
    )
    found = ann.ask("GET", "/v1/identities/ann")[1]
    assert (found["name"], found["expiresAt"]) == ("Ann", "2999-01-01T00:00:00.000Z")
    assert found["consent"] == {"givenAt": "2026-01-01T00:00:00.000Z", "reference": "x", "text": None}


def test_a_change_keeps_what_it_leaves_out_and_null_removes(ann):
    ann.post("/v1/identities", handle="ann", name="Ann", expiresAt="2999-01-01T00:00:00Z")
    changed = ann.ask("PATCH", "/v1/identities/ann", json={"name": None, "handle": "anna"})[1]
    assert (changed["handle"], changed["name"], changed["expiresAt"]) == ("anna", None, "2999-01-01T00:00:00.000Z")
    assert ann.ask("PATCH", "/v1/identities/anna", json={"expiresAt": None})[1]["expiresAt"] is None
    assert ann.ask("PATCH", "/v1/space", json={"keepRecordingsSeconds": 60})[1]["keepRecordingsSeconds"] == 60
    assert ann.ask("PATCH", "/v1/space", json={"name": "Hotline"})[1]["keepRecordingsSeconds"] == 60


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/identities", {"handle": UNKNOWN}, "handle"),
        ("POST", "/v1/identities", {"handle": "-a"}, "handle"),
        ("POST", "/v1/identities", {"consnet": {}}, "consnet"),
        ("POST", "/v1/identities", {"consent": {"reference": "x"}}, "consent.givenAt"),
        ("POST", "/v1/identities", [], "body"),
        ("POST", "/v1/identities", {"space": UNKNOWN}, "space"),
        ("PATCH", "/v1/identities/ann", {"handle": None}, "handle"),
        ("PATCH", "/v1/identities/ann", {"consent": {"givenAt": "2026-01-01T00:00:00Z"}}, "consent.reference"),
        ("PATCH", "/v1/space", {"keepRecordingsSeconds": 0}, "keepRecordingsSeconds"),
        ("PATCH", "/v1/space", {"keepRecordingsSeconds": 1.5}, "keepRecordingsSeconds"),
        ("PATCH", "/v1/space", {"consentBasis": "x" * 201}, "consentBasis"),
        ("PATCH", "/v1/space", {"consentBasis": "\x00"}, "consentBasis"),
        ("POST", VOICES, {}, "samples"),
        ("POST", VOICES, [], "body"),
        ("POST", VOICES, {"samples": []}, "samples"),
        ("POST", VOICES, {"samples": "some"}, "samples"),
        ("POST", VOICES, {"samples": ["a b"]}, "samples.0"),
        ("POST", VOICES, {"samples": "all", "voiceprints": ["x"]}, "voiceprints"),
        ("POST", VOICES, {"samples": "all", "kind": "twice"}, "kind"),
        ("POST", VOICES, {"samples": "all", "kind": "once", "adaptive": True}, "adaptive"),
        ("POST", VOICES, {"voiceprints": ["x"]}, "voiceprints.0"),
        ("POST", VOICES, {"voiceprints": [voice().encode(), voice(model_id=OLD_MODEL).encode()]}, "voiceprints"),
        ("POST", "/v1/identities/ann/verify", {}, "url"),
        ("POST", "/v1/identities/ann/verify", {"url": "media://a", "sampleId": "b"}, "sampleId"),
        ("POST", "/v1/verify", [], "body"),
        ("POST", "/v1/verify", {"url": "media://a", "voiceprint": "x", "identity": "ann"}, "identity"),
        ("POST", "/v1/identify", [], "body"),
        ("POST", "/v1/identify", {"url": "media://a"}, "voiceprints"),
        ("GET", "/v1/identities?limit=0", None, "limit"),
        ("GET", "/v1/identities?cursor=x", None, "cursor"),
        ("GET", "/v1/identities?cursor=999999999999999999999-" + UNKNOWN, None, "cursor"),
        ("GET", "/v1/identities?space=%00", None, "space"),
        ("GET", "/v1/identities?handle=" + UNKNOWN, None, "handle"),
        ("GET", "/v1/identities?name=x", None, "name"),
        ("GET", "/v1/usage?from=yesterday", None, "from"),
        ("GET", "/v1/usage?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", None, "from"),
        ("GET", "/v1/usage?kind=people", None, "kind"),
        ("GET", "/v1/audit?format=csv", None, "format"),
    ],
)
def test_what_is_malformed_is_refused_by_its_field(ann, people, method, path, body, field):
    people.identity("ann")
    assert field in wrong(ann.ask(method, path, **({} if body is None else {"json": body})))


def test_handles_that_cannot_be_labels_are_refused(ann, people):
    for handle in ("ann", "speaker_1"):
        people.enrolment(people.identity(handle))
    voices = [{"label": "ann", "voiceprint": voice().encode()}]
    for body in (
        {"identities": ["ann", "ann"]},
        {"identities": ["speaker_1"]},
        {"identities": ["ann"], "voiceprints": voices},
    ):
        (field,) = wrong(ann.post("/v1/identify", url="media://a", **body))
        assert field.startswith("identities.")


def test_an_import_that_is_refused_leaves_nothing(ann, people):
    people.enrolment(people.identity("ann"))
    before = ann.ask("GET", "/v1/identities/ann")[1]
    assert code(ann.post(VOICES, voiceprints=[voice().encode()])) == (409, "handle_taken")
    opposite = voice()
    opposite.vector[0] = -1.0
    cancelling = [voice().encode(), opposite.encode()]
    assert wrong(ann.post(VOICES, voiceprints=cancelling, handle="other")) == ["voiceprints"]
    assert ann.ask("GET", "/v1/identities/ann")[1] == before


def test_an_enrolment_whose_job_is_refused_leaves_nothing(services, ann, people):
    identity = people.identity("ann")
    people.sample(identity)
    services.jobs.jobs._max_unfinished = 0
    assert code(ann.post(VOICES, samples="all")) == (429, "too_many_jobs")
    assert code(ann.post("/v1/identities/ann/samples", url="media://a")) == (429, "too_many_jobs")
    found = ann.ask("GET", "/v1/identities/ann")[1]
    assert (found["samples"], found["enrolments"]) == (1, 0)


def test_a_job_on_people_goes_with_them(ann, people):
    people.enrolment(people.identity("ann"))
    _, made = ann.post("/v1/identify", url="media://a", identities=["ann"])
    assert ann.ask("DELETE", "/v1/identities/ann")[0] == 200
    _, job = ann.ask("GET", f"/v1/jobs/{made['jobId']}")
    assert (job["status"], job["output"]["code"]) == ("failed", "identity_deleted")


def test_an_export_of_the_audit_log_is_whole(ann, people, monkeypatch):
    monkeypatch.setattr("api.ledger._CHUNK", 2)
    for number in range(5):
        people.identity(f"p{number}")
    answer = ann.send("GET", "/v1/audit?format=ndjson&kind=identity")
    assert len(answer.text.splitlines()) == 5
    assert len(set(answer.text.splitlines())) == 5
