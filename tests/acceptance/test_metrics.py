"""Metrics of the real service, several processes of each kind: what they add up to is what was done, exactly."""

import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import soundfile
from websockets.sync.client import connect

from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_migrated
from shared.local.stack import RedisServer, Stack, free_port
from shared.telemetry.exporter import ROLES
from tests.support.apis import api_process
from tests.support.client import Client, eventually, put
from tests.support.receiver import receiving
from tests.support.scrapes import Samples, free_ports, scrape
from tests.support.servers import NAME, AudioHost, gated
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, bugs, make_client, running

NAMED = "zorblatt"
PERSON = "quixotina"
LIMIT = 20
NOTHING = "media://nothing"


@dataclass(frozen=True)
class Counting(Client):
    """Client that counts the answers it gets, by method and status."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        answer = super().send(method, path, **options)
        self.answers[method, str(answer.status_code)] += 1
        return answer


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service of two API processes and two worker processes, with metrics."""
    processes = {"api_processes": 2, "worker_processes": 2, "long_processes": 2, "lease_s": 3.0}
    binds = {"metrics_bind": free_ports(), "stream_bind": f"127.0.0.1:{free_port()}"}
    limits = {"posts_per_minute": LIMIT}
    with running(tmp_path_factory.mktemp("measured"), **processes, **binds, **limits, **LOOPBACK) as stack:
        for role in ROLES:
            eventually(lambda role=role: _answers(stack, role))
        yield stack
        # Celery tells of the process that is killed.
        assert [bug for bug in bugs(stack) if "WorkerLostError" not in bug] == []


def _answers(stack: Stack, role: str) -> bool:
    try:
        return bool(scrape(stack.settings.metrics_bind, role))
    except requests.ConnectionError:
        return False


def texts(stack: Stack) -> list[str]:
    """Return what all roles tell."""
    return [scrape(stack.settings.metrics_bind, role) for role in ROLES]


def process(stack: Stack, name: str) -> int:
    """Return the id of a process of the stack."""
    return next(one.pid for one in stack.processes if one.name == name)


def ended(samples: Samples) -> dict[tuple[str, ...], float]:
    return samples.of("timbre_jobs_ended_total", "kind", "lane", "status", "code")


def requests_of(samples: Samples) -> Counter[tuple[str, str]]:
    """Return the requests of clients, by method and status: the probes of the stack's start are none."""
    found = samples.of("timbre_requests_total", "method", "status", "route")
    counted: Counter[tuple[str, str]] = Counter()
    for (method, status, route), value in found.items():
        if route not in ("/readyz", "/healthz"):
            counted[method, status] += int(value)
    return counted


def test_what_all_processes_counted_adds_up_to_what_was_done(
    measured: Stack, host: AudioHost, children_of: Callable[[int], set[int]]
) -> None:
    client = Counting(measured.url, make_client(measured, NAMED).key)
    sound = (DATA / NAME).read_bytes()
    url = host.serve(NAME, sound)
    jobs = []

    # Some succeed, of both lanes, and some fail.
    jobs += [client.submit(url) for _ in range(3)]
    jobs += [client.submit(NOTHING) for _ in range(2)]
    jobs.append(_posted(client, "/v1/diarize", url=url))
    for job_id in jobs:
        client.wait(job_id)
    jobs.append(_posted(client, "/v1/enrol", url=url, identity=PERSON))
    client.wait(jobs[-1])
    jobs.append(_posted(client, "/v1/verify", url=url, identity=PERSON))
    client.wait(jobs[-1])

    # The same request twice is one job.
    for _ in range(2):
        answer = client.send("POST", "/v1/voiceprint", json={"url": url}, headers={"Idempotency-Key": "one"})
        jobs.append(answer.json()["jobId"])
    client.wait(jobs[-1])

    # Webhooks: one is delivered, one at its second try, one is refused.
    with receiving("200") as good, receiving("500", "200") as late, receiving("410") as gone:
        hooks = (good, late, gone)
        jobs += [client.submit(NOTHING, webhook=receiver.url) for receiver in hooks]
        eventually(lambda: [len(receiver.posts) for receiver in hooks] == [1, 2, 1])

        # A worker's child is killed with a job in hand, which is done again.
        killed = client.submit(gated(host))
        eventually(lambda: host.hits[f"/gated/{NAME}"] == 1)
        for child in children_of(process(measured, "worker")):
            os.kill(child, signal.SIGKILL)
        eventually(lambda: host.hits[f"/gated/{NAME}"] == 2)
        # Another one is canceled.
        canceled = client.submit(gated(host))
        eventually(lambda: host.hits[f"/gated/{NAME}"] == 3)
        eventually(lambda: Samples(scrape(measured.settings.metrics_bind, "worker")).total("timbre_jobs_in_hand") == 2)
        assert client.post(f"/v1/jobs/{canceled}/cancel").status_code == 200
        host.gate.set()
        client.wait(killed)
        jobs += [killed, canceled]

        # An API process is killed: what it counted stays.
        os.kill(min(children_of(process(measured, "API"))), signal.SIGKILL)
        eventually(lambda: len(children_of(process(measured, "API"))) == 2)

        # Requests that are refused, and what is no request.
        limited = [client.post("/v1/media/input", url="media://x").status_code for _ in range(LIMIT + 3)]
        assert limited.count(429) == 3
        assert client.post("/v1/voiceprint").status_code == 400
        stranger = {"Authorization": "Bearer sk_no"}
        assert client.send("GET", "/v1/test", headers=stranger).status_code == 401
        assert client.send("BREW", "/nowhere/at/all").status_code == 404
        _knock(measured, client)
        assert _raw(measured, b"NO REQUEST AT ALL\r\n\r\n").startswith(b"HTTP/1.1 400")
        client.answers["none", "400"] += 1
        client.answers["other", "404"] += client.answers.pop(("BREW", "404"))

        expected = {
            ("voiceprint", "short", "succeeded", "none"): 5,
            ("voiceprint", "short", "failed", "media_not_found"): 5,
            ("voiceprint", "short", "canceled", "canceled"): 1,
            ("diarize", "long", "succeeded", "none"): 1,
            ("sample", "short", "succeeded", "none"): 1,
            ("identity_verification", "short", "succeeded", "none"): 1,
        }
        eventually(lambda: ended(Samples(*texts(measured))) == expected)
        tries = {("delivered", "none", "1"): 1, ("pending", "http_error", "1"): 1}
        tries |= {("delivered", "none", "2"): 1, ("refused", "http_error", "1"): 1}
        by = ("state", "reason", "attempt")
        eventually(lambda: Samples(*texts(measured)).of("timbre_deliveries_total", *by) == tries)
        eventually(lambda: Samples(*texts(measured)).total("timbre_jobs_in_hand") == 0)

        told = texts(measured)
        found = Samples(*told)
        assert ended(found) == expected
        assert requests_of(found) == client.answers
        assert found.of("timbre_jobs_submitted_total", "kind", "lane") == {
            ("voiceprint", "short"): 11,
            ("diarize", "long"): 1,
            ("sample", "short"): 1,
            ("identity_verification", "short"): 1,
        }
        assert found.of("timbre_job_seconds_count", "lane") == {("short",): 13, ("long",): 1}
        assert found.of("timbre_job_wait_seconds_count", "lane") == {("short",): 13, ("long",): 1}
        assert found.of("timbre_step_seconds_count", "kind", step="download") == {
            ("voiceprint",): 10,
            ("diarize",): 1,
            ("sample",): 1,
            ("identity_verification",): 1,
        }
        assert found.total("timbre_leases_lost_total") == 1
        assert found.total("timbre_jobs_handed_back_total") == 0
        sound_s = soundfile.info(DATA / NAME).duration
        assert found.total("timbre_audio_seconds_total", kind="voiceprint") == pytest.approx(5 * sound_s, abs=0.01)
        assert found.total("timbre_delivery_seconds_count") == 4
        assert found.of("timbre_requests_refused_total", "code") == {
            ("rate_limited",): 3,
            ("invalid_request",): 2,
            ("unauthorized",): 3,
            ("not_found",): 1,
        }
        assert found.of("timbre_requests_rate_limited_total", "route") == {("/v1/media/input",): 3}
        assert found.total("timbre_model_info", model="ge2e@1", calibrated="yes") == 1
        assert found.total("timbre_worker_processes") == 2
        assert {role for (role,) in found.of("timbre_build_info", "role")} == set(ROLES)
        assert found.of("timbre_client_requests_total") == found.of("timbre_client_jobs_submitted_total") == {}
        # The queues are asked for by two.
        assert found.of("timbre_queue_jobs", "lane") == {}
        assert [text.count('timbre_queue_jobs{lane="long"} 0.0') for text in told] == [1, 0, 0, 1]

        database = open_migrated(measured.settings.sql_url())
        caller = SqlClients(database, measured.settings.secret_bytes()).authenticate(client.key)
        database.dispose()
        assert caller is not None
        ports = [str(host.server_port), *(str(receiver.port) for receiver in hooks)]
        secrets = [NAMED, PERSON, caller.id, NAME, "127.0.0.1", "localhost", "BREW", "nowhere", *ports, *jobs]
        labels = " ".join(value for _, pairs in found for _, value in pairs)
        assert [secret for secret in secrets if secret in labels] == []


def _posted(client: Client, path: str, **body: str) -> str:
    answer = client.post(path, **body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["jobId"])


def _knock(stack: Stack, client: Counting) -> None:
    """Come to the stream without a key, at a path of its own and at another one; then open a socket with a key."""
    bind = stack.settings.stream_bind
    for path in ("v1/spaces/any/any/verify/identity", "nowhere"):
        assert requests.get(f"http://{bind}/{path}", timeout=10).status_code == 401
    client.answers["GET", "401"] += 2
    key = {"Authorization": f"Bearer {client.key}"}
    with connect(f"ws://{bind}/v1/spaces/{NAMED}/default/verify/identity", additional_headers=key, proxy=None):
        client.answers["GET", "101"] += 1
        eventually(lambda: _open_sockets(stack) == 1)
    eventually(lambda: _open_sockets(stack) == 0)
    routes = Samples(scrape(stack.settings.metrics_bind, "stream")).of("timbre_requests_total", "route", status="401")
    assert routes == {("/v1/spaces/<owner>/<space>/verify/<kind>",): 1, ("none",): 1}


def _open_sockets(stack: Stack) -> float:
    return Samples(scrape(stack.settings.metrics_bind, "stream")).total("timbre_sockets_open")


def _raw(stack: Stack, sent: bytes) -> bytes:
    host, _, port = stack.settings.bind.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as raw:
        raw.sendall(sent)
        return raw.recv(1000)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_metrics_are_served_on_loopback_alone(measured: Stack) -> None:
    ports = {int(measured.settings.metrics_bind.rpartition(":")[2]) + number for number in range(len(ROLES))}
    listening = [line.split()[1].split(":") for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    hosts = {host for host, port in listening if int(port, 16) in ports}
    assert hosts == {"0100007F"}


def test_names_of_clients_are_told_where_the_settings_ask_for_it(tmp_path: Path, redis_server: RedisServer) -> None:
    bind = free_ports()
    with api_process(tmp_path, redis_server.url, metrics_bind=bind, name_clients=True) as (client, _):
        for _ in range(2):
            client.submit(NOTHING)
        assert requests.get(f"{client.url}/v1/test", timeout=10).status_code == 401
        assert put(client.address("media://x"), b"x").status_code == 200
        found = Samples(scrape(bind, "api"))
        assert found.of("timbre_client_jobs_submitted_total", "client", "kind") == {("default", "voiceprint"): 2}
        assert found.of("timbre_client_requests_total", "client", "status") == {
            ("default", "200"): 2,
            ("default", "201"): 1,
        }


def test_a_scrape_goes_on_without_redis_and_tells_of_its_errors(tmp_path: Path) -> None:
    bind = free_ports()
    with api_process(tmp_path, "redis://127.0.0.1:1/0", metrics_bind=bind) as (client, _):
        assert client.post("/v1/voiceprint", url=NOTHING).status_code == 503
        found = eventually(lambda: Samples(scrape(bind, "api")))
        assert found.total("timbre_redis_errors_total", error="ConnectionError") > 0
        assert found.total("timbre_requests_refused_total", code="unavailable") == 1
        assert "timbre_queue_jobs" not in {name for name, _ in found}
