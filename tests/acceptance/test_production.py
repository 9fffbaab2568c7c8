"""The start commands of the images, with the settings of production: PostgreSQL, Redis by TLS, a bucket, secrets.

Two replicas of the API have no folder in common.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.chaos.figures import ends_seen
from tests.chaos.orders import Work
from tests.chaos.receivers import Mailbox, await_webhooks, receiver
from tests.chaos.submissions import Order, Submissions
from tests.support.client import Client, Json, eventually, voiceprint
from tests.support.jobs import upload
from tests.support.ledger import Ledger, keep
from tests.support.machines import (
    DATABASE_PASSWORD,
    REDIS_PASSWORD,
    SECRET,
    Machine,
    Servers,
    servers,
    stop,
)
from tests.support.object_store import KEY
from tests.support.receiver import receiving, wait_for
from tests.support.servers import audio_host
from tests.support.stacks import bugs_in

ANN = ("1688-142285-0005.flac", "1688-142285-0008.flac")
BOB = "2609-156975-0000.flac"


@dataclass
class Production:
    """Service in production: two machines, of which the first has all parts."""

    servers: Servers
    first: Machine
    second: Machine

    @property
    def machines(self) -> list[Machine]:
        """Return both machines."""
        return [self.first, self.second]

    def client(self) -> Client:
        """Return the client of the first API key, which speaks to the second replica."""
        (file,) = [file for machine in self.machines if (file := machine.data / "first-api-key").exists()]
        return Client(self.second.api_url, file.read_text().strip())


@pytest.fixture(scope="module")
def shared() -> Iterator[Servers]:
    with servers("production") as found:
        yield found


@pytest.fixture(scope="module")
def production(shared: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    folder = tmp_path_factory.mktemp("production")
    machines = [Machine(folder / name, shared, {}) for name in ("first", "second")]
    try:
        yield started(shared, *machines)
        assert [line for machine in machines for line in bugs_in(machine.logs())] == []
    finally:
        stop(machines)


def started(shared: Servers, first: Machine, second: Machine) -> Production:
    """Start everything as compose does, and both replicas in the same moment on an empty database."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda machine: machine.prepare(), (first, second)))
    apis = [machine.start("api") for machine in (first, second)]
    for api, machine in zip(apis, (first, second), strict=True):
        machine.until_ready(api)
    worker, courier, stream = (first.start(name) for name in ("worker", "courier", "stream"))
    for process in (worker, courier, stream):
        first.until_ready(process)
    return Production(shared, first, second)


def done(client: Client, path: str, **body: object) -> Json:
    """Return the output of a job that must succeed."""
    answer = client.post(path, **body)
    assert answer.status_code == 200, answer.text
    job = client.wait(answer.json()["jobId"], 60)
    assert job["status"] == "succeeded", job
    output: Json = job["output"]
    return output


def test_two_replicas_that_start_at_once_make_one_database_and_one_first_key(production: Production) -> None:
    client = production.client()
    for machine in production.machines:
        assert Client(machine.api_url, client.key).send("GET", "/v1/jobs").status_code == 200


def test_an_upload_becomes_a_voiceprint_whose_webhook_arrives_and_goes_with_a_receipt(production: Production) -> None:
    client = production.client()
    with receiving("200") as hook:
        url = upload(client, ANN[0])
        job_id = client.submit(url, webhook=hook.url)
        voiceprint(client.wait(job_id, 60))
        wait_for(hook, 1)
    assert len(production.servers.store.names("timbre/")) == 1
    # The other replica answers.
    receipt = Client(production.first.api_url, client.key).send("DELETE", f"/v1/jobs/{job_id}").json()
    assert sorted(receipt["removed"]) == ["media", "output"]
    assert production.servers.store.names("timbre/") == []


def test_a_person_is_enrolled_verified_and_forgotten_with_the_kept_recording(production: Production) -> None:
    client = production.client()
    assert client.send("PATCH", "/v1/space?space=kept", json={"keepRecordingsSeconds": 3600}).status_code == 200
    done(client, "/v1/enrol", identity="ann", space="kept", url=upload(client, ANN[0]))
    assert len(production.servers.store.names("recordings/")) == 1
    right = done(client, "/v1/verify", identity="ann", space="kept", url=upload(client, ANN[1]))
    wrong = done(client, "/v1/verify", identity="ann", space="kept", url=upload(client, BOB))
    assert (right["decision"], wrong["decision"]) == ("accept", "reject")
    receipt = client.send("DELETE", "/v1/identities/ann?space=kept").json()
    assert receipt["removed"] == {"identities": 1, "samples": 1, "enrolments": 1, "verifications": 2}
    assert production.servers.store.names("recordings/") == []


def test_keys_made_and_ended_at_one_replica_hold_at_the_other(production: Production) -> None:
    client = production.first.client("made here", production.second.api_url)
    assert client.send("GET", "/v1/jobs").status_code == 200
    assert "made here  " in production.second.keys("list")
    production.second.keys("revoke-client", "made here")
    eventually(lambda: client.send("GET", "/v1/jobs").status_code == 401)


def test_restarts_of_every_part_under_load_lose_nothing(production: Production) -> None:
    mailbox = Mailbox()
    keep(production.servers.redis.url)
    key = production.client().key
    clients = [Client(machine.api_url, key) for machine in production.machines]
    with ExitStack() as everything:
        hook = everything.enter_context(receiver(mailbox))
        (url,) = Work.serve(everything.enter_context(audio_host()), real=False).short
        body = {"url": url, "webhook": hook}
        submissions = Submissions(lambda number: Order(clients[number % 2], "/v1/voiceprint", body), pause_s=1.0)
        submissions.allow(10_000)
        with submissions.posting():
            restart_all(production)
        job_ids = list(submissions.accepted.values())
        await_webhooks(mailbox, len(job_ids), 60)
        ends = Counter(ends_seen(submissions.jobs()).values())
    ledger = Ledger.read(production.servers.redis.folder)
    met = Counter(what for what, _ in submissions.answers)
    print(f"{len(job_ids)} jobs ended {dict(ends)}; clients met {dict(met)}")
    assert job_ids
    assert ends == {"not_audio": len(job_ids)}
    assert met.keys() <= {"200", "503", "ConnectionError"}
    assert all(len(ledger.ends(job_id)) == 1 for job_id in job_ids)
    assert mailbox.delivered() == set(job_ids)


def restart_all(production: Production) -> None:
    """Tell every process in turn to stop, and start it; then kill the servers that they share, each for a moment."""
    for machine in production.machines:
        for process in machine.processes:
            machine.restart(process)
    production.servers.redis.restart()
    production.servers.database.stop()
    production.servers.database.start()
    eventually(lambda: all(machine.is_ready() for machine in production.machines))


def test_no_password_and_no_secret_is_in_the_logs(production: Production) -> None:
    text = "".join(machine.logs() for machine in production.machines)
    assert text
    for secret in (REDIS_PASSWORD, DATABASE_PASSWORD, SECRET, KEY, "canary", "X-Amz-Signature"):
        assert secret not in text
