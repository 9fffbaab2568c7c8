"""Lasting identities in SQL, one store method after the other, on SQLite and PostgreSQL."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from shared.adapters.sql import spaces, verifications
from shared.adapters.sql.tables import Base
from shared.domain.errors import HandleTaken, InvalidVoiceprint, NotEnrolled, NotFound, SampleRefused, WrongState
from shared.domain.identities import (
    Action,
    Consent,
    EnrolmentKind,
    EnrolmentState,
    Failure,
    NewEnrolment,
    NewIdentity,
    NewSample,
    Order,
    RecordKind,
    RecordQuery,
    Replay,
    ReplayKind,
    SampleState,
    VerificationState,
    new_id,
    now,
)
from shared.domain.verification import Comparison, OperatingPoint
from tests.support.lasting import ALL, MODEL, heard, lasting, pooled, trace, verified, voice

FAILURE = Failure(code="no_speech", message="Nobody speaks.")
SOON = timedelta(seconds=1)
OTHER_MODEL = "wespeaker@1"


@pytest.fixture
def space(acme):
    return acme.space()


@pytest.fixture
def ann(acme, space):
    return acme.identity(space, "ann", alias="Ann Müller")


def handles(page):
    return [one.handle for one in page.items]


def rows(engine, *tables):
    """Count the rows of tables, by default of all that hold identities, and what they left."""
    tables = tables or ("identities", "samples", "enrolments", "enrolment_parts", "verifications", "record_keys",
                        "identity_jobs")  # fmt: skip
    with engine.connect() as connection:
        counts = {name: connection.scalar(select(func.count()).select_from(Base.metadata.tables[name]))
                  for name in tables}  # fmt: skip
    return {name: count for name, count in counts.items() if count}


# Spaces


def test_a_space_is_made_once_and_found_again(acme):
    made = acme.space("team")
    assert acme.space("team") == made == acme.spaces.find_space(acme.by.client_id, "team")
    assert made.client_id == acme.by.client_id
    assert acme.spaces.find_space(acme.by.client_id, "other") is None


def test_a_handle_of_a_space_is_taken_for_its_client_alone(acme, engine):
    acme.spaces.add_space(acme.by, "team", "The team")
    with pytest.raises(HandleTaken, match="'team' is taken by another space"):
        acme.spaces.add_space(acme.by, "team")
    other = lasting(engine, "other")
    assert other.spaces.find_space(other.by.client_id, "team") is None
    assert other.space("team").id != acme.space("team").id


def test_a_space_is_changed_unless_its_new_handle_is_taken_or_it_is_gone(acme, space):
    acme.space("taken")
    changed = replace(space, handle="h", alias="a", keep_recordings_s=3600, consent_basis="contract")
    assert acme.spaces.change_space(acme.by, changed)
    assert acme.spaces.find_space(acme.by.client_id, "h") == changed
    with pytest.raises(HandleTaken):
        acme.spaces.change_space(acme.by, replace(changed, handle="taken"))
    acme.spaces.remove(acme.by, RecordKind.SPACE, space.id)
    assert not acme.spaces.change_space(acme.by, changed)


def test_spaces_are_listed_with_the_number_of_their_identities(acme, space, ann, engine):
    acme.space("b")
    lasting(engine, "other").space("c")
    page = acme.spaces.list_spaces(acme.by.client_id, ALL)
    assert [(one.handle, one.num_identities) for one in page.items] == [("b", 0), ("default", 1)]
    assert page.total == 2


def test_whoever_has_no_client_any_more_gets_no_space(acme):
    with pytest.raises(NotFound):
        acme.spaces.ensure_space(replace(acme.by, client_id="gone"), "default")


# Identities


def test_an_identity_is_found_by_its_id_and_by_its_handle_in_its_space_alone(acme, space, ann):
    assert acme.spaces.find_identity(space.id, "ann") == ann == acme.spaces.find_identity(space.id, ann.id)
    assert (ann.alias, ann.space, ann.num_samples, ann.model_ids) == ("Ann Müller", "default", 0, ())
    other = acme.space("other")
    assert acme.spaces.find_identity(other.id, "ann") is acme.spaces.find_identity(other.id, ann.id) is None


def test_an_identity_without_a_handle_is_called_by_its_id(acme, space):
    one = acme.identity(space)
    assert one.handle == one.id


def test_a_handle_of_an_identity_is_taken_in_its_space_alone(acme, space, ann):
    with pytest.raises(HandleTaken, match="'ann' is taken by another identity"):
        acme.identity(space, "ann")
    acme.identity(acme.space("other"), "ann")


def test_there_is_no_identity_without_its_space(acme, space):
    acme.spaces.remove(acme.by, RecordKind.SPACE, space.id)
    with pytest.raises(NotFound, match="no such space"):
        acme.identity(space, "ann")


def test_consent_and_expiry_are_kept_and_changed(acme, space):
    consent = Consent(given_at=now(), reference="paper 12", text="I agree — ja.")
    ends = now() + timedelta(days=1)
    ann = acme.identity(space, "ann", consent=consent, expires_at=ends)
    assert acme.spaces.find_identity(space.id, "ann") == ann
    assert (ann.consent, ann.expires_at) == (consent, ends)
    changed = replace(ann, handle="anna", alias=None, consent=None, expires_at=None)
    assert acme.spaces.change_identity(acme.by, changed)
    assert acme.spaces.find_identity(space.id, ann.id) == changed
    acme.identity(space, "bob")
    with pytest.raises(HandleTaken):
        acme.spaces.change_identity(acme.by, replace(changed, handle="bob"))
    acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id)
    assert not acme.spaces.change_identity(acme.by, changed)


def test_an_identity_tells_what_is_below_it(acme, space, ann):
    enrolment = acme.computed(ann, [acme.ready(space, ann)])
    acme.performing(space, enrolment)
    found = acme.spaces.find_identity(space.id, "ann")
    assert (found.num_samples, found.num_enrolments, found.num_verifications) == (1, 1, 1)
    assert found.model_ids == (MODEL,)


def test_identities_that_must_be_enrolled_again_are_listed_by_model(acme, space, ann):
    acme.computed(ann, [acme.ready(space, ann)])
    bob = acme.identity(space, "bob")
    acme.open(bob, [acme.ready(space, bob)])
    again = RecordQuery(take=10, without_model=OTHER_MODEL)
    assert handles(acme.spaces.list_identities(space.id, again)) == ["ann"]
    assert handles(acme.spaces.list_identities(space.id, replace(again, without_model=MODEL))) == []


# Lists


@pytest.fixture
def people(acme, space):
    return [acme.identity(space, f"p{number}", alias=f"Person {number:02}") for number in (3, 1, 2, 0, 4)]


def test_a_list_goes_on_behind_its_cursor_the_newest_first(acme, space, people):
    found, cursor = [], None
    for size in (2, 2, 1):
        page = acme.spaces.list_identities(space.id, RecordQuery(take=2, cursor=cursor))
        assert (len(page.items), page.total) == (size, 5)
        found += handles(page)
        cursor = page.cursor and type(page.cursor).parse(str(page.cursor))
    assert cursor is None
    assert found == ["p4", "p0", "p2", "p1", "p3"]


def test_a_list_goes_on_behind_one_that_was_deleted_and_shows_nothing_twice(acme, space, people):
    page = acme.spaces.list_identities(space.id, RecordQuery(take=2))
    acme.spaces.remove(acme.by, RecordKind.IDENTITY, page.items[-1].id)
    acme.identity(space, "new")
    assert handles(acme.spaces.list_identities(space.id, RecordQuery(take=9, cursor=page.cursor))) == ["p2", "p1", "p3"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.NEWEST, ["p4", "p0", "p2", "p1", "p3"]),
        (Order.OLDEST, ["p3", "p1", "p2", "p0", "p4"]),
        (Order.HANDLE, ["p0", "p1", "p2", "p3", "p4"]),
    ],
)
def test_a_list_has_an_order_in_which_some_are_skipped(order, expected, acme, space, people):
    assert handles(acme.spaces.list_identities(space.id, RecordQuery(take=5, order=order))) == expected
    page = acme.spaces.list_identities(space.id, RecordQuery(take=2, skip=1, order=order))
    assert handles(page) == expected[1:3]
    assert page.total == 5
    assert (page.cursor is not None) == (order is Order.NEWEST)


@pytest.mark.parametrize(
    ("word", "expected"), [("P1", ["p1"]), ("son 0", ["p4", "p0", "p2", "p1", "p3"]), ("ERSON 03", ["p3"]), ("x", [])]
)
def test_a_word_is_found_in_handles_and_in_sealed_names_of_any_case(word, expected, acme, space, people):
    page = acme.spaces.list_identities(space.id, RecordQuery(take=5, search=word))
    assert (handles(page), page.total, page.cursor) == (expected, len(expected), None)
    page = acme.spaces.list_identities(space.id, RecordQuery(take=1, skip=1, search=word))
    assert (handles(page), page.total) == (expected[1:2], len(expected))


def test_a_list_is_cut_by_times_both_of_which_are_in_it(acme, space, people):
    between = RecordQuery(take=9, after=people[1].created_at, before=people[3].created_at)
    page = acme.spaces.list_identities(space.id, between)
    assert (handles(page), page.total) == (["p0", "p2", "p1"], 3)


def test_every_kind_of_record_has_a_list_that_is_searched_and_cut_to_an_identity(acme, space, ann):
    bob = acme.identity(space, "bob")
    for person in (ann, bob):
        sample = acme.pending(space, person, handle=f"sample-{person.handle}", alias="Said TWICE")
        acme.keep(sample)
        enrolment = acme.computed(person, [sample], handle=f"enrolment-{person.handle}", alias="Twice")
        acme.performing(space, enrolment, handle=f"verification-{person.handle}", alias="not twice")
    lists = {
        "sample": acme.enrolments.list_samples,
        "enrolment": acme.enrolments.list_enrolments,
        "verification": acme.verifications.list_verifications,
    }
    for kind, listed in lists.items():
        everybody = [f"{kind}-bob", f"{kind}-ann"]
        assert handles(listed(space.id, ALL)) == everybody
        assert handles(listed(space.id, RecordQuery(take=5, search="twice"))) == everybody
        assert handles(listed(space.id, RecordQuery(take=5, search="-ANN"))) == everybody[1:]
        assert handles(listed(space.id, RecordQuery(take=5, identity_id=ann.id))) == everybody[1:]
        assert handles(listed(acme.space("other").id, ALL)) == []
    only = RecordQuery(take=5, enrolment_id=enrolment.id)
    assert handles(acme.enrolments.list_samples(space.id, only)) == ["sample-bob"]
    assert handles(acme.verifications.list_verifications(space.id, only)) == ["verification-bob"]


def test_enrolments_are_listed_by_the_time_of_their_computation(acme, space, ann):
    first, second = (acme.open(ann, [acme.ready(space, ann)], handle=name) for name in ("first", "second"))
    acme.open(ann, handle="third")
    for one in (second, first):
        acme.enrolments.begin_computing(acme.by, one.id, one.id)
        acme.enrolments.compute(one.id, one.id, pooled, None)
    query = RecordQuery(take=9, order=Order.COMPUTED)
    assert handles(acme.enrolments.list_enrolments(space.id, query)) == ["first", "second", "third"]


# Samples


def test_a_sample_awaits_its_file_and_then_its_job_once(acme, space, ann):
    made = acme.enrolments.add_sample(acme.by, space.id, NewSample(id=new_id(), alias="a"))
    assert (made.state, made.handle, made.identity, made.uploaded_at) == ("awaitingFile", made.id, None, None)
    assert acme.enrolments.await_hearing(made.id, "job")
    assert not acme.enrolments.await_hearing(made.id, "job 2")
    found = acme.enrolments.sample(made.id)
    assert (found.state, found.job_id, found.uploaded_at is None) == (SampleState.PENDING, "job", False)
    acme.enrolments.await_file_again(made.id, "job 2")
    assert acme.enrolments.sample(made.id).state is SampleState.PENDING
    acme.enrolments.await_file_again(made.id, "job")
    found = acme.enrolments.sample(made.id)
    assert (found.state, found.job_id, found.uploaded_at) == ("awaitingFile", None, None)


def test_a_sample_with_a_job_is_pending_until_it_is_heard_once(acme, space, ann):
    sample = acme.pending(space, ann)
    assert (sample.state, sample.identity.alias, sample.heard) == (SampleState.PENDING, "Ann Müller", None)
    ends = now() + timedelta(days=1)
    assert acme.keep(sample, 1, ends)
    assert acme.keep(sample, 2, None)
    found = acme.enrolments.find_sample(space.id, sample.handle)
    assert found.state is SampleState.READY
    assert (found.kept_until, found.heard.quality) == (ends, heard(1).quality)
    np.testing.assert_array_equal(found.heard.voiceprint.vector, voice(1).vector)
    assert acme.usage() == [("sample", sample.id)]
    acme.enrolments.forget_recording(sample.id)
    assert acme.enrolments.sample(sample.id).kept_until is None


def test_a_sample_that_is_refused_after_its_hearing_is_forgotten(acme, space, ann):
    sample = acme.pending(space, ann)
    assert acme.keep(sample, 1, now() + timedelta(days=1))
    acme.enrolments.fail_sample(sample.id, FAILURE)
    found = acme.enrolments.sample(sample.id)
    assert (found.state, found.failure, found.heard) == (SampleState.FAILED, FAILURE, None)
    assert acme.enrolments.trace(sample.id) is None
    assert [one for _, one in acme.enrolments.kept_recordings(now(), 10)] == [sample.id]


def test_a_sample_of_an_enrolment_does_not_fail(acme, space, ann):
    sample = acme.ready(space, ann)
    acme.enrolments.add_enrolment(acme.by, space.id, NewEnrolment(identity_id=ann.id), [sample.id])
    acme.enrolments.fail_sample(sample.id, FAILURE)
    assert acme.enrolments.sample(sample.id).state is SampleState.READY


def test_a_sample_that_failed_stays_so_and_is_not_counted(acme, space, ann):
    sample = acme.pending(space, ann)
    acme.enrolments.fail_sample(sample.id, FAILURE)
    assert not acme.keep(sample)
    found = acme.enrolments.sample(sample.id)
    assert (found.state, found.failure) == (SampleState.FAILED, FAILURE)
    assert acme.usage() == []


def test_a_handle_of_a_sample_is_taken_in_its_space_alone(acme, space):
    first, second = acme.pending(space, handle="a"), acme.pending(space, handle="b", alias="B")
    with pytest.raises(HandleTaken, match="another sample"):
        acme.pending(space, handle="a")
    with pytest.raises(HandleTaken):
        acme.enrolments.rename_sample(acme.by, replace(second, handle="a"))
    assert acme.enrolments.rename_sample(acme.by, replace(first, handle="c", alias="C"))
    found = acme.enrolments.sample(first.id)
    assert (found.handle, found.alias) == ("c", "C")
    acme.spaces.remove(acme.by, RecordKind.SAMPLE, first.id)
    assert not acme.enrolments.rename_sample(acme.by, first)
    acme.pending(acme.space("other"), handle="b")


def test_it_is_said_once_whose_sample_it_is_and_its_job_goes_with_that_identity(acme, space, ann):
    bob, sample = acme.identity(space, "bob"), acme.pending(space)
    stranger = acme.identity(acme.space("other"), "ann")
    assert not acme.enrolments.assign(acme.by, sample.id, stranger.id)
    assert acme.enrolments.assign(acme.by, sample.id, ann.id)
    assert not acme.enrolments.assign(acme.by, sample.id, bob.id)
    assert acme.enrolments.sample(sample.id).identity.handle == "ann"
    assert acme.spaces.jobs_about(RecordKind.IDENTITY, ann.id) == [(acme.by.client_id, sample.job_id)]
    assert not acme.enrolments.assign(acme.by, new_id(), ann.id)


def test_a_sample_is_not_made_for_an_identity_of_another_space(acme, space):
    stranger = acme.identity(acme.space("other"), "ann")
    with pytest.raises(NotFound, match="no such identity"):
        acme.pending(space, stranger)


def test_recordings_are_told_that_are_kept_too_long(acme, space):
    at = now()
    late = acme.ready(space, kept_until=at)
    acme.ready(space, kept_until=at + SOON)
    acme.ready(space)
    assert acme.enrolments.kept_recordings(at, 9) == [(acme.by.client_id, late.id)]
    assert len(acme.enrolments.kept_recordings(at + SOON, 9)) == 2
    assert len(acme.enrolments.kept_recordings(at + SOON, 1)) == 1


def test_a_sample_has_a_key_for_its_recording_until_it_is_gone(acme, space):
    sample = acme.ready(space)
    assert len(acme.enrolments.recording_key(sample.id)) == 32
    acme.spaces.remove(acme.by, RecordKind.SAMPLE, sample.id)
    assert acme.enrolments.recording_key(sample.id) is None


def test_a_voiceprint_that_was_brought_makes_a_ready_sample(acme, space, ann):
    sample = acme.enrolments.import_sample(acme.by, space.id, ann.id, heard(7, quality=None))
    found = acme.enrolments.sample(sample.id)
    assert (found.state, found.job_id, found.heard.quality) == (SampleState.READY, None, None)
    assert found.heard.voiceprint.encode() == voice(7).encode()


# Enrolments


def test_an_enrolment_is_computed_once_of_samples_enough(acme, space, ann):
    samples = [acme.ready(space, ann, seed) for seed in range(3)]
    once = acme.open(ann, samples[:1], min_samples=2, model="m")
    assert (once.computable, once.num_samples, once.audio_s, once.speech_s) == (False, 1, 6.0, 5.0)
    assert not acme.enrolments.begin_computing(acme.by, once.id, "job")
    for _ in range(2):
        assert acme.enrolments.add_part(acme.by, once.id, samples[1].id)
    once = acme.enrolments.enrolment(once.id)
    assert (once.computable, once.num_samples, once.audio_s) == (True, 2, 12.0)
    assert acme.enrolments.begin_computing(acme.by, once.id, "job")
    assert not acme.enrolments.begin_computing(acme.by, once.id, "job 2")
    assert not acme.enrolments.add_part(acme.by, once.id, samples[2].id)
    assert not acme.enrolments.remove_part(acme.by, once.id, samples[0].id)
    use = acme.use(RecordKind.ENROLMENT, once.id, space)
    assert acme.enrolments.compute(once.id, "job 2", pooled, use) is None
    for _ in range(2):
        done = acme.enrolments.compute(once.id, "job", pooled, use)
        assert (done.state, done.version, done.model_id) == (EnrolmentState.COMPUTED, 1, MODEL)
    np.testing.assert_array_equal(done.voiceprint.vector, pooled(acme.enrolments.parts(once.id)).voiceprint.vector)
    assert acme.usage().count(("enrolment", once.id)) == 1
    assert not acme.enrolments.add_part(acme.by, once.id, samples[2].id)
    assert acme.enrolments.grow(once.id, samples[2].id, pooled, None) is None


def test_a_part_can_be_taken_out_of_an_open_enrolment(acme, space, ann):
    sample = acme.ready(space, ann)
    once = acme.open(ann, [sample, sample])
    assert acme.enrolments.remove_part(acme.by, once.id, sample.id)
    assert acme.enrolments.parts(once.id) == []
    assert not acme.enrolments.begin_computing(acme.by, once.id, "job")
    assert not acme.enrolments.remove_part(acme.by, new_id(), sample.id)


def test_parts_are_told_in_the_order_in_which_they_were_added(acme, space, ann):
    samples = [acme.ready(space, ann) for _ in range(4)][::-1]
    once = acme.open(ann)
    for sample in samples:
        acme.enrolments.add_part(acme.by, once.id, sample.id)
    assert [part.sample.id for part in acme.enrolments.parts(once.id)] == [sample.id for sample in samples]


def test_only_a_ready_sample_of_the_identity_is_a_part(acme, space, ann):
    bob, other = acme.identity(space, "bob"), acme.space("other")
    wrong = [acme.pending(space, ann), acme.ready(space, bob), acme.ready(other)]
    once = acme.open(ann)
    for sample in wrong:
        assert not acme.enrolments.add_part(acme.by, once.id, sample.id)
        with pytest.raises(WrongState):
            acme.open(ann, [sample], handle="new")
    assert acme.enrolments.find_enrolment(ann.id, "new") is None


def test_a_sample_of_nobody_becomes_the_identity_s_with_its_job(acme, space, ann):
    sample = acme.ready(space)
    acme.open(ann, [sample])
    assert acme.enrolments.sample(sample.id).identity.id == ann.id
    assert acme.spaces.jobs_about(RecordKind.IDENTITY, ann.id) == [(acme.by.client_id, sample.job_id)]


def test_an_enrolment_is_made_of_an_identity_in_its_space(acme, space, ann):
    with pytest.raises(NotFound):
        acme.enrolments.add_enrolment(acme.by, acme.space("other").id, NewEnrolment(identity_id=ann.id))
    with pytest.raises(NotFound):
        acme.enrolments.add_enrolment(acme.by, space.id, NewEnrolment(identity_id=new_id()))


def test_a_handle_of_an_enrolment_is_taken_for_its_identity_alone(acme, space, ann):
    first, second = acme.open(ann, handle="a", alias="A"), acme.open(ann, handle="b")
    for attempt in (lambda: acme.open(ann, handle="a"),
                    lambda: acme.enrolments.rename_enrolment(acme.by, replace(second, handle="a"))):  # fmt: skip
        with pytest.raises(HandleTaken, match="another enrolment"):
            attempt()
    assert acme.enrolments.rename_enrolment(acme.by, replace(first, handle="c", alias=None))
    assert acme.enrolments.find_enrolment(ann.id, "c").alias is None
    bob = acme.identity(space, "bob")
    acme.open(bob, handle="b")
    assert acme.enrolments.find_enrolment(bob.id, second.id) is None
    acme.spaces.remove(acme.by, RecordKind.ENROLMENT, first.id)
    assert not acme.enrolments.rename_enrolment(acme.by, first)


def test_a_computation_that_failed_leaves_an_open_enrolment_with_its_reason(acme, space, ann):
    once = acme.open(ann, [acme.ready(space, ann)])
    acme.enrolments.begin_computing(acme.by, once.id, "job")
    acme.enrolments.fail_enrolment(once.id, "another", FAILURE)
    assert acme.enrolments.enrolment(once.id).state is EnrolmentState.COMPUTING
    acme.enrolments.fail_enrolment(once.id, "job", FAILURE)
    found = acme.enrolments.enrolment(once.id)
    assert (found.state, found.failure, found.num_samples) == (EnrolmentState.OPEN, FAILURE, 1)
    assert acme.enrolments.compute(once.id, "job", pooled, None) is None
    assert acme.enrolments.begin_computing(acme.by, once.id, "job 2")
    acme.enrolments.fail_enrolment(once.id, "job 2", None)
    assert acme.enrolments.enrolment(once.id).failure is None


def test_what_pooling_raises_leaves_the_enrolment_computing(acme, space, ann):
    once = acme.open(ann, [acme.ready(space, ann)])
    acme.enrolments.begin_computing(acme.by, once.id, "job")

    def fail(_parts):
        raise SampleRefused("unlike")

    with pytest.raises(SampleRefused):
        acme.enrolments.compute(once.id, "job", fail, acme.use(RecordKind.ENROLMENT, once.id, space))
    assert acme.enrolments.enrolment(once.id).state is EnrolmentState.COMPUTING
    assert ("enrolment", once.id) not in acme.usage()


def test_an_enrolment_is_computed_anew_of_what_was_heard_anew(acme, space, ann):
    sample = acme.ready(space, ann, 1)
    once = acme.computed(ann, [sample])
    assert not acme.enrolments.begin_computing(acme.by, once.id, "job")
    assert acme.enrolments.begin_computing(acme.by, once.id, "job", anew=True)
    assert acme.enrolments.gallery_index(space.id, MODEL) == {once.id: 1}
    again = acme.enrolments.compute(once.id, "job", pooled, None, anew={sample.id: heard(2, OTHER_MODEL)})
    assert (again.version, again.model_id) == (2, OTHER_MODEL)
    assert acme.enrolments.sample(sample.id).heard.voiceprint.model_id == OTHER_MODEL
    assert acme.enrolments.gallery_index(space.id, MODEL) == {}
    acme.enrolments.begin_computing(acme.by, once.id, "job 3", anew=True)
    acme.enrolments.fail_enrolment(once.id, "job 3", FAILURE)
    found = acme.enrolments.enrolment(once.id)
    assert (found.state, found.version, found.failure) == (EnrolmentState.COMPUTED, 2, FAILURE)


def test_a_computation_whose_samples_are_deleted_is_refused_and_its_enrolment_is_open_again(acme, space, ann):
    sample = acme.ready(space, ann)
    once = acme.open(ann, [sample])
    acme.enrolments.begin_computing(acme.by, once.id, "job")
    acme.spaces.remove(acme.by, RecordKind.SAMPLE, sample.id)
    with pytest.raises(SampleRefused, match="deleted while it was computed"):
        acme.enrolments.compute(once.id, "job", pooled, None)
    acme.enrolments.fail_enrolment(once.id, "job", FAILURE)
    assert acme.enrolments.enrolment(once.id).state is EnrolmentState.OPEN


def test_a_growing_enrolment_is_made_once_and_grows_by_each_sample_once(acme, space, ann):
    samples = [acme.ready(space, ann, seed) for seed in range(2)]
    main = acme.growing(space, ann)
    assert acme.growing(space, ann).id == main.id
    use = acme.use(RecordKind.ENROLMENT, main.id, space)
    for number, sample in enumerate(samples, start=1):
        for _ in range(2):
            grown = acme.enrolments.grow(main.id, sample.id, pooled, use)
            assert (grown.version, grown.num_samples, grown.speech_s) == (number, number, 5.0 * number)
    assert acme.usage().count(("enrolment", main.id)) == 2
    assert acme.enrolments.grow(main.id, new_id(), pooled, use) is None
    assert acme.enrolments.grow(new_id(), samples[0].id, pooled, use) is None


def test_a_growing_enrolment_grows_by_a_sample_that_was_its_part_before(acme, space, ann):
    sample = acme.ready(space, ann)
    main = acme.open(ann, [sample], kind=EnrolmentKind.GROWING)
    grown = acme.enrolments.grow(main.id, sample.id, pooled, None)
    assert (grown.state, grown.version) == (EnrolmentState.COMPUTED, 1)
    assert acme.enrolments.grow(main.id, sample.id, pooled, None).version == 1


def test_a_growing_enrolment_stays_open_until_it_has_samples_enough(acme, space, ann):
    main = acme.open(ann, kind=EnrolmentKind.GROWING, min_samples=2)
    grown = acme.enrolments.grow(main.id, acme.ready(space, ann).id, pooled, None)
    assert (grown.state, grown.voiceprint, grown.num_samples) == (EnrolmentState.OPEN, None, 1)
    grown = acme.enrolments.grow(main.id, acme.ready(space, ann).id, pooled, None)
    assert (grown.state, grown.version) == (EnrolmentState.COMPUTED, 1)


def test_an_enrolment_that_is_computed_once_does_not_grow(acme, space, ann):
    acme.open(ann, handle="main")
    with pytest.raises(WrongState, match="does not grow"):
        acme.growing(space, ann)


def test_without_a_deleted_sample_a_growing_enrolment_is_pooled_again(acme, space, ann):
    samples = [acme.ready(space, ann, seed) for seed in range(2)]
    main = acme.growing(space, ann, samples)
    acme.spaces.remove(acme.by, RecordKind.SAMPLE, samples[0].id)
    found = acme.enrolments.enrolment(main.id)
    assert (found.version, found.num_samples, found.speech_s) == (3, 1, 5.0)
    np.testing.assert_allclose(found.voiceprint.vector, voice(1).vector, atol=1e-6)
    acme.spaces.remove(acme.by, RecordKind.SAMPLE, samples[1].id)
    found = acme.enrolments.enrolment(main.id)
    assert (found.state, found.voiceprint, found.model_id) == (EnrolmentState.OPEN, None, None)
    assert acme.enrolments.gallery_index(space.id, MODEL) == {}


def test_a_sample_is_deleted_even_if_the_others_cannot_be_pooled_any_more(acme, space, ann):
    samples = [acme.ready(space, ann, seed) for seed in range(3)]
    main = acme.growing(space, ann, samples)
    other = acme.computed(ann, samples[:1], handle="other")
    acme.enrolments.begin_computing(acme.by, other.id, "job", anew=True)
    acme.enrolments.compute(other.id, "job", pooled, None, anew={samples[0].id: heard(0, OTHER_MODEL)})
    assert acme.spaces.remove(acme.by, RecordKind.SAMPLE, samples[2].id)
    found = acme.enrolments.enrolment(main.id)
    assert (found.state, found.voiceprint) == (EnrolmentState.OPEN, None)
    assert found.failure.code == InvalidVoiceprint.code


def test_a_gallery_tells_each_change_and_whom_it_passes_over(acme, space, ann):
    versions = [acme.enrolments.gallery_version(space.id)]
    once = acme.computed(ann, [acme.ready(space, ann, 1)])
    versions.append(acme.enrolments.gallery_version(space.id))
    bob = acme.identity(space, "bob")
    foreign = acme.computed(bob, [acme.ready(space, bob, model_id=OTHER_MODEL)])
    versions.append(acme.enrolments.gallery_version(space.id))
    assert acme.enrolments.gallery_index(space.id, MODEL) == {once.id: 1}
    assert acme.enrolments.gallery_index(space.id, OTHER_MODEL) == {foreign.id: 1}
    assert acme.enrolments.gallery_skipped(space.id, MODEL) == 1
    (row,) = acme.enrolments.gallery_rows([once.id, new_id()])
    assert (row.enrolment_id, row.version, row.identity.handle) == (once.id, 1, "ann")
    np.testing.assert_allclose(row.voiceprint.vector, voice(1).vector, atol=1e-6)
    acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id)
    versions.append(acme.enrolments.gallery_version(space.id))
    assert versions == sorted(set(versions))
    assert acme.enrolments.gallery_rows([once.id]) == []
    assert acme.enrolments.gallery_version(new_id()) == 0


# Verifications


def test_a_verification_is_performed_once(acme, space, ann):
    enrolment, sample = acme.computed(ann, [acme.ready(space, ann)]), acme.ready(space)
    made = acme.performing(space, enrolment, handle="v", alias="V", sample_id=sample.id)
    assert (made.state, made.identity.handle, made.sample.id) == (VerificationState.PERFORMING, "ann", sample.id)
    replay = Replay(kind=ReplayKind.COPY, of=RecordKind.SAMPLE, id=sample.id, heard_at=now())
    result = verified(3, replay=replay, operating_point=OperatingPoint.STRICT, added_sample=sample.id)
    assert acme.settle(made, 3, result=result)
    assert acme.settle(made, 4)
    found = acme.verifications.find_verification(space.id, "v")
    assert (found.state, found.result.comparison, found.result.replay) == ("performed", result.comparison, replay)
    assert found.result.heard.voiceprint.encode() == result.heard.voiceprint.encode()
    assert (found.result.added_sample, found.performed_at is None) == (sample.id, False)
    assert acme.usage().count(("verification", made.id)) == 1
    acme.verifications.fail_verification(made.id, FAILURE)
    assert acme.verifications.verification(made.id).failure is None


def test_a_verification_that_failed_stays_so(acme, space, ann):
    made = acme.performing(space, acme.computed(ann, [acme.ready(space, ann)]))
    acme.verifications.fail_verification(made.id, FAILURE)
    assert not acme.settle(made)
    found = acme.verifications.verification(made.id)
    assert (found.state, found.failure, found.result) == (VerificationState.FAILED, FAILURE, None)


def test_a_verification_is_called_off_unless_it_has_a_result(acme, space, ann):
    enrolment = acme.computed(ann, [acme.ready(space, ann)])
    waiting, done = (acme.performing(space, enrolment) for _ in range(2))
    assert acme.settle(done)
    assert [acme.verifications.call_off_verification(one.id, FAILURE) for one in (waiting, done)] == [True, False]
    assert not acme.verifications.call_off_verification(waiting.id, Failure(code="canceled", message="Too late."))
    assert not acme.verifications.call_off_verification(new_id(), FAILURE)
    assert not acme.settle(waiting)
    found = acme.verifications.verification(waiting.id)
    assert (found.state, found.failure, found.performed_at is None) == (VerificationState.FAILED, FAILURE, False)
    assert acme.verifications.verification(done.id).state == "performed"


def test_decisions_are_counted_once_with_the_identity_and_errors_are_none(acme, space, ann):
    enrolment = acme.computed(ann, [acme.ready(space, ann)])
    assert (ann.num_accepted, ann.num_rejected, ann.verified_at) == (0, 0, None)
    for llr, times in ((3.0, 2), (-3.0, 1), (None, 1)):
        for _ in range(times):
            made = acme.performing(space, enrolment)
            for _attempt in range(2):
                assert acme.settle(made, result=verified(comparison=Comparison(score=0.5, llr=llr)))
            uncalibrated = acme.verifications.verification(made.id).performed_at
    acme.verifications.fail_verification(acme.performing(space, enrolment).id, FAILURE)
    found = acme.spaces.find_identity(space.id, "ann")
    assert (found.num_accepted, found.num_rejected, found.num_verifications) == (2, 1, 5)
    assert found.created_at < found.verified_at < uncalibrated
    # They outlive the verifications.
    later = now() + timedelta(days=1)
    acme.verifications.forget(verifications=later, usage=later, audit=later, jobs=later)
    assert acme.spaces.find_identity(space.id, "ann") == replace(found, num_verifications=0)


def test_a_least_ratio_decides_in_place_of_the_operating_point(acme, space, ann):
    enrolment = acme.computed(ann, [acme.ready(space, ann)])
    made = acme.performing(space, enrolment, least_llr=4.5)
    assert made.least_llr == acme.verifications.verification(made.id).least_llr == 4.5
    assert acme.performing(space, enrolment).least_llr is None
    assert acme.settle(made, result=verified(least_llr=made.least_llr, unheard={1: FAILURE, 11: FAILURE}))
    result = acme.verifications.verification(made.id).result
    assert (result.least_llr, result.decision, result.unheard) == (4.5, "reject", {1: FAILURE, 11: FAILURE})
    assert acme.spaces.find_identity(space.id, "ann").num_rejected == 1


def test_there_is_no_verification_without_a_voiceprint_or_of_another_space(acme, space, ann):
    with pytest.raises(NotEnrolled, match="compute it first"):
        acme.performing(space, acme.open(ann))
    enrolment, other = acme.computed(ann, [acme.ready(space, ann)], handle="c"), acme.space("other")
    with pytest.raises(NotFound):
        acme.performing(other, enrolment)
    with pytest.raises(NotFound):
        acme.performing(space, enrolment, sample_id=acme.ready(other).id)
    assert acme.verifications.find_verification(other.id, "v") is None


def test_a_handle_of_a_verification_is_taken_in_its_space(acme, space, ann):
    enrolment = acme.computed(ann, [acme.ready(space, ann)])
    first, second = (acme.performing(space, enrolment, handle=handle) for handle in "ab")
    with pytest.raises(HandleTaken):
        acme.performing(space, enrolment, handle="a")
    with pytest.raises(HandleTaken):
        acme.verifications.rename_verification(acme.by, replace(second, handle="a"))
    assert acme.verifications.rename_verification(acme.by, replace(first, handle="c", alias="C"))
    assert acme.verifications.verification(first.id).alias == "C"
    acme.spaces.remove(acme.by, RecordKind.VERIFICATION, first.id)
    assert not acme.verifications.rename_verification(acme.by, first)


def test_what_was_heard_of_an_identity_is_known_the_newest_first(acme, space, ann):
    sample = acme.ready(space, ann, 1)
    made = acme.performing(space, acme.computed(ann, [sample]))
    acme.settle(made, 2)
    bob = acme.identity(space, "bob")
    acme.ready(space, bob, 3)
    known = acme.verifications.traces(ann.id, 9)
    assert [(one.of, one.id) for one in known] == [("verification", made.id), ("sample", sample.id)]
    assert [one.trace.digest for one in known] == [trace(2).digest, trace(1).digest]
    np.testing.assert_array_equal(known[1].trace.fingerprint.words, trace(1).fingerprint.words)
    assert [one.id for one in acme.verifications.traces(ann.id, 1)] == [made.id]


def test_a_verification_of_several_recordings_leaves_a_trace_of_each(acme, space, ann):
    made = acme.performing(
        space, acme.computed(ann, [acme.enrolments.import_sample(acme.by, space.id, ann.id, heard())])
    )
    acme.settle(made, 5, 6, 5)
    known = acme.verifications.traces(ann.id, 9)
    assert [(one.id, one.trace.digest) for one in known] == [(made.id, trace(seed).digest) for seed in (5, 6, 5)]
    for one, seed in zip(known, (5, 6, 5), strict=True):
        np.testing.assert_array_equal(one.trace.fingerprint.words, trace(seed).fingerprint.words)
    assert [one.trace.digest for one in acme.verifications.same_sound(space.id, trace(6).digest)] == [trace(6).digest]


def test_a_sample_that_was_verified_leaves_no_second_trace(acme, space, ann):
    sample = acme.ready(space, ann, 1)
    made = acme.performing(space, acme.computed(ann, [sample]), sample_id=sample.id)
    use = acme.use(RecordKind.VERIFICATION, made.id, space)
    assert acme.verifications.settle_verification(made.id, verified(), [], use)
    assert [one.id for one in acme.verifications.traces_in(space.id, 9)] == [sample.id]


def test_what_was_heard_in_a_space_is_known_whosever_it_is(acme, space, ann):
    bob = acme.identity(space, "bob")
    samples = [acme.ready(space, ann, 1), acme.ready(space, bob, 2), acme.ready(space, None, 3)]
    made = acme.performing(space, acme.computed(ann, samples[:1]))
    acme.settle(made, 4)
    acme.ready(acme.space("other"), None, 5)
    expected = [made.id, *[one.id for one in reversed(samples)]]
    assert [one.id for one in acme.verifications.traces_in(space.id, 9)] == expected
    assert [one.id for one in acme.verifications.traces_in(space.id, 2)] == expected[:2]


def test_the_same_sound_is_found_in_its_space_alone_and_goes_with_its_record(acme, space, ann, engine):
    bob, other = acme.identity(space, "bob"), acme.space("other")
    first, second = acme.ready(space, ann, 1), acme.ready(space, bob, 2)
    made = acme.performing(space, acme.computed(bob, [second]))
    acme.settle(made, 1)
    elsewhere = acme.ready(other, None, 1)

    def ids(where):
        return [(one.of, one.id) for one in acme.verifications.same_sound(where.id, trace(1).digest)]

    assert ids(space) == [("verification", made.id), ("sample", first.id)]
    assert ids(other) == [("sample", elsewhere.id)]
    acme.enrolments.fail_sample(first.id, FAILURE)
    assert ids(space) == [("verification", made.id)]
    acme.spaces.remove(acme.by, RecordKind.VERIFICATION, made.id)
    assert ids(space) == []
    assert rows(engine, "verified_sounds") == {}


def test_the_database_tells_neither_what_was_heard_nor_that_it_was_in_two_spaces(acme, space, engine):
    for one in (space, acme.space("other")):
        acme.ready(one, None, 1)
    with engine.connect() as connection:
        sounds = connection.scalars(text("SELECT sound FROM samples")).all()
    assert len({bytes(one) for one in sounds}) == 2
    assert trace(1).digest not in {bytes(one) for one in sounds}


def test_a_recording_of_the_release_before_is_found_by_its_trace_alone(acme, space, engine):
    sample = acme.ready(space, None, 1)
    with engine.begin() as connection:
        connection.execute(text("UPDATE samples SET sound = NULL"))
    assert acme.verifications.same_sound(space.id, trace(1).digest) == []
    assert [one.id for one in acme.verifications.traces_in(space.id, 9)] == [sample.id]


def test_a_recording_that_is_sent_day_and_night_does_not_fill_the_memory_or_hide_samples(acme, space, ann, monkeypatch):
    monkeypatch.setattr(verifications, "_MOST_SAME", 3)
    samples = [acme.ready(space, ann, 1) for _ in range(4)]
    trials = [acme.performing(space, acme.computed(ann, samples, handle=f"e{number}")) for number in range(5)]
    for one in trials:
        acme.settle(one, 1)
    found = acme.verifications.same_sound(space.id, trace(1).digest)
    assert [one.id for one in found] == [one.id for one in (*reversed(trials[2:]), *reversed(samples[1:]))]


# Usage and audit log


def test_a_use_under_an_id_is_counted_once_and_told_to_its_client_alone(acme, space, engine):
    use, use_id = acme.use(RecordKind.SEARCH, space.id, space), new_id()
    for _ in range(2):
        acme.verifications.count(use, use_id)
    (found,) = acme.verifications.list_usage(acme.by.client_id, ALL).items
    assert acme.verifications.find_usage(acme.by.client_id, use_id) == found
    assert (found.key_id, found.seconds) == (acme.by.key_id, 5.0)
    other = lasting(engine, "other").by.client_id
    assert acme.verifications.find_usage(other, use_id) is None
    assert acme.verifications.list_usage(other, ALL).total == 0


def test_usage_and_audit_log_are_cut_by_kind_and_time_and_go_on_behind_a_cursor(acme, space, ann):
    sample = acme.ready(space, ann)
    acme.settle(acme.performing(space, acme.computed(ann, [sample])))
    listed = acme.verifications.list_usage
    assert [one.kind for one in listed(acme.by.client_id, ALL).items] == ["verification", "sample"]
    only = listed(acme.by.client_id, RecordQuery(take=1, kind=RecordKind.SAMPLE))
    assert ([one.subject_id for one in only.items], only.total) == ([sample.id], 1)
    page = listed(acme.by.client_id, RecordQuery(take=1))
    assert listed(acme.by.client_id, RecordQuery(take=1, cursor=page.cursor)).items == only.items
    assert listed(acme.by.client_id, RecordQuery(take=1, before=only.items[0].at)).items == only.items
    log = acme.spaces.list_audit(acme.by.client_id, RecordQuery(take=9, kind=RecordKind.SAMPLE))
    assert [(one.action, one.record_id) for one in log.items] == [(Action.CREATE, sample.id)]


def test_every_change_is_in_the_audit_log_with_ids_alone(acme, engine):
    space = acme.space()
    ann = acme.identity(space, "handle-of-ann", alias="name-of-ann")
    sample = acme.ready(space, ann)
    once = acme.computed(ann, [sample])
    extra = acme.open(ann, handle="extra")
    acme.enrolments.add_part(acme.by, extra.id, sample.id)
    acme.enrolments.remove_part(acme.by, extra.id, sample.id)
    made = acme.performing(space, once)
    acme.spaces.audit(acme.by, Action.SEARCH, RecordKind.SPACE, space.id)
    acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id)
    assert acme.audited() == [
        ("create", "space", space.id),
        ("create", "identity", ann.id),
        ("create", "sample", sample.id),
        ("create", "enrolment", once.id),
        ("compute", "enrolment", once.id),
        ("create", "enrolment", extra.id),
        ("add", "enrolment", extra.id),
        ("remove", "enrolment", extra.id),
        ("verify", "verification", made.id),
        ("search", "space", space.id),
        ("delete", "identity", ann.id),
    ]
    (entry, *_) = acme.spaces.list_audit(acme.by.client_id, ALL).items
    assert (entry.client_id, entry.key_id, entry.request_id) == (acme.by.client_id, acme.by.key_id, "request")
    with engine.connect() as connection:
        log = repr(connection.execute(text("SELECT * FROM audit_log, usage_records")).all())
    assert "of-ann" not in log


# Removal


def test_an_identity_goes_with_all_below_it_and_its_keys(acme, space, ann, engine):
    kept = acme.ready(space, ann, kept_until=now())
    acme.settle(acme.performing(space, acme.computed(ann, [kept, acme.ready(space, ann)])))
    acme.spaces.note_job(kept.job_id, acme.by.client_id, [ann.id])
    removal = acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id)
    assert removal.counts == {"identity": 1, "sample": 2, "enrolment": 1, "verification": 1}
    assert removal.recordings == [kept.id]
    assert removal.jobs == [(acme.by.client_id, kept.job_id)]
    assert rows(engine) == {}
    assert acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id) is None
    # It names ids alone.
    assert len(acme.usage()) == 3


def test_a_space_goes_with_all_in_it_and_others_stay(acme, space, ann, engine):
    unassigned = acme.pending(space)
    acme.computed(ann, [acme.ready(space, ann)])
    other = acme.identity(acme.space("other"), "ann")
    removal = acme.spaces.remove(acme.by, RecordKind.SPACE, space.id)
    assert removal.counts == {"space": 1, "identity": 1, "sample": 2, "enrolment": 1, "verification": 0}
    assert removal.jobs == [(acme.by.client_id, unassigned.job_id)]
    assert rows(engine) == {"identities": 1, "record_keys": 1}
    assert acme.spaces.find_identity(acme.space("other").id, "ann").id == other.id


def test_a_large_space_goes_in_several_steps_with_one_receipt(acme, space, engine, monkeypatch):
    monkeypatch.setattr(spaces, "_MOST_AT_ONCE", 2)
    monkeypatch.setattr(spaces, "_PAUSE_S", 0.0)
    people = [acme.identity(space, f"p{number}") for number in range(5)]
    samples = [acme.ready(space, one, kept_until=now()) for one in people] + [acme.ready(space) for _ in range(3)]
    for one in (*people, *people):
        acme.spaces.note_job("of all", acme.by.client_id, [one.id])
    removal = acme.spaces.remove(acme.by, RecordKind.SPACE, space.id)
    assert removal.id == space.id
    assert removal.counts == {"space": 1, "identity": 5, "sample": 8, "enrolment": 0, "verification": 0}
    assert set(removal.recordings) == {one.id for one in samples[:5]}
    assert {"of all", *[one.job_id for one in samples[5:]]} <= {job for _, job in removal.jobs}
    assert len(set(removal.jobs)) == len(removal.jobs)
    assert rows(engine) == {}
    assert [one for one in acme.audited() if one[0] == "delete"] == [("delete", "space", space.id)]


def test_an_enrolment_or_sample_goes_and_its_verification_stays(acme, space, ann):
    enrolment, sample = acme.computed(ann, [acme.ready(space, ann)]), acme.ready(space)
    made = acme.performing(space, enrolment, sample_id=sample.id)
    assert acme.spaces.jobs_about(RecordKind.VERIFICATION, made.id) == [(acme.by.client_id, made.job_id)]
    for kind, record in ((RecordKind.ENROLMENT, enrolment), (RecordKind.SAMPLE, sample)):
        assert acme.spaces.remove(acme.by, kind, record.id).counts == {kind: 1}
    found = acme.verifications.verification(made.id)
    assert (found.enrolment, found.sample, found.identity.handle) == (None, None, "ann")
    acme.spaces.remove(acme.by, RecordKind.VERIFICATION, made.id)
    assert acme.verifications.verification(made.id) is None


def test_a_client_s_spaces_usage_and_audit_log_go_and_those_of_others_stay(acme, space, ann, engine):
    other = lasting(engine, "other")
    for one in (acme, other):
        one.computed(one.identity(one.space(), "bob"), [one.ready(one.space())])
    before = (other.usage(), other.audited())
    assert acme.spaces.remove_client(acme.by.client_id).counts == {"identity": 2}
    assert (acme.usage(), acme.audited(), acme.spaces.list_spaces(acme.by.client_id, ALL).total) == ([], [], 0)
    assert (other.usage(), other.audited()) == before
    assert rows(engine, "identities", "samples") == {"identities": 1, "samples": 1}


def test_jobs_are_noted_once_for_the_identities_that_are_there(acme, space, ann):
    bob = acme.identity(space, "bob")
    for _ in range(2):
        acme.spaces.note_job("job", acme.by.client_id, [ann.id, bob.id, new_id()])
    for one in (ann, bob):
        assert acme.spaces.jobs_about(RecordKind.IDENTITY, one.id) == [(acme.by.client_id, "job")]
    assert acme.spaces.jobs_about(RecordKind.SPACE, space.id) == [(acme.by.client_id, "job")]


def test_those_whose_time_is_over_are_told(acme, space):
    at = now()
    late = acme.identity(space, "late", expires_at=at)
    acme.identity(space, "later", expires_at=at + SOON)
    acme.identity(space, "never")
    assert acme.spaces.expired(at, 9) == [(acme.by.client_id, late.id)]
    assert len(acme.spaces.expired(at + SOON, 9)) == 2
    assert len(acme.spaces.expired(at + SOON, 1)) == 1


def test_records_that_wait_for_their_job_are_told(acme, space, ann):
    pending = acme.pending(space, ann)
    acme.enrolments.add_sample(acme.by, space.id, NewSample(id=new_id()))
    ready = acme.ready(space, ann)
    made = acme.performing(space, acme.computed(ann, [ready]))
    computing = acme.open(ann, [ready], handle="computing")
    acme.enrolments.begin_computing(acme.by, computing.id, "job")
    acme.open(ann, [ready], handle="open")
    waiting = acme.verifications.unsettled(now() + SOON, 9)
    assert {(one.kind, one.id, one.job_id) for one in waiting} == {
        ("sample", pending.id, pending.job_id),
        ("enrolment", computing.id, "job"),
        ("verification", made.id, made.job_id),
    }
    assert {one.client_id for one in waiting} == {acme.by.client_id}
    assert acme.verifications.unsettled(now() - timedelta(minutes=1), 9) == []


def test_what_is_old_is_forgotten_with_its_keys(acme, space, ann, engine):
    acme.spaces.note_job("job", acme.by.client_id, [ann.id])
    made = acme.performing(space, acme.computed(ann, [acme.ready(space, ann)]))
    acme.settle(made)
    long_ago, later = now() - timedelta(days=1), now() + timedelta(days=1)
    times = {"verifications": long_ago, "usage": long_ago, "audit": long_ago, "jobs": long_ago}
    assert acme.verifications.forget(**times) == 0
    keys = rows(engine, "record_keys")["record_keys"]
    assert acme.verifications.forget(**times | {"verifications": later}) == 1
    assert rows(engine, "verifications", "record_keys") == {"record_keys": keys - 1}
    assert acme.verifications.forget(**times | {"usage": later, "jobs": later}) == 3
    assert acme.usage() == []
    entries = len(acme.audited())
    assert acme.verifications.forget(**times | {"audit": later}) == entries
    assert acme.audited() == []


def test_an_identity_that_was_made_anew_is_another(acme, space, ann):
    acme.spaces.remove(acme.by, RecordKind.IDENTITY, ann.id)
    again = acme.spaces.add_identity(acme.by, space.id, NewIdentity(handle="ann"))
    assert again.id != ann.id
    assert again.alias is None


def test_an_id_comes_before_another_records_handle_that_looks_like_it(acme, space):
    first, middle, last = (acme.identity(space, handle) for handle in ("first", "middle", "last"))
    acme.spaces.change_identity(acme.by, replace(middle, handle=last.id))
    acme.spaces.change_identity(acme.by, replace(last, handle=first.id))
    for one in (first, last):
        assert acme.spaces.find_identity(space.id, one.id).id == one.id
    once, other = (acme.open(first, handle=handle) for handle in ("once", "other"))
    for one, of in ((once, other), (other, once)):
        assert acme.enrolments.rename_enrolment(acme.by, replace(one, handle=of.id))
    assert acme.enrolments.find_enrolment(first.id, once.id).id == once.id
    assert acme.enrolments.find_enrolment(first.id, other.id).id == other.id


def test_what_is_told_of_a_failed_statement_holds_no_values(engine):
    insert = text("INSERT INTO spaces (id, client_id, handle, gallery, created_us) VALUES ('1', '2', :handle, 0, 0)")
    with pytest.raises(IntegrityError) as failed, engine.begin() as connection:
        connection.execute(insert, {"handle": "ann-miller"})
    assert "ann-miller" not in str(failed.value)
