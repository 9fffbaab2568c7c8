"""Voices of several recordings while workers are killed: each is enrolled and verified once, with the same result."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_migrated
from shared.domain.commands import EnrolVoice, VerifyIdentity
from shared.domain.identities import Actor, NewVerification, RecordKind, RecordQuery, Space
from shared.domain.jobs import JobSubmission, new_job_id
from shared.domain.sources import parse_source
from shared.enrolment_service import EnrolmentService
from shared.identity_service import IdentityService
from shared.local.stack import Stack
from shared.verification_service import VerificationService
from tests.support.client import Client, Json, eventually
from tests.support.servers import audio_host
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, running
from worker.bootstrap import make_service, make_stores
from worker.jobs.stores import IdentityStores

pytestmark = pytest.mark.alone

ANN, ANN_TOO, BOB = "1688-142285-0005.flac", "1688-142285-0008.flac", "2609-156975-0000.flac"
ALL = RecordQuery(take=1000)


class Shop(NamedTuple):
    """A stack, its first client, and the services by which other forms of the API ask for voices."""

    stack: Stack
    client: Client
    by: Actor
    space: Space
    stores: IdentityStores
    enrolments: EnrolmentService
    verifications: VerificationService
    #: Addresses of recordings by name; that of no recording is None's.
    urls: dict[str | None, str]

    def submission(self, command: EnrolVoice | VerifyIdentity) -> JobSubmission:
        """Return the submission of a command."""
        return JobSubmission(command=command, dialect="pyannoteai")

    def register(self, handle: str) -> str:
        """Ask for a new identity to be enrolled by three recordings, of which one is none; returns the job's id."""
        job_id = new_job_id()
        source, *further = (parse_source(self.urls[name]) for name in (ANN, None, ANN_TOO))
        named = {"space": self.space.id, "identity": job_id, "handle": handle}
        command = EnrolVoice(source=source, further=tuple(further), **named)
        return self.enrolments.enrol_voice(self.by, self.space, self.submission(command), job_id).id

    def verify(self, handle: str) -> str:
        """Ask for an identity to be verified by two recordings, of which one is none; returns the job's id."""
        verification_id = new_job_id()
        source, further = (parse_source(self.urls[name]) for name in (BOB, None))
        command = VerifyIdentity(source=source, further=(further,), verification=verification_id, whole_space=True)
        identity = self.enrolments.identities.identity(self.space, handle)
        enrolment = self.verifications.comparable(identity)
        new = NewVerification(id=verification_id, enrolment_id=enrolment.id)
        self.verifications.verify(self.by, self.space, enrolment, new, self.submission(command))
        return verification_id

    def uses(self) -> list[tuple[RecordKind, str]]:
        """Return kind and record of each use that was counted."""
        return [(use.kind, use.subject_id) for use in self.verifications.list_usage(self.by, ALL).items]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("killed")
    with audio_host() as host, running(folder, worker_processes=1, lease_s=3.0, **LOOPBACK) as stack:
        urls: dict[str | None, str] = {
            name: host.serve(name, (DATA / name).read_bytes()) for name in (ANN, ANN_TOO, BOB)
        }
        urls[None] = host.serve("letter.txt", b"Dear sir or madam,\n" * 100)
        client = first_client(stack)
        settings = stack.settings
        engine = open_migrated(settings.sql_url())
        owner = SqlClients(engine, settings.secret_bytes()).authenticate(client.key)
        engine.dispose()
        assert owner is not None
        by = Actor(client_id=owner.id)
        stores, jobs = make_stores(settings), make_service(settings)
        identities = IdentityService(store=stores.spaces, recordings=stores.recordings, jobs=jobs)
        enrolments = EnrolmentService(store=stores.enrolments, identities=identities, jobs=jobs, pool=None)
        verifications = VerificationService(
            store=stores.verifications, enrolments=enrolments, jobs=jobs, served_models=lambda: []
        )
        space = identities.change_space(by, identities.ensure_space(by, "default"))
        yield Shop(stack, client, by, space, stores, enrolments, verifications, urls)


def killed_at(shop: Shop, job_id: str, step: str, children_of: Callable[[int], set[int]]) -> None:
    """Kill the worker's processes when they come to a step of a job, or if that was too quick, when it has ended."""

    def is_there() -> bool:
        job = shop.client.job(job_id)
        return job.get("step") == step or job["status"] not in ("created", "running")

    eventually(is_there, 60.0)
    (worker,) = [process for process in shop.stack.processes if process.name == "worker"]
    for child in children_of(worker.pid):
        os.kill(child, signal.SIGKILL)


def ended(shop: Shop, job_id: str) -> Json:
    """Return the output of a job, once it has succeeded."""
    job = shop.client.wait(job_id, 120.0)
    assert job["status"] == "succeeded", job
    return job["output"]


@pytest.mark.parametrize("step", ["download", "decode", "encode", "diarize", "fingerprint", "store"])
def test_a_voice_is_enrolled_once_whenever_its_worker_is_killed(
    shop: Shop, step: str, children_of: Callable[[int], set[int]]
) -> None:
    before = shop.uses()
    job_id = shop.register(f"ann-{step}")
    killed_at(shop, job_id, step, children_of)
    output = ended(shop, job_id)
    assert [one["accepted"] for one in output["recordings"]] == [True, False, True]
    assert (output["enrolment"]["version"], output["enrolment"]["samples"]) == (1, 2)
    used = [use for use in shop.uses() if use not in before]
    assert sorted(kind for kind, _ in used) == ["enrolment", "sample", "sample"]
    identity = shop.enrolments.identities.identity(shop.space, f"ann-{step}")
    assert (identity.num_samples, identity.num_enrolments) == (2, 1)


@pytest.mark.parametrize("step", ["download", "diarize", "compare", "store"])
def test_a_voice_is_verified_once_whenever_its_worker_is_killed(
    shop: Shop, step: str, children_of: Callable[[int], set[int]]
) -> None:
    handle = f"verified-{step}"
    ended(shop, shop.register(handle))
    before = shop.uses()
    job_id = shop.verify(handle)
    killed_at(shop, job_id, step, children_of)
    assert ended(shop, job_id)["decision"] == "reject"
    verification = shop.stores.verifications.verification(job_id)
    assert verification is not None and verification.result is not None
    assert [*verification.result.unheard] == [1]
    assert [use for use in shop.uses() if use not in before] == [(RecordKind.VERIFICATION, job_id)]
    identity = shop.enrolments.identities.identity(shop.space, handle)
    assert (identity.num_accepted, identity.num_rejected) == (0, 1)
