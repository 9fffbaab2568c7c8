"""Traces of the whole service, sent to a receiver of the tests' own; and what is there when nobody asks for them."""

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from websockets.sync.client import connect

from shared.local.stack import Stack, free_port
from shared.settings import Settings
from tests.support.client import Client, eventually, put
from tests.support.groups import make_group_key
from tests.support.receiver import receiving, wait_for
from tests.support.servers import AudioHost, gated
from tests.support.sounds import DATA, encode, join, read
from tests.support.stacks import LOOPBACK, bugs, first_client, logs, make_client, running
from tests.support.traces import Span, TraceReceiver, receiving_traces

NAME = "1688-142285-0005.flac"
STEPS = {"download", "decode", "vad", "encode", "diarize", "embed"}
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5


class Traced(NamedTuple):
    """A stack, its first client, and the receiver of its traces."""

    stack: Stack
    client: Client
    receiver: TraceReceiver

    def spans(self, job_id: str, *names: str) -> list[Span]:
        """Return the spans of a job's trace, once they have all of these names."""

        def found() -> list[Span]:
            spans = self.receiver.of_job(job_id)
            return spans if {span.name for span in spans} >= set(names) else []

        return eventually(found)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    settings = {"worker_processes": 1, "lease_s": 2.0, "name_clients": True, **LOOPBACK}
    with receiving_traces() as receiver, ExitStack() as until_the_end:
        with pytest.MonkeyPatch.context() as variables:
            variables.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
            variables.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20c2VjcmV0")
            variables.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
            variables.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
            service = running(folder, stream_bind=f"127.0.0.1:{free_port()}", **settings)
            stack = until_the_end.enter_context(service)
        yield Traced(stack, first_client(stack), receiver)
        # Celery tells of the child that a test kills with a traceback.
        assert [line for line in bugs(stack) if "WorkerLostError" not in line] == []


def one(spans: list[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_a_job_from_its_post_to_its_webhook_is_one_trace(traced: Traced, host: AudioHost) -> None:
    url = host.serve(NAME, (DATA / NAME).read_bytes())
    with receiving("200") as customer:
        job_id = traced.client.submit(url, webhook=customer.url)
        wait_for(customer, 1)
        spans = traced.spans(job_id, "POST /v1/voiceprint", "submit job", "wait", "job voiceprint", "webhook", *STEPS)
        post, submit, wait, job, webhook = (
            one(spans, name) for name in ("POST /v1/voiceprint", "submit job", "wait", "job voiceprint", "webhook")
        )
        # Nothing of a trace goes to customers.
        assert [name for name in customer.posts[0].headers if name.lower() in ("traceparent", "tracestate")] == []
    assert len({span.trace_id for span in spans}) == 1
    assert post.parent_id == ""
    assert submit.parent_id == post.span_id
    assert {wait.parent_id, job.parent_id, webhook.parent_id} == {submit.span_id}
    steps = [span for span in spans if span.parent_id == job.span_id]
    assert {span.name for span in steps} == STEPS
    assert [span.kind for span in (post, submit, job, webhook)] == [SERVER, PRODUCER, CONSUMER, CLIENT]
    assert wait.end_ns - wait.start_ns < 10**10
    assert post.start_ns < job.start_ns < webhook.start_ns
    assert not any(span.failed for span in spans)


def test_spans_say_what_is_asked_of_them(traced: Traced, host: AudioHost) -> None:
    url = host.serve(NAME, (DATA / NAME).read_bytes())
    with receiving("503", "200") as customer:
        job_id = traced.client.submit(url, webhook=customer.url)
        spans = traced.spans(job_id, "POST /v1/voiceprint", "job voiceprint", "webhook")
    client_id = one(spans, "job voiceprint").attributes["client.id"]
    assert one(spans, "POST /v1/voiceprint").attributes == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "http.route": "/v1/voiceprint",
        "http.response.status_code": 200,
        "client.id": client_id,
    }
    assert one(spans, "job voiceprint").attributes == {
        "job.id": job_id,
        "job.kind": "voiceprint",
        "job.lane": "short",
        "job.attempt": 1,
        "job.status": "succeeded",
        "client.id": client_id,
    }
    first = next(span for span in spans if span.name == "webhook")
    assert first.failed
    assert first.attributes == {
        "job.id": job_id,
        "client.id": client_id,
        "webhook.attempt": 1,
        "webhook.state": "pending",
        "webhook.reason": "http_error",
        "http.response.status_code": 503,
        "error.type": "http_error",
    }
    services = {span.service for span in spans}
    assert services == {"timbre-api", "timbre-worker", "timbre-courier"}
    assert traced.receiver.headers[0]["authorization"] == "Basic c2VjcmV0"
    assert all(b"deployment.environment.name" in body for body in traced.receiver.bodies)


def test_a_failed_job_names_its_code(traced: Traced) -> None:
    job_id = traced.client.submit("media://nothing")
    spans = traced.spans(job_id, "job voiceprint")
    job = one(spans, "job voiceprint")
    assert job.failed
    assert job.attributes["job.status"] == "failed"
    assert job.attributes["error.type"] == traced.client.wait(job_id)["output"]["code"] == "media_not_found"
    step = one(spans, "download")
    assert step.attributes == {"error.type": "MediaNotFound"}


def test_the_trace_of_the_client_is_continued(traced: Traced) -> None:
    trace_id, span_id = uuid.uuid4().hex, "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace_id}-{span_id}-01"}
    answer = traced.client.send("POST", "/v1/voiceprint", json={"url": "media://nothing"}, headers=headers)
    spans = traced.spans(answer.json()["jobId"], "POST /v1/voiceprint", "job voiceprint")
    assert {span.trace_id for span in spans} == {trace_id}
    assert one(spans, "POST /v1/voiceprint").parent_id == span_id


@pytest.mark.parametrize("wrong", ["nonsense", f"00-{'0' * 32}-{'0' * 16}-01", "00-" + "f" * 4000])
def test_a_malformed_traceparent_begins_a_trace(traced: Traced, wrong: str) -> None:
    headers = {"traceparent": wrong}
    answer = traced.client.send("POST", "/v1/voiceprint", json={"url": "media://nothing"}, headers=headers)
    spans = traced.spans(answer.json()["jobId"], "POST /v1/voiceprint")
    assert one(spans, "POST /v1/voiceprint").parent_id == ""


def test_a_trace_that_its_client_does_not_sample_is_not_recorded(traced: Traced) -> None:
    trace_id = uuid.uuid4().hex
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-00"}
    answer = traced.client.send("POST", "/v1/voiceprint", json={"url": "media://nothing"}, headers=headers)
    traced.client.wait(answer.json()["jobId"])
    after = traced.client.submit("media://nothing")
    traced.spans(after, "job voiceprint")
    assert [span for span in traced.receiver.spans if span.trace_id == trace_id] == []


def test_a_job_whose_worker_is_killed_has_two_attempts_in_one_trace(
    traced: Traced, host: AudioHost, children_of: Callable[[int], set[int]]
) -> None:
    job_id = traced.client.submit(gated(host))
    eventually(lambda: traced.client.job(job_id).get("step") == "download")
    # The wait before the attempt is told at once: it is what is left of an attempt that is killed.
    traced.spans(job_id, "wait")
    (worker,) = [process for process in traced.stack.processes if process.name == "worker"]
    for child in children_of(worker.pid):
        os.kill(child, signal.SIGKILL)
    host.gate.set()
    assert traced.client.wait(job_id)["status"] == "succeeded"
    spans = traced.spans(job_id, "POST /v1/voiceprint", "job voiceprint")
    assert {span.trace_id for span in spans} == {spans[0].trace_id}
    waits = [span for span in spans if span.name == "wait"]
    assert [span.attributes["job.attempt"] for span in waits] == [1, 2]
    assert waits[0].end_ns < waits[1].start_ns
    assert one(spans, "job voiceprint").attributes["job.attempt"] == 2


def test_a_job_that_is_canceled_at_work_leaves_the_next_one_its_own_trace(traced: Traced, host: AudioHost) -> None:
    job_id = traced.client.submit(gated(host))
    eventually(lambda: traced.client.job(job_id).get("step") == "download")
    assert traced.client.send("POST", f"/v1/jobs/{job_id}/cancel").status_code == 200
    spans = traced.spans(job_id, "job voiceprint", "download")
    job = one(spans, "job voiceprint")
    assert job.attributes["error.type"] == "lease_lost"
    assert one(spans, "download").parent_id == job.span_id
    after = traced.client.submit("media://nothing")
    spans = traced.spans(after, "submit job", "job voiceprint", "download")
    assert one(spans, "job voiceprint").parent_id == one(spans, "submit job").span_id
    assert one(spans, "download").parent_id == one(spans, "job voiceprint").span_id


def test_no_span_holds_a_secret(traced: Traced, host: AudioHost) -> None:
    canary = f"canary{uuid.uuid4().hex}"
    host.serve(NAME, (DATA / NAME).read_bytes())
    url = host.url(f"file/{NAME}?X-Amz-Signature={canary}")
    with receiving("500", "200") as customer:
        job_id = traced.client.submit(url, webhook=f"{customer.url}?{canary}")
        output = traced.client.wait(job_id)["output"]
        wait_for(customer, 1)
    address = traced.client.address(f"media://{canary}.wav")
    put(address, b"x")
    put(address[:-1], b"x")
    traced.client.send("GET", f"/v1/test?{canary}", headers={"Authorization": f"Bearer {canary}"})
    traced.client.send("GET", f"/{canary}")
    traced.client.send(canary.upper()[:15], f"/{canary}")
    traced.client.post("/v1/voiceprint", url=f"ftp://{canary}/", model=3)
    last = traced.client.submit(host.url(f"redirect-loop?{canary}"))
    traced.spans(last, "job voiceprint")
    traced.spans(job_id, "webhook")
    sent = b"\n".join(traced.receiver.bodies).decode(errors="replace")
    token = address.rpartition("/")[2]
    secrets = (canary, canary.upper()[:15], traced.client.key, token, output["voiceprint"], "127.0.0.1", NAME)
    assert [secret for secret in secrets if secret in sent] == []
    assert {span.name for span in traced.receiver.spans} >= {"GET", "HTTP", "PUT /v1/media/upload/<string:token>"}


def test_log_lines_hold_the_ids_of_their_trace(traced: Traced) -> None:
    job_id = traced.client.submit("media://nothing")
    spans = traced.spans(job_id, "POST /v1/voiceprint", "job voiceprint")
    traced.client.wait(job_id)
    for log, name in (("api.log", "POST /v1/voiceprint"), ("worker.log", "job voiceprint")):
        span = one(spans, name)
        ids = {"trace_id": span.trace_id, "span_id": span.span_id}
        lines = [json.loads(line) for line in logs(traced.stack, log).splitlines() if line.startswith("{")]
        assert [line for line in lines if ids.items() <= line.items()]


def test_a_conversation_over_a_socket_is_in_the_trace_of_its_job(traced: Traced) -> None:
    owner = make_client(traced.stack, "sockets")
    auth = ("1-2-0/bob@example.com", make_group_key(traced.stack.settings, "sockets", "group"))
    address = requests.get(
        f"{traced.stack.url}/voice_biometrics/v1/user/register", params={"user_id": "ann"}, auth=auth, timeout=20
    ).json()["url"]
    trace_id = uuid.uuid4().hex
    with connect(address, additional_headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}) as socket:
        socket.send(encode(join([read(path) for path in sorted(DATA.glob("1688-*.flac"))]), "wav"))
        socket.send(json.dumps({"event": "audio_sent"}))
        assert json.loads(socket.recv(60))["event"] == "register"
    names = {"socket", "submit job", "job voice_enrolment"}

    def spans() -> list[Span]:
        found = [span for span in traced.receiver.spans if span.trace_id == trace_id]
        return found if {span.name for span in found} >= names else []

    found = eventually(spans)
    conversation = one(found, "socket")
    assert conversation.service == "timbre-stream"
    assert conversation.parent_id == "00f067aa0ba902b7"
    assert one(found, "submit job").parent_id == conversation.span_id
    assert one(found, "job voice_enrolment").attributes["client.id"] == conversation.attributes["client.id"]
    assert owner.key not in b"".join(traced.receiver.bodies).decode(errors="replace")


def test_clients_are_named_in_the_logs_of_requests_where_that_is_asked_for(traced: Traced) -> None:
    name = f"Ada {uuid.uuid4().hex}"
    client = make_client(traced.stack, name)
    request_id = client.send("GET", "/v1/test").headers["X-Request-Id"]
    (line,) = [json.loads(line) for line in logs(traced.stack, "api.log").splitlines() if request_id in line]
    assert line["client"] == name
    assert line["client_id"]
    # Spans name nobody.
    assert name not in b"".join(traced.receiver.bodies).decode(errors="replace")


def test_a_receiver_that_hangs_delays_neither_jobs_nor_the_end(
    tmp_path: Path, host: AudioHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = f"canary{uuid.uuid4().hex}"
    url = host.serve(NAME, (DATA / NAME).read_bytes())
    with receiving_traces() as receiver, receiving("200") as customer:
        receiver.hanging.set()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.url}/{canary}/v1/traces")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {canary}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        # Exporting fails soon enough to be told in the logs.
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        with running(tmp_path, worker_processes=1, **LOOPBACK) as stack:
            client = first_client(stack)
            for _ in range(3):
                assert client.run(url, webhook=customer.url)["status"] == "succeeded"
            wait_for(customer, 3)
            assert receiver.asked.is_set()
            for log in ("api.log", "worker.log", "courier.log"):
                eventually(lambda log=log: "spans were lost" in logs(stack, log))
            parts = [process for process in stack.processes if process.name in ("API", "worker", "courier")]
            for process in parts:
                process.terminate()
            eventually(lambda: not any(process.alive for process in parts), 15.0)
        assert bugs(stack) == []
        assert canary not in logs(stack)
        assert str(receiver.port) not in logs(stack)


def test_nothing_of_opentelemetry_is_imported_where_nobody_asks_for_traces(
    tmp_path: Path, host: AudioHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python then tells of every module that a process imports, on its stderr.
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    url = host.serve(NAME, (DATA / NAME).read_bytes())
    with running(tmp_path, worker_processes=1, stream_bind=f"127.0.0.1:{free_port()}", **LOOPBACK) as stack:
        name = f"Ada {uuid.uuid4().hex}"
        client = make_client(stack, name)
        with receiving("200") as customer:
            assert client.run(url, webhook=customer.url)["status"] == "succeeded"
            wait_for(customer, 1)
        for log in ("api.log", "worker.log", "courier.log", "stream.log"):
            assert "shared.telemetry.tracing" in logs(stack, log)
        # What redis-py looks for, and does not find; a module that is found imports others.
        tried = {"opentelemetry.metrics", "opentelemetry.sdk", "opentelemetry.sdk.metrics"}
        assert set(re.findall(r"opentelemetry[\w.]*", logs(stack))) <= tried
        assert "trace_id" not in logs(stack)
        # Nor is a client named where nobody asks for that.
        assert name not in logs(stack)


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app"],
        ["-m", "celery", "-A", "worker.app", "worker"],
        ["-m", "worker.courier"],
        ["-m", "api.stream"],
    ],
    ids=["api", "worker", "courier", "stream"],
)
def test_a_process_that_lacks_the_packages_for_traces_says_so_and_ends(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ModuleNotFoundError('opentelemetry')")
    settings = Settings(
        data_dir=tmp_path, bind=f"127.0.0.1:{free_port()}", stream_bind=f"127.0.0.1:{free_port()}"
    ).environment()
    path = {"PYTHONPATH": f"{tmp_path}", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | settings | path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "the packages for traces are not installed" in done.stderr
    assert "Traceback" not in done.stderr
