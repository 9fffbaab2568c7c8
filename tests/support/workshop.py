"""Workshop: services, stores and a worker's runner in one process, with real SQL, Redis, decoder and networks."""

import io
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import pytest
import soundfile

from models import registry
from models.vad import SileroVad
from shared.adapters.dir_media import DirMedia
from shared.adapters.media import open_recordings
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.enrolments import SqlEnrolments
from shared.adapters.sql.spaces import SqlSpaces
from shared.adapters.sql.verifications import SqlVerifications
from shared.dialects.base import compact
from shared.dialects.pyannoteai import PyannoteAi
from shared.domain.commands import (
    AddSample,
    Command,
    ComputeEnrolment,
    CreateVoiceprint,
    EnrolVoice,
    Search,
    VerifyIdentity,
)
from shared.domain.enrolling import pool_parts
from shared.domain.identities import (
    Actor,
    NewEnrolment,
    NewIdentity,
    NewSample,
    NewVerification,
    RecordKind,
    RecordQuery,
    UsageRecord,
)
from shared.domain.jobs import JobSubmission, new_job_id
from shared.domain.results import Result
from shared.domain.sources import parse_source
from shared.enrolment_service import EnrolmentService
from shared.identity_service import IdentityService
from shared.job_service import JobService
from shared.retention import Retention
from shared.settings import Settings
from shared.verification_service import VerificationService
from tests.support.records import LEASE_S, ToyQueue, job_store, output
from tests.support.speech import DATA
from worker.bootstrap import make_handlers
from worker.jobs.runner import Runner
from worker.jobs.sources import SourceReader
from worker.jobs.stores import IdentityStores
from worker.recordings.decoder import ProcessDecoder
from worker.recordings.fetch import SourceFetcher
from worker.voices.voiceprint import Nets

SECRET = b"s" * 32
#: Two recordings of each of three people.
PEOPLE = {
    "ann": ("1688-142285-0005.flac", "1688-142285-0008.flac"),
    "bob": ("2609-156975-0000.flac", "2609-156975-0009.flac"),
    "cec": ("3080-5032-0000.flac", "3080-5032-0003.flac"),
}
LONG_S = 10**6


def load_nets() -> Nets:
    """Load the bundled networks."""
    return Nets(SileroVad(), registry.load(registry.entry("ge2e").card))


class CountingDecoder(ProcessDecoder):
    """Decoder that counts the files it decodes."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def decode(self, file: BinaryIO, max_s: float, channel: int | None):
        """Decode a file, and count it."""
        self.count += 1
        return super().decode(file, max_s, channel)


class KeepingDialect(PyannoteAi):
    """Dialect that keeps the results it renders, and tells little of them."""

    def __init__(self) -> None:
        super().__init__("hex")
        self.results = []

    def output(self, result: Result) -> str:
        """Keep a result; returns its kind as JSON text."""
        self.results.append(result)
        return compact({"result": type(result).__name__})


class Died(BaseException):
    """The worker's process dies here: no line of it runs any more."""


class Workshop:
    """Client of the services and worker, on one database and one Redis."""

    def __init__(self, engine, redis, clock, folder, nets, decoder) -> None:
        self.settings = Settings(data_dir=folder, search_bytes=2**20)
        self.engine, self.nets, self.decoder, self.clock = engine, nets, decoder, clock
        self.media = DirMedia(folder / "media", ttl_s=3600, quota_bytes=2**30)
        self.jobs = job_store(redis, clock)
        self.dialect = KeepingDialect()
        self.service = JobService(
            jobs=self.jobs,
            deliveries=None,
            queue=ToyQueue(),
            media=self.media,
            dialects={self.dialect.name: self.dialect},
        )
        clients = SqlClients(engine, SECRET)
        self.by = Actor(client_id=clients.authenticate(clients.create_key(new_job_id())).id)
        enrolments = SqlEnrolments(engine, SECRET)
        self.stores = IdentityStores(
            spaces=SqlSpaces(engine, SECRET),
            enrolments=enrolments,
            verifications=SqlVerifications(engine, SECRET),
            recordings=open_recordings(self.settings, enrolments.recording_key),
        )
        self.identities = IdentityService(
            store=self.stores.spaces, recordings=self.stores.recordings, jobs=self.service
        )
        calibration = nets.embedder.card.calibration
        self.enrolments = EnrolmentService(
            store=enrolments,
            identities=self.identities,
            jobs=self.service,
            pool=partial(pool_parts, calibration=calibration),
        )
        self.verifications = VerificationService(
            store=self.stores.verifications, enrolments=self.enrolments, jobs=self.service, served_models=lambda: []
        )
        self.space = self.identities.ensure_space(self.by, "default")
        self.runner = self.make_runner()

    def make_runner(self, *, nets=None, stores=None) -> Runner:
        """Return a worker's runner, on other networks or stores where they are given."""
        fetcher = SourceFetcher(egress=None, media=self.media, buckets=None, scratch=self.settings.data_dir / "scratch")
        reader = SourceReader(fetcher=fetcher, decoder=self.decoder)
        handlers = make_handlers(self.settings, reader, nets or self.nets, stores or self.stores)
        return Runner(service=self.service, handle=handlers.handle, beat_s=60.0)

    def retention(self) -> Retention:
        """Return the housekeeping of identities."""
        return Retention(
            identities=self.identities,
            enrolments=self.stores.enrolments,
            verifications=self.stores.verifications,
            recordings=self.stores.recordings,
            jobs=self.service,
            verification_ttl_s=LONG_S,
            usage_ttl_s=LONG_S,
            audit_ttl_s=LONG_S,
            job_ttl_s=LONG_S,
        )

    def keep_recordings(self, seconds: int | None) -> None:
        """Let the space keep the recordings of samples."""
        self.space = self.identities.change_space(self.by, replace(self.space, keep_recordings_s=seconds))

    def upload(self, name: str, content: bytes | None = None) -> str:
        """Upload a file of the test data, or other content; returns its address."""
        self.media.save(self.by.client_id, name, [content or (DATA / name).read_bytes()])
        return f"media://{name}"

    def submission(self, command: Command) -> JobSubmission:
        """Return the submission of a command."""
        return JobSubmission(command=command, dialect=self.dialect.name)

    def enrol(self, who: str, url: str):
        """Ask for a recording to be added to an identity's growing enrolment; returns the job's id."""
        command = AddSample(source=parse_source(url), sample=new_job_id())
        _, job = self.enrolments.enrol(self.by, self.space, who, NewIdentity(), self.submission(command))
        return job.id

    def enrolled(self, who: str, *names: str):
        """Enrol an identity with recordings of the test data, to the end; returns its enrolment."""
        for name in names:
            self.enrol(who, self.upload(name))
            self.runner.run_all()
        return self.enrolment(who)

    def submit_voice(self, command: EnrolVoice, job_id: str):
        """Ask for a voice to be enrolled; returns the job's id."""
        return self.enrolments.enrol_voice(self.by, self.space, self.submission(command), job_id).id

    def register(self, who: str, *urls: str, **options) -> str:
        """Ask for a new identity to be enrolled by recordings; returns the job's id."""
        job_id = new_job_id()
        source, *further = map(parse_source, urls)
        named = {"space": self.space.id, "identity": job_id, "handle": who, "further": tuple(further)}
        return self.submit_voice(EnrolVoice(source=source, **named, **options), job_id)

    def update(self, who: str, *urls: str, **options) -> str:
        """Ask for further recordings of an identity to be enrolled; returns the job's id."""
        source, *further = map(parse_source, urls)
        named = {"space": self.space.id, "identity": self.identity(who).id, "further": tuple(further)}
        return self.submit_voice(EnrolVoice(source=source, **named, **options), new_job_id())

    def identity(self, who: str):
        """Return an identity."""
        return self.identities.identity(self.space, who)

    def enrolment(self, who: str, reference: str = "main"):
        """Return an identity's enrolment."""
        return self.enrolments.enrolment(self.identity(who), reference)

    def add_sample(self, url: str, who: str | None = None, **options):
        """Ask for a sample to be heard; returns its id, which is also the job's."""
        sample_id = new_job_id()
        identity_id = self.identity(who).id if who else None
        command = AddSample(source=parse_source(url), sample=sample_id, **options)
        new = NewSample(id=sample_id, identity_id=identity_id)
        self.enrolments.add_sample(self.by, self.space, new, self.submission(command))
        return sample_id

    def compute(self, enrolment, *, anew: bool = False):
        """Ask for an enrolment to be computed; returns the job's id."""
        command = ComputeEnrolment(enrolment=enrolment.id)
        _, job = self.enrolments.compute(self.by, enrolment, self.submission(command), anew=anew)
        return job.id

    def once(self, who: str, *sample_ids: str):
        """Make an enrolment that is computed once."""
        new = NewEnrolment(identity_id=self.identity(who).id, handle="once", kind="once", model="ge2e")
        samples = [self.enrolments.sample(self.space, one) for one in sample_ids]
        return self.enrolments.add_enrolment(self.by, self.space, new, samples)

    def verify(
        self,
        who: str,
        url: str | None = None,
        *further: str,
        sample: str | None = None,
        least_llr: float | None = None,
        **options,
    ):
        """Ask for a verification of recordings, or of a sample; returns its id, which is also the job's."""
        verification_id = new_job_id()
        source = parse_source(url) if url else None
        others = tuple(map(parse_source, further))
        command = VerifyIdentity(source=source, further=others, verification=verification_id, **options)
        enrolment = self.verifications.comparable(self.identity(who))
        new = NewVerification(id=verification_id, enrolment_id=enrolment.id, sample_id=sample, least_llr=least_llr)
        self.verifications.verify(self.by, self.space, enrolment, new, self.submission(command))
        return verification_id

    def verified(self, who: str, *urls: str, **options):
        """Verify to the end; returns the verification."""
        verification_id = self.verify(who, *urls, **options)
        self.runner.run_all()
        return self.stores.verifications.verification(verification_id)

    def voiceprint_of(self, url: str) -> CreateVoiceprint:
        """Return the command of a job that has nothing to do with identities."""
        return CreateVoiceprint(source=parse_source(url))

    def search(self, url: str, **options):
        """Ask for a search; returns the job's id."""
        command = Search(source=parse_source(url), space=self.space.id, **options)
        return self.verifications.search(self.by, self.space, self.submission(command)).id

    @property
    def result(self) -> Result:
        """The last result of a job."""
        return self.dialect.results[-1]

    def job(self, job_id: str):
        """Return a job."""
        return self.jobs.find(self.by.client_id, job_id)

    def uses(self, kind: RecordKind | None = None) -> list[str]:
        """Return the kinds of the usage records, the oldest first."""
        return [use.kind.value for use in self.usage(kind)]

    def usage(self, kind: RecordKind | None = None) -> list[UsageRecord]:
        """Return the usage records, the oldest first."""
        return [*reversed(self.verifications.list_usage(self.by, RecordQuery(take=1000, kind=kind)).items)]


def dying(store, method: str, *, after: bool):
    """Return a copy of a store that dies once before, or right after, it does something."""
    done = threading.Event()

    class Dying(type(store)):
        pass

    def die(self, *given, **named):
        if done.is_set():
            return getattr(super(Dying, self), method)(*given, **named)
        done.set()
        if after:
            getattr(super(Dying, self), method)(*given, **named)
        raise Died

    setattr(Dying, method, die)
    copy = Dying.__new__(Dying)
    copy.__dict__.update(store.__dict__)
    return copy


def ended(shop, job_id):
    """Return status and code of a job that has ended."""
    job = shop.job(job_id)
    return job.status, (output(job) or {}).get("code")


def die_and_run_again(shop, store, method, *, after):
    """Let the worker die in a store's method, and another one take its job when the lease is over."""
    stores = replace(shop.stores, **{store: dying(getattr(shop.stores, store), method, after=after)})
    with pytest.raises(Died):
        shop.make_runner(stores=stores).run_all()
    shop.clock.pass_s(LEASE_S)
    assert shop.jobs.reap().rings == 1
    shop.runner.run_all()


def shortened(name: str, seconds: float) -> bytes:
    """Return the beginning of a recording of the test data, as WAV."""
    samples, rate_hz = soundfile.read(DATA / name, dtype="int16")
    made = io.BytesIO()
    soundfile.write(made, samples[: round(seconds * rate_hz)], rate_hz, format="WAV")
    return made.getvalue()


@contextmanager
def decoding():
    """Give a decoder until the end of the block."""
    decoder = CountingDecoder()
    try:
        yield decoder
    finally:
        decoder.stop()
