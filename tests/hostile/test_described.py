"""Real errors of every kind: each response is one that the API's description tells of."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from api.errors import MethodNotAllowed
from api.schemas.recordings import SHORTENED
from api.turn_files import FILES
from shared.domain.errors import RequestError, concrete_errors
from shared.domain.identities import NewEnrolment, SampleState, VerificationState
from shared.domain.jobs import Status
from tests.support.apis import another_database, api
from tests.support.client import Client, put
from tests.support.described import Description, Operation
from tests.support.people import OLD_MODEL, SHORT, People, voice
from tests.support.states import States

JSON = {"Content-Type": "application/json"}
NOTHING = {"job_id": "8b0e0c4e-54b4-4f5b-9d5f-0123456789ab", "key": "never", "token": "never"}
NOTHING |= dict.fromkeys(("identity", "sample", "enrolment", "verification"), NOTHING["job_id"])
#: Somebody in the examples.
ADA = {"identity": "ada", "sample": "first-call", "enrolment": "main"}
UNKNOWN = {"identity": NOTHING["job_id"], "identities": [NOTHING["job_id"]], "space": "unknown"}
#: Errors that follow from what an operation is, not from what it does.
INHERENT = {
    "invalid_request", "unauthorized", "not_found", "length_required", "request_too_large", "unsupported_media_type",
    "rate_limited", "request_timeout", "token_not_allowed",
}  # fmt: skip


class Met:
    """Sends requests, checks each answer against the description, and remembers the errors."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.codes: dict[tuple[str, str], set[str]] = {}

    def send(self, client: Client, operation: Operation, names: dict[str, str] = NOTHING, **request) -> str | None:
        """Send a request; returns the code of the error, if it is one."""
        answer = client.send(operation.method, operation.path.format(**names), **request)
        return self.note(operation, answer)

    def note(self, operation: Operation, answer: requests.Response) -> str | None:
        """Check an answer and note its error."""
        self.description.check(operation, answer)
        code = answer.json()["code"] if answer.status_code >= 400 else None
        self.codes.setdefault((operation.method, operation.path), set()).add(code)
        return code

    def all_codes(self) -> set[str]:
        """Return every code met so far."""
        return set().union(*self.codes.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("described")


@pytest.fixture(scope="module")
def client(folder, redis_server):
    limits = {"max_job_bytes": 60_000, "max_media_bytes": 2000}
    limits |= {"max_file_bytes": 1000, "max_diarize_bytes": 1000}
    with api(folder, redis_server.url, posts_per_minute=10**6, reads_per_minute=10**6, **limits) as client:
        yield client


@pytest.fixture(scope="module")
def met(client):
    return Met(Description.of(client.url))


@pytest.fixture(scope="module")
def people(client, folder):
    return People(folder, client.key)


@pytest.fixture(scope="module")
def states(client, redis_server, folder):
    return States(client, redis_server.url, folder)


def troubles(operation, token):
    """Yield requests that are wrong in ways that many operations share; `token` is for a page."""
    yield {"headers": {"Authorization": ""}}
    yield {"headers": {"Authorization": f"Bearer {token}"}, "json": {"url": "media://never"}}
    yield {"headers": {"Transfer-Encoding": "zip"}}
    yield {"headers": {"X": "x" * 10_000}}
    yield {"params": {one["name"]: "\n" for one in operation.parameters("query")}}
    if operation.method in ("POST", "PUT", "PATCH"):
        yield {"data": iter([b"{}"]), "headers": JSON}
        yield {"data": b"{", "headers": JSON}
        yield {"data": b"x" * 1_200_000, "headers": JSON}
        yield {"data": b"{}", "headers": {"Content-Type": "text/plain"}}
        yield {"json": {"url": "media://never"}}
        yield {"json": {"url": "media://never", **UNKNOWN}}
        yield {"json": {"samples": "all"}}
        yield {"json": {}}
    # Changing a space makes it, so that the first removal succeeds.
    yield from [{"params": {"space": "unknown"}}] * 2


def test_every_operation_meets_the_errors_that_follow_from_what_it_is(client, met, redis_server, tmp_path):
    operations = list(met.description.operations())
    token = client.post("/v1/tokens", kinds=["voiceprint"]).json()["token"]
    for operation in operations:
        for request in troubles(operation, token):
            met.send(client, operation, **request)
        met.send(client, operation, NOTHING | {"job_id": "no-uuid"})
    with api(tmp_path, another_database(redis_server), posts_per_minute=1, reads_per_minute=1) as hasty:
        for operation in operations:
            for _ in range(2):
                met.send(hasty, operation)
    with ThreadPoolExecutor(len(operations)) as at_once:
        # The body that is announced never comes.
        late = at_once.map(lambda one: met.send(client, one, headers={"Content-Length": "5"}), operations)
        assert set(late) == {"request_timeout"}
    for operation in operations:
        if "{token}" not in operation.path:
            described = {c for s in met.description.answers(operation) for c in met.description.codes(operation, s)}
            assert described & INHERENT <= met.codes[operation.method, operation.path], operation.path


def test_every_example_request_is_taken(client, met, states, people):
    states.serve_models()
    client.upload("voice.wav", b"x")
    ada = people.identity("ada")
    people.sample(ada, "first-call")
    people.enrolment(ada, kept=True)
    ended = {"job_id": states.job(Status.SUCCEEDED)}
    # In examples a voiceprint is shortened.
    text = voice().encode()
    for operation in met.description.operations():
        if operation.reads_json:
            body = operation.body["requestBody"]["content"]["application/json"]["examples"]["example"]["value"]
            whole = body | ({"voiceprint": text} if "voiceprint" in body else {})
            people = body.get("voiceprints", [])
            whole |= {"voiceprints": [text if one == SHORTENED else one | {"voiceprint": text} for one in people]}
            sent = {name: value for name, value in whole.items() if value != []}
            code = met.send(client, operation, NOTHING | ADA | ended, json=sent)
            assert code in (None, "secret_rotating"), operation.path


def test_every_error_that_comes_from_the_work_is_met(client, met, states, redis_server, tmp_path):
    on = {one.body["operationId"]: one for one in met.description.operations()}
    ended, bare, running = states.job(Status.SUCCEEDED), states.job(Status.CREATED, None), states.job(Status.RUNNING)
    for operation, job_id, code in (
        ("get_job", ended, None),
        ("get_job", running, None),
        ("get_turns", ended, None),
        ("get_turns", running, "job_not_ended"),
        ("name_turns", running, "job_not_ended"),
        ("cancel_job", running, None),
        ("get_turns", running, "no_turns"),
        ("name_turns", running, "no_turns"),
        ("cancel_job", ended, "job_ended"),
        ("get_deliveries", bare, "no_webhook"),
        ("redeliver", bare, "no_webhook"),
        ("redeliver", ended, "delivery_pending"),
    ):
        assert met.send(client, on[operation], {"job_id": job_id}) == code
    states.deliver_all()
    assert met.send(client, on["get_deliveries"], {"job_id": ended}) is None
    for form in FILES:
        assert met.send(client, on["get_turns"], {"job_id": ended}, params={"format": form}) is None
        assert met.send(client, on["name_turns"], {"job_id": ended}, json={"format": form}) is None
    assert met.send(client, on["redeliver"], {"job_id": ended}) is None
    states.forget_body(ended)
    assert met.send(client, on["redeliver"], {"job_id": ended}) == "result_gone"
    states.damage(ended)
    assert met.send(client, on["get_job"], {"job_id": ended}) == "internal_error"

    once = {"headers": {"Idempotency-Key": "once"}}
    assert met.send(client, on["create_voiceprint"], json={"url": "media://a"}, **once) is None
    assert met.send(client, on["create_voiceprint"], json={"url": "media://b"}, **once) == "idempotency_mismatch"
    long = {"url": f"https://example.org/{'a' * 3000}"}
    assert "job_quota_exceeded" in [met.send(client, on["create_voiceprint"], json=long) for _ in range(20)]
    # Room for the jobs of other tests.
    newest = client.send("GET", "/v2/jobs").json()["items"][0]["id"]
    assert client.send("DELETE", f"/v1/jobs/{newest}").status_code == 200
    with api(tmp_path, another_database(redis_server), max_unfinished_jobs=1) as narrow:
        codes = [met.send(narrow, on["create_voiceprint"], json={"url": "media://a"}) for _ in range(2)]
        assert codes == [None, "too_many_jobs"]
    assert [met.send(client, on["rotate_secret"], json={}) for _ in range(2)][1] == "secret_rotating"


def test_what_is_refused_of_identities_is_met(client, met, states, people, redis_server, tmp_path):
    on = {one.body["operationId"]: one for one in met.description.operations()}
    states.serve_models()
    here = {"url": "media://a"}
    eve, former, unfit = (people.identity(handle) for handle in ("eve", "former", "unfit"))
    people.sample(eve, "waiting", SampleState.PENDING)
    people.sample(unfit, "short", voiceprint=voice(capture=SHORT))
    people.enrolment(former, voiceprint=voice(model_id=OLD_MODEL))
    new = NewEnrolment(identity_id=eve.id, handle="empty")
    empty = people.enrolments.add_enrolment(people.by, people.space.id, new)

    def meet(operation, identity, body=None, **names):
        return met.send(client, on[operation], NOTHING | {"identity": identity} | names, json=body)

    assert meet("create_identity", "", {"handle": "eve"}) == "handle_taken"
    assert meet("change_identity", "eve", {"handle": "former"}) == "handle_taken"
    assert meet("add_sample", "eve", here | {"handle": "waiting"}) == "handle_taken"
    assert meet("create_enrolment", "eve", {"voiceprints": [voice().encode()], "handle": "empty"}) == "handle_taken"
    assert meet("create_enrolment", "eve", {"voiceprints": [voice().encode()], "handle": "held"}) is None
    assert meet("create_enrolment", "eve", {"samples": "all", "handle": "x"}) is None
    assert meet("create_enrolment", "unfit", {"samples": ["short"]}) == "sample_unfit"
    assert meet("create_enrolment", "unfit", {"samples": ["waiting"]}) == "wrong_state"
    nobody = people.identity("nobody").handle
    assert meet("create_enrolment", nobody, {"samples": "all"}) == "too_few_samples"
    assert meet("export_voiceprint", "eve", enrolment=empty.id) == "wrong_state"
    assert meet("export_voiceprint", "eve", enrolment="held") is None
    assert meet("recompute_enrolment", "former", {}, enrolment="main") == "enrol_again"
    assert meet("verify_identity", nobody, here) == "not_enrolled"
    assert meet("verify_identity", "former", here) == "enrol_again"
    assert meet("verify_identity", "eve", {"sampleId": "waiting"}) == "wrong_state"
    for body, code in (({"identity": nobody}, "not_enrolled"), ({"identity": "former"}, "enrol_again")):
        assert met.send(client, on["verify"], json=here | body) == code
        assert met.send(client, on["identify"], json=here | {"identities": [body["identity"]]}) == code
    with api(tmp_path, another_database(redis_server), require_consent=True) as careful:
        for operation, body in (("create_identity", {"handle": "eve"}), ("enrol", here | {"identity": "eve"})):
            assert met.send(careful, on[operation], json=body) == "consent_required"
        basis = {"consentBasis": "contract"}
        assert met.send(careful, on["change_space"], NOTHING, json=basis) is None
        assert met.send(careful, on["create_identity"], json={"handle": "eve"}) is None
        assert met.send(careful, on["change_space"], NOTHING, json=dict.fromkeys(basis)) is None
        eves = NOTHING | {"identity": "eve"}
        for operation, body in (("add_sample", here), ("create_enrolment", {"voiceprints": [voice().encode()]})):
            assert met.send(careful, on[operation], eves, json=body) == "consent_required"


def test_whatever_stands_of_a_person_can_be_read_and_removed(client, met, people):
    on = {one.body["operationId"]: one for one in met.description.operations()}
    zoe = people.identity("zoe")
    names = {"identity": "zoe", "enrolment": "main", "sample": "failed"}
    names["verification"] = people.verification(people.enrolment(zoe)).id
    for state in VerificationState:
        people.verification(people.enrolment(zoe), state)
    for state in (SampleState.PENDING, SampleState.FAILED):
        people.sample(zoe, f"{state}", state)
    for kind in ("samples", "enrolments", "verifications"):
        assert met.send(client, on[f"list_{kind}"], NOTHING | names) is None
        assert met.send(client, on[f"get_{kind[:-1]}"], NOTHING | names) is None
    for one in ("sample", "enrolment", "verification", "identity"):
        assert met.send(client, on[f"delete_{one}"], NOTHING | names) is None
    lines = client.send("GET", "/v1/audit", params={"format": "ndjson", "kind": "identity"})
    met.note(on["list_audit"], lines)
    assert [json.loads(line)["recordId"] for line in lines.text.splitlines()].count(zoe.id) == 2


def test_uploads_meet_theirs(client, met):
    upload = met.description.operation("PUT", "/v1/media/upload/{token}")
    for body, code in ((b"x", None), (b"x" * 2000, "request_too_large")):
        assert met.note(upload, put(client.address("media://voice.wav"), body)) == code
    codes = [met.note(upload, put(client.address(f"media://{i}"), b"x" * 1000)) for i in range(2)]
    assert codes == [None, "media_quota_exceeded"]
    zipped = put(client.address("media://voice.wav"), b"x", Content_Encoding="gzip")
    assert met.note(upload, zipped) == "unsupported_media_type"
    download = met.description.operation("GET", "/v1/media/download/{token}")
    address = client.post("/v1/media/output", url="media://voice.wav").json()["url"]
    for wanted, code in (("bytes=0-0", None), ("bytes=9999-", "range_not_satisfiable"), ("", None)):
        assert met.note(download, requests.get(address, headers={"Range": wanted}, timeout=5)) == code


def test_what_is_right_is_described_too(client, met, states):
    on = {one.body["operationId"]: one for one in met.description.operations()}
    states.serve_models()
    for operation in on.values():
        if operation.method == "GET" and "{" not in operation.path:
            assert met.send(client, operation) is None
    client.upload("gone.wav", b"x")
    assert met.send(client, on["delete_media"], {"key": "gone.wav"}) is None
    newest = client.send("GET", "/v2/jobs").json()["items"][0]["id"]
    assert met.send(client, on["delete_job"], {"job_id": newest}) is None


def test_without_redis_the_service_says_so(met, tmp_path):
    with api(tmp_path, f"unix://{tmp_path}/nobody.sock", posts_per_minute=10**6, reads_per_minute=10**6) as client:
        for path in ("/v1/jobs/{job_id}", "/v1/models"):
            assert met.send(client, met.description.operation("GET", path)) == "unavailable"
        ready = met.description.operation("GET", "/readyz")
        answer = client.send("GET", ready.path)
        assert answer.status_code == 503
        met.description.check(ready, answer)


def test_no_error_of_the_tree_was_left_out(client, met):
    answer = client.send("PUT", "/v1/test")
    assert answer.json()["code"] == MethodNotAllowed.code
    assert not met.description.errors(met.description.schema("Error"), answer.json())
    codes = {error.code for error in concrete_errors(RequestError)} | {"internal_error"}
    assert codes - {MethodNotAllowed.code} == met.all_codes() - {None}
