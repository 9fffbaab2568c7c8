"""Voices enrolled by one job, wholly or not at all, on SQLite and PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import pytest

from shared.adapters.sql.tables import Base
from shared.domain.errors import HandleTaken, InvalidVoiceprint, NotFound, SampleRefused
from shared.domain.identities import (
    EnrolmentKind,
    EnrolmentState,
    HeardSample,
    NewVoice,
    RecordKind,
    SampleState,
    new_id,
    now,
)
from tests.support.lasting import ALL, heard, pooled, trace

TABLES = ("identities", "samples", "enrolments", "enrolment_parts", "record_keys", "identity_jobs", "usage_records")


@pytest.fixture
def space(acme):
    return acme.space()


def count(engine, *names):
    with engine.connect() as connection:
        return {name: len(connection.execute(Base.metadata.tables[name].select()).all()) for name in names or TABLES}


def begun(acme, space):
    """Return the id of a job that may enrol a voice."""
    job_id = new_id()
    acme.enrolments.begin_voice(acme.by, space.id, job_id)
    return job_id


def voice_of(space, handle=None, identity_id=None, seeds=(1,), **changes):
    """Return a voice of recordings with those seeds."""
    samples = [HeardSample(id=new_id(), heard=heard(seed), trace=trace(seed)) for seed in seeds]
    usual = {"kept_until": None, "samples": samples}
    return NewVoice(space_id=space.id, identity_id=identity_id or new_id(), handle=handle, **usual | changes)


def enrol(acme, job_id, new, pool=pooled):
    """Enrol a voice, and count the use of each of its samples."""
    uses = [acme.use(RecordKind.SAMPLE, one.id, acme.space()) for one in new.samples]
    return acme.enrolments.enrol_voice(job_id, new, pool, uses)


def registered(acme, space, handle="ann", seeds=(1,)):
    """Return a new identity, whose voice is enrolled."""
    new = voice_of(space, handle, seeds=seeds)
    assert enrol(acme, begun(acme, space), new)
    return acme.spaces.find_identity(space.id, new.identity_id)


def at_once(*calls):
    """Make calls at the same time; returns what each returned, or HandleTaken where it raised that."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        try:
            return call()
        except HandleTaken:
            return HandleTaken

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_a_new_voice_is_an_identity_with_a_growing_enrolment_of_all_its_recordings(acme, space):
    job_id, kept_until = begun(acme, space), now() + timedelta(hours=1)
    new = voice_of(space, "Ann-1.x", seeds=(1, 2), kept_until=kept_until)
    enrolment = enrol(acme, job_id, new)
    assert (enrolment.handle, enrolment.kind, enrolment.state) == ("main", EnrolmentKind.GROWING, "computed")
    assert (enrolment.version, enrolment.num_samples, enrolment.speech_s) == (1, 2, 10.0)
    expected = pooled(acme.enrolments.parts(enrolment.id)).voiceprint.vector
    np.testing.assert_allclose(enrolment.voiceprint.vector, expected, atol=1e-6)
    ann = acme.spaces.find_identity(space.id, "Ann-1.x")
    assert (ann.id, ann.num_samples, ann.alias, ann.consent) == (new.identity_id, 2, None, None)
    for one in new.samples:
        sample = acme.enrolments.sample(one.id)
        assert (sample.state, sample.job_id, sample.kept_until) == (SampleState.READY, job_id, kept_until)
        assert sample.uploaded_at is not None
        assert sample.heard.voiceprint.encode() == one.heard.voiceprint.encode()
        assert acme.enrolments.trace(one.id).digest == one.trace.digest
    assert acme.usage() == sorted(("sample", one.id) for one in new.samples)
    assert acme.spaces.jobs_about(RecordKind.IDENTITY, ann.id) == [(acme.by.client_id, job_id)]
    assert acme.audited()[1:] == [
        ("create", "identity", ann.id),
        ("create", "enrolment", enrolment.id),
        *[("create", "sample", one.id) for one in new.samples],
    ]
    (entry, *_) = acme.spaces.list_audit(acme.by.client_id, ALL).items
    assert (entry.key_id, entry.request_id) == (acme.by.key_id, acme.by.request_id)


def test_a_voice_that_is_there_grows_and_searches_learn_it(acme, space):
    ann = registered(acme, space)
    before = acme.enrolments.gallery_version(space.id)
    grown = enrol(acme, begun(acme, space), voice_of(space, identity_id=ann.id, seeds=(2, 3)))
    assert (grown.version, grown.num_samples) == (2, 3)
    assert acme.enrolments.gallery_version(space.id) > before


def test_a_second_attempt_of_a_job_changes_nothing_and_gets_the_enrolment(acme, space, engine):
    job_id, new = begun(acme, space), voice_of(space, "ann", seeds=(1, 2))
    first = enrol(acme, job_id, new)
    before = count(engine)
    again = enrol(acme, job_id, NewVoice(**vars(new) | {"samples": new.samples[1:]}))
    assert (again.id, again.version, again.num_samples) == (first.id, 1, 2)
    assert count(engine) == before
    acme.spaces.remove(acme.by, RecordKind.IDENTITY, new.identity_id)
    assert enrol(acme, job_id, new) is None
    assert acme.spaces.find_identity(space.id, "ann") is None


def test_a_job_that_was_called_off_or_never_began_enrols_nobody(acme, space, engine):
    job_id, before = begun(acme, space), count(engine)
    assert acme.enrolments.call_off_voice(job_id)
    assert not acme.enrolments.call_off_voice(job_id)
    for one in (job_id, new_id()):
        assert enrol(acme, one, voice_of(space, "ann")) is None
    assert count(engine) == before
    done = begun(acme, space)
    assert enrol(acme, done, voice_of(space, "ann"))
    assert not acme.enrolments.call_off_voice(done)


def test_a_job_enrols_in_its_own_space_alone(acme, space):
    job_id, other = begun(acme, space), acme.space("other")
    assert enrol(acme, job_id, voice_of(other, "ann")) is None
    bob = registered(acme, other, "bob")
    assert enrol(acme, job_id, voice_of(space, identity_id=bob.id)) is None


def test_a_handle_that_is_taken_keeps_nothing_of_the_voice(acme, space, engine):
    acme.identity(space, "ann")
    job_id, before = begun(acme, space), count(engine)
    with pytest.raises(HandleTaken, match="'ann' is taken by another identity"):
        enrol(acme, job_id, voice_of(space, "ann"))
    assert count(engine) == before
    assert acme.enrolments.call_off_voice(job_id)


def test_what_pooling_raises_keeps_nothing_of_the_voice(acme, space, engine):
    def refuse(parts):
        raise InvalidVoiceprint("Not alike.")

    job_id, before = begun(acme, space), count(engine)
    with pytest.raises(InvalidVoiceprint):
        enrol(acme, job_id, voice_of(space, "ann"), refuse)
    assert count(engine) == before
    assert enrol(acme, job_id, voice_of(space, "ann"))


def test_nothing_is_enrolled_for_an_identity_that_is_gone_or_in_a_space_that_is(acme, space):
    ann, jobs = registered(acme, space), [begun(acme, space) for _ in range(2)]
    acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id)
    assert enrol(acme, jobs[0], voice_of(space, identity_id=ann.id)) is None
    assert acme.spaces.remove(acme.by, RecordKind.SPACE, space.id).jobs == [(acme.by.client_id, jobs[1])]
    assert acme.enrolments.enrol_voice(jobs[1], voice_of(space, "ann"), pooled, []) is None
    with pytest.raises(NotFound):
        begun(acme, space)


def test_an_enrolment_of_its_own_kind_does_not_grow_and_an_open_one_waits_for_enough(acme, space, engine):
    ann, bob = acme.identity(space, "ann"), acme.identity(space, "bob")
    acme.open(ann, handle="main")
    before = count(engine)
    with pytest.raises(SampleRefused, match="does not grow"):
        enrol(acme, begun(acme, space), voice_of(space, identity_id=ann.id))
    assert count(engine) == before
    acme.open(bob, handle="main", kind=EnrolmentKind.GROWING, min_samples=3)
    states = [enrol(acme, begun(acme, space), voice_of(space, identity_id=bob.id, seeds=seeds)).state
              for seeds in ((1, 2), (3,))]  # fmt: skip
    assert states == [EnrolmentState.OPEN, EnrolmentState.COMPUTED]


def test_only_the_newest_samples_count_and_older_ones_are_removed_with_their_keys(acme, space, engine):
    ann = registered(acme, space, seeds=(1, 2, 3))
    (main,) = acme.enrolments.list_enrolments(space.id, ALL).items
    first, second, third = (part.sample.id for part in acme.enrolments.parts(main.id))
    acme.open(ann, [acme.enrolments.sample(second)], handle="other")
    keys = count(engine)["record_keys"]
    new = voice_of(space, identity_id=ann.id, seeds=(4,), most_samples=2)
    grown = enrol(acme, begun(acme, space), new)
    parts = acme.enrolments.parts(main.id)
    assert [part.sample.id for part in parts] == [third, new.samples[0].id]
    np.testing.assert_allclose(grown.voiceprint.vector, pooled(parts).voiceprint.vector, atol=1e-6)
    assert acme.enrolments.sample(first) is None
    assert acme.enrolments.sample(second) is not None
    assert count(engine)["record_keys"] == keys
    assert ("delete", "sample", first) in acme.audited()


def test_a_kept_recording_of_a_sample_that_was_replaced_is_told_until_it_is_removed(acme, space):
    job_id, later = begun(acme, space), now() + timedelta(days=1)
    old = voice_of(space, "ann", kept_until=later)
    enrol(acme, job_id, old)
    newer = voice_of(space, identity_id=old.identity_id, seeds=(2,), most_samples=1)
    enrol(acme, begun(acme, space), newer)
    left = (acme.by.client_id, old.samples[0].id)
    assert acme.enrolments.kept_recordings(now(), 9) == [left]
    acme.enrolments.forget_recording(left[1])
    assert acme.enrolments.kept_recordings(now(), 9) == []


def test_jobs_that_never_enrolled_a_voice_are_forgotten_in_time(acme, space):
    job_id, long_ago, later = begun(acme, space), now() - timedelta(days=1), now() + timedelta(days=1)
    times = {"verifications": long_ago, "usage": long_ago, "audit": long_ago}
    assert acme.verifications.forget(**times, jobs=long_ago) == 0
    assert acme.verifications.forget(**times, jobs=later) == 1
    assert not acme.enrolments.call_off_voice(job_id)


ROUNDS = range(6)


def register_at_once(acme, space, handle):
    """Return what four registers and the making of an identity of one handle came to."""
    jobs = [begun(acme, space) for _ in range(4)]
    registers = [lambda job=job: enrol(acme, job, voice_of(space, handle, seeds=(1, 2))) for job in jobs]
    return at_once(*registers, lambda: acme.identity(space, handle))


def test_of_registers_of_one_handle_at_once_one_wins(acme, space, engine):
    for number in ROUNDS:
        assert register_at_once(acme, space, f"p{number}").count(HandleTaken) == 4
        assert acme.spaces.list_identities(space.id, ALL).total == number + 1
    found = count(engine)
    assert (found["samples"], found["usage_records"]) == (2 * found["enrolments"],) * 2


def test_updates_at_once_all_count(acme, space):
    ann = registered(acme, space)
    jobs = [begun(acme, space) for _ in range(6)]
    grown = at_once(*[lambda job=job: enrol(acme, job, voice_of(space, identity_id=ann.id, seeds=(2, 3)))
                      for job in jobs])  # fmt: skip
    assert sorted(one.version for one in grown) == [2, 3, 4, 5, 6, 7]
    assert max(one.num_samples for one in grown) == 13
    parts = acme.enrolments.parts(grown[0].id)
    now_there = acme.enrolments.enrolment(grown[0].id)
    np.testing.assert_allclose(now_there.voiceprint.vector, pooled(parts).voiceprint.vector, atol=1e-6)


def test_attempts_of_one_job_at_once_enrol_once_or_are_called_off(acme, space):
    for number in ROUNDS:
        job_id, new = begun(acme, space), voice_of(space, f"p{number}")
        *made, called_off = at_once(
            *[lambda job_id=job_id, new=new: enrol(acme, job_id, new)] * 3,
            lambda job_id=job_id: acme.enrolments.call_off_voice(job_id),
        )
        found = acme.spaces.find_identity(space.id, f"p{number}")
        assert called_off == (found is None)
        assert [one and one.version for one in made] == [None if called_off else 1] * 3


def remove_at_once(acme, space):
    """Remove a space while two jobs enrol voices in it, one of which is called off."""
    jobs = [begun(acme, space) for _ in range(2)]
    at_once(
        *[lambda job=job: acme.enrolments.enrol_voice(job, voice_of(space, job), pooled, []) for job in jobs],
        lambda: acme.spaces.remove(acme.by, RecordKind.SPACE, space.id),
        lambda: acme.enrolments.call_off_voice(jobs[0]),
    )


def test_a_voice_is_enrolled_or_gone_when_its_space_is_removed_at_once(acme, engine):
    for number in ROUNDS:
        remove_at_once(acme, acme.space(f"s{number}"))
    tables = (*TABLES[:-1], "pending_voices")
    assert count(engine, *tables) == dict.fromkeys(tables, 0)
