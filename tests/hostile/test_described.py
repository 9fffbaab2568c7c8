"""Real errors of every kind: each response is one that the API's description tells of."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from api.errors import MethodNotAllowed
from shared.domain.errors import RequestError, concrete_errors
from shared.domain.jobs import Status
from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint
from tests.support.apis import api
from tests.support.client import Client, put
from tests.support.described import Description, Operation
from tests.support.states import MODEL, States

JSON = {"Content-Type": "application/json"}
NOTHING = {"job_id": "8b0e0c4e-54b4-4f5b-9d5f-0123456789ab", "key": "never", "token": "never"}
#: Errors that follow from what an operation is, not from what it does.
INHERENT = {
    "invalid_request", "unauthorized", "not_found", "length_required", "request_too_large", "unsupported_media_type",
    "rate_limited", "request_timeout",
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
    limits = {"max_unfinished_jobs": 20, "max_job_bytes": 40_000, "max_media_bytes": 2000}
    limits |= {"max_file_bytes": 1000, "max_diarize_bytes": 1000}
    with api(folder, redis_server.url, posts_per_minute=10**6, reads_per_minute=10**6, **limits) as client:
        yield client


@pytest.fixture(scope="module")
def met(client):
    return Met(Description.of(client.url))


@pytest.fixture(scope="module")
def states(client, redis_server, folder):
    return States(client, redis_server.url, folder)


def troubles(operation):
    """Yield requests that are wrong in ways that many operations share."""
    yield {"headers": {"Authorization": ""}}
    yield {"headers": {"Transfer-Encoding": "zip"}}
    yield {"headers": {"X": "x" * 10_000}}
    yield {"params": {one["name"]: "\n" for one in operation.parameters("query")}}
    if operation.method in ("POST", "PUT"):
        yield {"data": iter([b"{}"]), "headers": JSON}
        yield {"data": b"{", "headers": JSON}
        yield {"data": b"x" * 1_200_000, "headers": JSON}
        yield {"data": b"{}", "headers": {"Content-Type": "text/plain"}}
        yield {"json": {"url": "media://never"}}


def test_every_operation_meets_the_errors_that_follow_from_what_it_is(client, met, redis_server, tmp_path):
    operations = list(met.description.operations())
    for operation in operations:
        for request in troubles(operation):
            met.send(client, operation, **request)
        met.send(client, operation, NOTHING | {"job_id": "no-uuid"})
    with api(tmp_path, redis_server.url, posts_per_minute=1, reads_per_minute=1) as hasty:
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


def test_every_example_request_is_taken(client, met, states):
    states.serve_models()
    client.upload("voice.wav", b"x")
    # In examples a voiceprint is shortened.
    capture = Capture(net_speech_s=9.0, snr_db=30.0, narrowband=False)
    vector = np.eye(1, MODEL.dimension, dtype=np.float32)[0]
    voice = Voiceprint(f"{MODEL.handle}@{MODEL.version}", vector, capture).encode()
    for operation in met.description.operations():
        if operation.reads_json:
            body = operation.body["requestBody"]["content"]["application/json"]["examples"]["example"]["value"]
            whole = body | ({"voiceprint": voice} if "voiceprint" in body else {})
            whole |= {"voiceprints": [one | {"voiceprint": voice} for one in body.get("voiceprints", [])]}
            code = met.send(client, operation, json={name: value for name, value in whole.items() if value != []})
            assert code in (None, "secret_rotating"), operation.path


def test_every_error_that_comes_from_the_work_is_met(client, met, states, folder):
    on = {one.body["operationId"]: one for one in met.description.operations()}
    ended, bare, running = states.job(Status.SUCCEEDED), states.job(Status.CREATED, None), states.job(Status.RUNNING)
    for operation, job_id, code in (
        ("get_job", ended, None),
        ("get_job", running, None),
        ("cancel_job", running, None),
        ("cancel_job", ended, "job_ended"),
        ("get_deliveries", bare, "no_webhook"),
        ("redeliver", bare, "no_webhook"),
        ("redeliver", ended, "delivery_pending"),
    ):
        assert met.send(client, on[operation], {"job_id": job_id}) == code
    states.deliver_all()
    assert met.send(client, on["get_deliveries"], {"job_id": ended}) is None
    assert met.send(client, on["redeliver"], {"job_id": ended}) is None
    states.forget_body(ended)
    assert met.send(client, on["redeliver"], {"job_id": ended}) == "result_gone"
    states.damage(ended)
    assert met.send(client, on["get_job"], {"job_id": ended}) == "internal_error"

    once = {"headers": {"Idempotency-Key": "once"}}
    assert met.send(client, on["create_voiceprint"], json={"url": "media://a"}, **once) is None
    assert met.send(client, on["create_voiceprint"], json={"url": "media://b"}, **once) == "idempotency_mismatch"
    long = {"url": f"https://example.org/{'a' * 3000}"}
    assert "job_quota_exceeded" in [met.send(client, on["create_voiceprint"], json=long) for _ in range(12)]
    assert "too_many_jobs" in [met.send(client, on["create_voiceprint"], json={"url": "media://a"}) for _ in range(25)]
    assert [met.send(client, on["rotate_secret"], json={}) for _ in range(2)][1] == "secret_rotating"


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
