"""Several machines: an API, a stream, two workers and a courier, each with a data folder of its own.

They share Redis, PostgreSQL, a bucket and the secret, and nothing else.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from websockets.sync.client import connect

from shared.local.stack import Process
from tests.support.client import Client, eventually, voiceprint
from tests.support.jobs import done, ok, upload
from tests.support.machines import Machine, Servers, finished, servers, stop
from tests.support.readme import block
from tests.support.receiver import receiving, wait_for
from tests.support.servers import NAME, AudioHost, audio_host, gated
from tests.support.sounds import DATA, encode, read
from tests.support.stacks import bugs_in

ANN = ("1688-142285-0005.flac", "1688-142285-0008.flac")
BUNDLED = Path(__file__).parents[2] / "models" / "bundled" / "ge2e.calibration.json"


class Fleet:
    """Machines by the service of compose.yaml that runs on each; there are two workers."""

    def __init__(self, folder: Path, shared: Servers) -> None:
        self._folder, self._shared = folder, shared
        self.stream = self._machine("stream")
        self.api = self._machine("api", stream_url=self.stream.stream_url)
        self.stream.settings["public_url"] = self.api.api_url
        self.worker = self._machine("worker")
        self.other_worker = self._machine("other worker")
        self.courier = self._machine("courier")
        self.machines = [self.api, self.stream, self.worker, self.other_worker, self.courier]
        self.store = shared.store

    def _machine(self, name: str, **settings: object) -> Machine:
        return Machine(self._folder / name, self._shared, settings)

    def new_machine(self, name: str, **settings: object) -> Machine:
        """Return one more machine."""
        self.machines.append(self._machine(name, **settings))
        return self.machines[-1]

    def start(self) -> None:
        """Start all in the same moment, the database being empty or just migrated."""
        self.courier.prepare()
        order = (("api", self.api), ("stream", self.stream), ("courier", self.courier))
        workers = (("worker", self.worker), ("worker", self.other_worker))
        begun = [(machine, machine.start(service)) for service, machine in (*order, *workers)]
        for machine, process in begun:
            machine.until_ready(process)

    def workers(self) -> tuple[Process, Process]:
        """Return the processes of the two workers."""
        return self.worker.processes[0], self.other_worker.processes[0]

    def client(self, name: str) -> Client:
        """Make a client at the command line of a machine that runs no API."""
        return self.courier.client(name, self.api.api_url)


@pytest.fixture(scope="module")
def shared() -> Iterator[Servers]:
    with servers("machines") as found:
        yield found


@pytest.fixture(scope="module")
def fleet(shared: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("machines"), shared)
    try:
        fleet.start()
        yield fleet
        assert [line for machine in fleet.machines for line in bugs_in(machine.logs())] == []
    finally:
        stop(fleet.machines)


@pytest.fixture(scope="module")
def client(fleet: Fleet) -> Client:
    return fleet.client("tester")


@pytest.fixture
def host() -> Iterator[AudioHost]:
    with audio_host() as host:
        yield host


def test_the_documented_settings_are_those_of_these_machines(fleet: Fleet) -> None:
    lines = block("shared/README.md", "several-machines").splitlines()
    documented = dict(line.split("=", 1) for line in lines)
    # Compose's own: the folder whose files the settings name.
    assert documented.pop("SECRETS") == "./secrets/timbre"
    used = fleet.api.environment()
    assert documented.keys() <= used.keys()
    for name in ("TIMBRE_REDIS_URL", "TIMBRE_DATABASE_URL"):
        assert urlsplit(documented[name]).scheme == urlsplit(used[name]).scheme
    queries = [parse_qs(urlsplit(of["TIMBRE_REDIS_URL"]).query).keys() for of in (documented, used)]
    assert queries[0] == queries[1] != set()


def test_uploads_put_to_the_bucket_are_worked_on_told_of_and_deleted(fleet: Fleet, client: Client) -> None:
    with receiving("200") as hook:
        url = upload(client, ANN[0])
        job_id = client.submit(url, webhook=hook.url)
        voiceprint(client.wait(job_id, 60))
        wait_for(hook, 1)
    assert len(fleet.store.names("timbre/")) == 1
    receipt = ok(client.send("DELETE", f"/v1/jobs/{job_id}"))
    assert sorted(receipt["removed"]) == ["media", "output"]
    assert fleet.store.names("timbre/") == []


def test_both_workers_take_jobs(fleet: Fleet, client: Client, host: AudioHost) -> None:
    # Each has one process, and no job ends before the gate opens.
    job_ids = [client.submit(gated(host)) for _ in range(2)]
    eventually(lambda: host.hits[f"/gated/{NAME}"] == 2)
    host.gate.set()
    for job_id in job_ids:
        voiceprint(client.wait(job_id, 60))
    done_by = [finished(worker) & set(job_ids) for worker in fleet.workers()]
    assert [len(done) for done in done_by] == [1, 1]


def test_the_job_of_a_killed_worker_is_done_by_the_other_machine(fleet: Fleet, client: Client, host: AudioHost) -> None:
    job_ids = [client.submit(gated(host)) for _ in range(2)]
    eventually(lambda: host.hits[f"/gated/{NAME}"] == 2)
    killed, other = fleet.workers()
    killed.kill()
    host.gate.set()
    for job_id in job_ids:
        voiceprint(client.wait(job_id, 60))
    assert finished(other) >= set(job_ids)
    fleet.worker.restart(killed)


def test_a_person_whose_recordings_are_kept_is_enrolled_computed_anew_and_forgotten(
    fleet: Fleet, client: Client
) -> None:
    ok(client.send("PATCH", "/v1/space?space=kept", json={"keepRecordingsSeconds": 3600}))
    done(client, ok(client.post("/v1/enrol", identity="ann", space="kept", url=upload(client, ANN[0]))))
    assert len(fleet.store.names("recordings/")) == 1
    again = done(client, ok(client.post("/v1/identities/ann/enrolments/main/recompute?space=kept"), 202))
    assert again["enrolment"]["version"] == 2
    verified = done(client, ok(client.post("/v1/verify", identity="ann", space="kept", url=upload(client, ANN[1]))))
    assert verified["decision"] == "accept"
    receipt = ok(client.send("DELETE", "/v1/identities/ann?space=kept"))
    assert receipt["removed"] == {"identities": 1, "samples": 1, "enrolments": 1, "verifications": 1}
    assert fleet.store.names("recordings/") == []


def test_recordings_within_vendors_forms_go_through_the_api_to_a_worker(client: Client) -> None:
    ok(client.post("/v1/spaces/tester", handle="main"), 201)
    sound = base64.b64encode((DATA / ANN[0]).read_bytes()).decode()
    made = ok(client.post("/v1/spaces/tester/main/audios", handle="ann", file=sound), 201)
    assert made["state"] == "available"
    assert made["sampleRate"] == 16_000


def test_recordings_over_a_socket_go_through_the_stream_to_a_worker(fleet: Fleet, client: Client) -> None:
    key = fleet.stream.keys("create", "tester", "--group", "callers")
    address = f"{client.url}/voice_biometrics/v1/user/register"
    ticket = ok(requests.get(address, params={"user_id": "Ann"}, auth=("1-2-0/bob@example.com", key), timeout=60))
    assert ticket["url"].startswith(fleet.stream.stream_url)
    sound = encode(read(DATA / ANN[0]), "wav")
    with connect(ticket["url"]) as socket:
        for start in range(0, len(sound), 8000):
            socket.send(sound[start : start + 8000])
        socket.send(json.dumps({"event": "audio_sent"}))
        assert json.loads(socket.recv(60))["event"] == "register"


def test_models_and_keys_are_the_same_from_every_machine(fleet: Fleet, client: Client) -> None:
    (served,) = [model for model in ok(client.send("GET", "/v1/models"))["models"] if model["default"]]
    assert (served["handle"], served["calibrated"]) == ("ge2e", True)
    lists = [machine.keys("list") for machine in (fleet.worker, fleet.api)]
    assert lists[0] == lists[1] and "tester  " in lists[0]
    receipt = fleet.other_worker.keys("delete-client", "tester")
    assert receipt.startswith("deleted tester")
    assert fleet.store.names() == []


def test_a_worker_with_another_calibration_ends_with_a_sentence(fleet: Fleet) -> None:
    machine = fleet.new_machine("unlike", lease_s=1.0)
    file = machine.folder / "weights" / "ge2e" / "calibration.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(json.loads(BUNDLED.read_text()) | {"fitted_at": "2001-01-01T00:00:00+00:00"}))
    process = machine.start("worker")
    eventually(lambda: not process.alive, 60)
    said = machine.logs()
    assert "calibration 2" in said and "here 2001-01-01" in said and "TIMBRE_WEIGHTS_DIR" in said
    assert all(worker.alive for worker in fleet.workers())


def test_no_recording_is_left_on_any_machine(fleet: Fleet) -> None:
    assert [file for machine in fleet.machines for file in machine.scratch()] == []
    assert [machine.folder.name for machine in fleet.machines if (machine.data / "media").exists()] == []
