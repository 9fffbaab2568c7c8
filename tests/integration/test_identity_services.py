"""Services of lasting identities over real SQL and Redis: repeats, refusals, removal, and what housekeeping mends."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from shared import identity_service
from shared.adapters.dir_media import DirMedia
from shared.adapters.media import open_recordings
from shared.adapters.redis_deliveries import RedisDeliveries
from shared.domain.commands import AddSample, ComputeEnrolment, VerifyIdentity
from shared.domain.errors import (
    ConsentRequired,
    HandleTaken,
    IdempotencyMismatch,
    InvalidVoiceprint,
    NotFound,
    TooFewSamples,
    TooManyJobs,
    WrongState,
)
from shared.domain.identities import (
    Consent,
    EnrolmentState,
    NewEnrolment,
    NewIdentity,
    NewSample,
    NewVerification,
    RecordKind,
    RecordQuery,
    Requirements,
    SampleState,
    VerificationState,
    new_id,
    now,
)
from shared.domain.jobs import IdempotencyKey, JobSubmission, Status
from shared.domain.sources import parse_source
from shared.enrolment_service import EnrolmentService
from shared.identity_service import IdentityService
from shared.retention import Retention
from shared.settings import Settings
from shared.verification_service import VerificationService
from tests.support.lasting import ALL, MODEL, pooled, voice
from tests.support.records import DIALECT, ENVELOPE, HOOK, finish, job_service, job_store, submission

KEY = IdempotencyKey("key", "request")
DAY_S = 24 * 3600.0
OVER = now() - timedelta(seconds=1)


@dataclass(frozen=True)
class House:
    """The services, and what they stand on."""

    identities: IdentityService
    enrolments: EnrolmentService
    verifications: VerificationService
    retention: Retention


@pytest.fixture
def jobs(redis, clock):
    return job_store(redis, clock, max_unfinished=2)


@pytest.fixture
def media(tmp_path):
    return DirMedia(tmp_path / "media", ttl_s=3600, quota_bytes=10**9)


@pytest.fixture
def house(acme, jobs, media, redis, clock, tmp_path):
    service = job_service(jobs, media=media, deliveries=RedisDeliveries(redis, ENVELOPE, clock=clock))
    recordings = open_recordings(Settings(data_dir=tmp_path), acme.enrolments.recording_key)
    identities = IdentityService(store=acme.spaces, recordings=recordings, jobs=service)
    enrolments = EnrolmentService(store=acme.enrolments, identities=identities, jobs=service, pool=pooled)
    return House(
        identities,
        enrolments,
        VerificationService(
            store=acme.verifications, enrolments=enrolments, jobs=service, served_models=lambda: [MODEL]
        ),
        Retention(
            identities=identities,
            enrolments=acme.enrolments,
            verifications=acme.verifications,
            recordings=recordings,
            jobs=service,
            verification_ttl_s=DAY_S,
            usage_ttl_s=DAY_S,
            audit_ttl_s=DAY_S,
            job_ttl_s=DAY_S,
        ),
    )


@pytest.fixture
def space(acme):
    return acme.space()


@pytest.fixture
def ann(acme, space):
    return acme.identity(space, "ann")


def asked(command, key=None):
    return JobSubmission(command=command, dialect=DIALECT.name, idempotency_key=key)


def add_sample(house, acme, space, identity=None, key=None, **changes):
    """Ask for a sample and its job."""
    sample_id = new_id()
    new = NewSample(id=sample_id, identity_id=identity.id if identity else None, **changes)
    command = AddSample(source=parse_source("media://a"), sample=sample_id)
    return house.enrolments.add_sample(acme.by, space, new, asked(command, key))


def verify(house, acme, space, enrolment, key=None):
    """Ask for a verification and its job."""
    job_id = new_id()
    new = NewVerification(id=job_id, enrolment_id=enrolment.id)
    return house.verifications.verify(acme.by, space, enrolment, new, asked(VerifyIdentity(verification=job_id), key))


def compute(house, acme, enrolment, key=None):
    """Ask for a computation and its job."""
    return house.enrolments.compute(acme.by, enrolment, asked(ComputeEnrolment(enrolment=enrolment.id), key))


def enrol(house, acme, space, reference, new=None, key=None):
    """Ask for an enrolment in one call."""
    command = AddSample(source=parse_source("media://a"), sample=new_id())
    return house.enrolments.enrol(acme.by, space, reference, new or NewIdentity(), asked(command, key))


def fill(jobs, acme):
    """Let the client have as many unfinished jobs as it may."""
    for _ in range(2):
        jobs.create(new_id(), acme.by.client_id, submission())


def empty(jobs):
    """End the jobs that wait."""
    while claim := jobs.claim():
        finish(jobs, claim, Status.SUCCEEDED, {})


def grow_old(engine, seconds):
    """Let records wait for so many seconds longer."""
    with engine.begin() as connection:
        for table, column in (("samples", "since_us"), ("enrolments", "since_us"), ("verifications", "created_us")):
            connection.execute(text(f"UPDATE {table} SET {column} = {column} - {seconds * 10**6}"))


# Repeats and refusals


def test_a_repeated_request_gets_the_record_and_the_job_it_made(house, acme, space, ann):
    once = acme.computed(ann, [acme.ready(space, ann)])
    for call in (
        lambda key: add_sample(house, acme, space, ann, key, handle="s"),
        lambda key: verify(house, acme, space, once, key),
    ):
        key = IdempotencyKey(new_id(), "request")
        (first, job), (second, again) = call(key), call(key)
        assert (first.id, job.id) == (second.id, again.id) == (first.id, first.id)
        with pytest.raises(IdempotencyMismatch):
            call(replace(key, fingerprint="another"))
    assert acme.enrolments.list_samples(space.id, ALL).total == 2
    assert acme.verifications.list_verifications(space.id, ALL).total == 1


def test_a_repeated_computation_gets_the_job_it_made(house, acme, space, ann):
    once = acme.open(ann, [acme.ready(space, ann)])
    (first, job), (second, again) = (compute(house, acme, once, KEY) for _ in range(2))
    assert job.id == again.id == first.job_id == second.job_id
    assert first.state is second.state is EnrolmentState.COMPUTING


def test_a_repeated_enrolment_makes_one_identity_one_enrolment_and_one_sample(house, acme, space):
    (first, job), (second, again) = (enrol(house, acme, space, "bob", key=KEY) for _ in range(2))
    assert (first.id, job.id) == (second.id, again.id)
    found = house.identities.identity(space, "bob")
    assert (found.num_samples, found.num_enrolments) == (1, 1)


def test_a_repeated_upload_gets_the_job_it_made(house, acme, space):
    sample = house.enrolments.await_file(acme.by, space, NewSample(id=new_id()))
    asking = asked(AddSample(source=parse_source("media://a"), sample=sample.id), KEY)
    first, again = (house.enrolments.hear(acme.by, sample, asking) for _ in range(2))
    assert first.id == again.id == acme.enrolments.sample(sample.id).job_id
    with pytest.raises(WrongState, match="has its file already"):
        house.enrolments.hear(acme.by, sample, replace(asking, idempotency_key=None))


def test_a_job_that_is_refused_takes_its_record_back_and_is_taken_later(house, acme, space, ann, jobs):
    once = acme.open(ann, [acme.ready(space, ann)])
    done = acme.computed(ann, [acme.ready(space, ann)], handle="done")
    waiting = house.enrolments.await_file(acme.by, space, NewSample(id=new_id()))
    hearing = asked(AddSample(source=parse_source("media://a"), sample=waiting.id))
    calls = (
        lambda: add_sample(house, acme, space, ann, handle="s"),
        lambda: verify(house, acme, space, done),
        lambda: compute(house, acme, once),
        lambda: house.enrolments.hear(acme.by, waiting, hearing),
    )
    fill(jobs, acme)
    for call in calls:
        with pytest.raises(TooManyJobs):
            call()
    assert acme.enrolments.find_sample(space.id, "s") is None
    assert acme.verifications.list_verifications(space.id, ALL).total == 0
    found = acme.enrolments.enrolment(once.id)
    assert (found.state, found.failure) == (EnrolmentState.OPEN, None)
    assert acme.enrolments.sample(waiting.id).state is SampleState.AWAITING_FILE
    for call in calls:
        empty(jobs)
        call()


def test_a_computation_of_too_few_samples_says_how_many(house, acme, space, ann):
    with pytest.raises(TooFewSamples, match="has 1 of at least 2 samples"):
        compute(house, acme, acme.open(ann, [acme.ready(space, ann)], min_samples=2))


def test_voiceprints_that_cannot_be_enrolled_leave_nothing(house, acme, space, ann):
    new = NewEnrolment(identity_id=ann.id, handle="brought")
    made = house.enrolments.import_voiceprints(acme.by, space, new, [voice(1), voice(2)])
    assert (made.state, made.num_samples) == (EnrolmentState.COMPUTED, 2)
    opposite = replace(voice(1), vector=-voice(1).vector)
    with pytest.raises(HandleTaken):
        house.enrolments.import_voiceprints(acme.by, space, new, [voice(3)])
    for voices in ([voice(1), voice(2, "other@1")], [voice(1), opposite]):
        with pytest.raises(InvalidVoiceprint):
            house.enrolments.import_voiceprints(acme.by, space, replace(new, handle="other"), voices)
    found = house.identities.identity(space, "ann")
    assert (found.num_samples, found.num_enrolments) == (2, 1)


# Consent


def test_consent_is_required_where_the_operator_says_so_and_the_newest_is_kept(house, acme, space):
    strict = replace(house.identities, consent_required=True)
    consent = Consent(given_at=now(), reference="paper 1")
    with pytest.raises(ConsentRequired):
        strict.ensure_identity(acme.by, space, "bob", NewIdentity())
    made = strict.ensure_identity(acme.by, space, "bob", NewIdentity(consent=consent))
    assert strict.ensure_identity(acme.by, space, "bob", NewIdentity()) == made
    newer = replace(consent, reference="paper 2")
    assert strict.ensure_identity(acme.by, space, made.id, NewIdentity(consent=newer)).consent == newer
    assert house.identities.identity(space, "bob").consent == newer
    acme.identity(space, "before")
    with pytest.raises(ConsentRequired):
        strict.ensure_identity(acme.by, space, "before", NewIdentity())
    lawful = strict.change_space(acme.by, replace(space, consent_basis="contract"))
    assert strict.ensure_identity(acme.by, lawful, "before", NewIdentity()).handle == "before"


def test_no_more_is_kept_of_an_identity_made_before_consent_was_required(house, acme, space):
    before = acme.identity(space, "before")
    sample, nobodys = acme.ready(space, before), acme.ready(space)
    once = acme.computed(before, [sample])
    new = NewEnrolment(identity_id=before.id, handle="more")
    strict = replace(
        house,
        enrolments=replace(house.enrolments, identities=replace(house.identities, consent_required=True)),
    )
    for keep in (
        lambda: add_sample(strict, acme, space, before),
        lambda: strict.enrolments.add_enrolment(acme.by, space, new, [sample]),
        lambda: strict.enrolments.import_voiceprints(acme.by, space, new, [voice(1)]),
        lambda: strict.enrolments.assign(acme.by, space, nobodys, before),
        lambda: strict.enrolments.add_part(acme.by, space, once, sample, Requirements()),
    ):
        with pytest.raises(ConsentRequired):
            keep()
    found = house.identities.identity(space, "before")
    assert (found.num_samples, found.num_enrolments) == (1, 1)
    house.identities.change_identity(acme.by, replace(before, consent=Consent(given_at=now(), reference="paper 1")))
    add_sample(strict, acme, space, before)
    assert strict.enrolments.add_enrolment(acme.by, space, new, [sample]).handle == "more"
    strict.enrolments.assign(acme.by, space, nobodys, before)


def test_an_id_makes_no_identity(house, acme, space):
    with pytest.raises(NotFound):
        house.identities.ensure_identity(acme.by, space, new_id(), NewIdentity())


# Removal


def test_a_job_that_runs_ends_with_its_own_code_and_its_worker_loses(house, acme, space, ann, jobs, redis, clock):
    once = acme.computed(ann, [acme.ready(space, ann)])
    hooked = replace(submission("media://b", HOOK), command=VerifyIdentity(verification=new_id()))
    new = NewVerification(id=hooked.command.verification, enrolment_id=once.id)
    _, job = house.verifications.verify(acme.by, space, once, new, hooked)
    claim = jobs.claim()
    assert claim.job_id == job.id
    removal = house.identities.delete_identity(acme.by, ann.id)
    assert removal.counts[RecordKind.VERIFICATION] == 1
    found = house.identities.jobs.find(acme.by.client_id, job.id)
    assert found.status is Status.FAILED
    assert house.identities.jobs.reason(found)[0] == "identity_deleted"
    assert not jobs.beat(claim)
    assert not finish(jobs, claim, Status.SUCCEEDED, {"secret": 1})
    (delivery,) = RedisDeliveries(redis, ENVELOPE, clock=clock).take(10)
    assert delivery.job_id == job.id
    with pytest.raises(NotFound):
        house.identities.delete_identity(acme.by, ann.id)


def test_results_uploads_and_recordings_go_with_the_identity(house, acme, space, ann, jobs, media, redis, tmp_path):
    media.save(acme.by.client_id, "a", [b"sound"])
    sample, job = add_sample(house, acme, space, ann)
    house.identities.recordings.keep(acme.by.client_id, sample.id, b"sound")
    acme.keep(sample, kept_until=now() + timedelta(days=1))
    finish(jobs, jobs.claim(), Status.SUCCEEDED, {"quality": 1})
    assert [path.name for path in (tmp_path / "recordings").rglob(sample.id)]
    house.identities.delete_identity(acme.by, ann.id)
    assert house.identities.jobs.peek(acme.by.client_id, job.id) is None
    assert redis.keys(f"*{job.id}*") == []
    assert not media.contains(acme.by.client_id, "a")
    assert [path for path in (tmp_path / "recordings").rglob("*") if path.is_file()] == []


@dataclass(frozen=True)
class Meanwhile:
    """Store in which something happens just before a removal."""

    store: object
    happens: object

    def __getattr__(self, name):
        return getattr(self.store, name)

    def remove(self, *arguments):
        self.happens()
        return self.store.remove(*arguments)


def test_a_job_that_is_made_during_a_removal_goes_too(house, acme, space, ann, jobs):
    made = []

    def happens():
        made.append(add_sample(house, acme, space, ann)[1].id)
        finish(jobs, jobs.claim(), Status.SUCCEEDED, {"quality": 1})

    replace(house.identities, store=Meanwhile(acme.spaces, happens)).delete_space(acme.by, space.id)
    assert house.identities.jobs.peek(acme.by.client_id, made[0]) is None


def test_a_client_goes_with_all_its_spaces_and_their_jobs(house, acme, space, ann, jobs):
    _, job = add_sample(house, acme, space, ann)
    add_sample(house, acme, acme.space("other"))
    removal = house.identities.delete_client(acme.by.client_id)
    assert removal.counts == {"space": 2, "identity": 1, "sample": 2, "enrolment": 0, "verification": 0}
    assert house.identities.jobs.peek(acme.by.client_id, job.id).status is Status.FAILED
    assert (acme.usage(), acme.audited(), acme.spaces.list_spaces(acme.by.client_id, ALL).total) == ([], [], 0)


# Housekeeping


@pytest.fixture
def waiting(house, acme, space, ann, jobs):
    """A sample, an enrolment and a verification, each with its job."""
    jobs._max_unfinished = 9
    done = acme.computed(ann, [acme.ready(space, ann)], handle="done")
    once = acme.open(ann, [acme.ready(space, ann)])
    return add_sample(house, acme, space, ann), compute(house, acme, once), verify(house, acme, space, done)


def states(acme, waiting):
    (sample, _), (enrolment, _), (trial, _) = waiting
    found = (
        acme.enrolments.sample(sample.id),
        acme.enrolments.enrolment(enrolment.id),
        acme.verifications.verification(trial.id),
    )
    return [(one.state.value, one.failure.code if one.failure else None) for one in found]


UNSETTLED = [("pending", None), ("computing", None), ("performing", None)]


def failed_as(code):
    return [("failed", code), ("open", code), ("failed", code)]


def test_records_of_canceled_jobs_are_settled_and_their_workers_lose(house, acme, waiting, engine):
    for _, job in waiting:
        house.identities.jobs.cancel(acme.by.client_id, job.id)
    house.retention.settle()
    assert states(acme, waiting) == UNSETTLED
    grow_old(engine, 10)
    house.retention.settle()
    assert states(acme, waiting) == failed_as("canceled")
    (sample, _), (enrolment, job), (trial, _) = waiting
    assert not acme.keep(sample)
    assert acme.enrolments.compute(enrolment.id, job.id, pooled, None) is None
    assert not acme.settle(trial)


def test_records_of_jobs_past_their_deadline_are_settled(house, acme, waiting, engine, clock):
    clock.pass_s(3601)
    house.identities.jobs.reap()
    grow_old(engine, 10)
    house.retention.settle()
    assert states(acme, waiting) == failed_as("deadline_exceeded")


def test_records_whose_job_never_came_are_settled_after_a_minute(house, acme, waiting, engine, redis):
    redis.flushall()
    grow_old(engine, 10)
    house.retention.settle()
    assert states(acme, waiting) == UNSETTLED
    grow_old(engine, 60)
    house.retention.settle()
    assert states(acme, waiting) == failed_as("worker_lost")


def test_records_whose_jobs_wait_run_or_are_a_newer_release_s_are_left(house, acme, waiting, engine, jobs, redis):
    jobs.claim()
    newer = waiting[2][1].id
    house.identities.jobs.cancel(acme.by.client_id, newer)
    redis.hset(f"timbre:job:{newer}", "dialect", "of tomorrow")
    grow_old(engine, 10_000)
    house.retention.settle()
    assert states(acme, waiting) == UNSETTLED


def test_what_is_past_its_time_is_swept(house, acme, space, ann):
    kept = acme.ready(space, ann, kept_until=now() - timedelta(seconds=1))
    house.identities.recordings.keep(acme.by.client_id, kept.id, b"sound")
    trial = acme.performing(space, acme.computed(ann, [kept]))
    house.retention.sweep()
    assert acme.enrolments.sample(kept.id).kept_until is None
    assert house.identities.recordings.load(acme.by.client_id, kept.id) is None
    assert acme.verifications.verification(trial.id).state is VerificationState.PERFORMING
    replace(house.retention, verification_ttl_s=0.0, audit_ttl_s=0.0, usage_ttl_s=0.0, job_ttl_s=0.0).sweep()
    assert acme.verifications.verification(trial.id) is None
    assert (acme.audited(), acme.usage()) == ([], [])


def test_all_identities_whose_time_is_over_are_removed_in_one_round(house, acme, space, monkeypatch):
    monkeypatch.setattr(identity_service, "_MOST_EXPIRED", 2)
    late = [acme.identity(space, f"late-{number}", expires_at=OVER) for number in range(5)]
    house.identities.expire()
    assert acme.spaces.expired(now(), 9) == []
    assert all(("expire", "identity", one.id) in acme.audited() for one in late)


def test_an_identity_whose_time_is_over_is_gone_before_housekeeping_comes(house, acme, space, ann):
    late = acme.identity(space, "late", expires_at=OVER)
    listed = house.identities.list_identities(space, RecordQuery(take=9))
    assert ([one.id for one in listed.items], listed.total) == ([ann.id], 1)
    for reference in ("late", late.id):
        with pytest.raises(NotFound):
            house.identities.identity(space, reference)
    assert ("expire", "identity", late.id) in acme.audited()


def test_the_handle_of_an_identity_whose_time_is_over_is_free(house, acme, space):
    for handle, again in (
        ("late", lambda: house.identities.add_identity(acme.by, space, NewIdentity(handle="late"))),
        ("later", lambda: house.identities.ensure_identity(acme.by, space, "later", NewIdentity())),
    ):
        before = acme.identity(space, handle, expires_at=OVER)
        made = again()
        assert made.id != before.id
        assert made.expires_at is None
