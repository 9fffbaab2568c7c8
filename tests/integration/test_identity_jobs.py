"""Jobs about identities in a worker, with real SQL, Redis, decoder and networks."""

import math
from dataclasses import replace

import pytest

from shared.domain.commands import Identify
from shared.domain.errors import IdentityDeleted
from shared.domain.identities import (
    EnrolmentKind,
    EnrolmentState,
    Failure,
    NewEnrolment,
    NewIdentity,
    RecordKind,
    ReplayKind,
    SampleState,
    VerificationState,
)
from shared.domain.jobs import Status
from shared.domain.models import ModelCard
from shared.domain.sources import parse_source
from shared.domain.verification import OperatingPoint
from tests.support.client import eventually
from tests.support.records import LEASE_S
from tests.support.sounds import encode, read
from tests.support.speech import DATA
from tests.support.workshop import PEOPLE, Died, die_and_run_again, dying, ended, shortened
from worker.jobs.galleries import Galleries

ANN, ANN_TOO = PEOPLE["ann"]
BOB, BOB_TOO = PEOPLE["bob"]
CEC, CEC_TOO = PEOPLE["cec"]


def newer(nets):
    """Return the same networks as a newer revision of the model."""
    card = nets.embedder.card
    values = {name: getattr(card, name) for name in ModelCard.__dataclass_fields__}
    fitted = replace(card.calibration, model_id="ge2e@2")
    embedder = type(nets.embedder).__new__(type(nets.embedder))
    embedder.__dict__.update(nets.embedder.__dict__)
    embedder.card = ModelCard(**values | {"revision": "2", "fitted": fitted})
    return replace(nets, embedder=embedder)


def test_an_enrolment_grows_with_each_recording_and_tells_the_right_voice_from_a_wrong_one(shop):
    enrolment = shop.enrolled("ann", ANN)
    assert (enrolment.state, enrolment.version, enrolment.num_samples) == (EnrolmentState.COMPUTED, 1, 1)
    right = shop.verified("ann", shop.upload(ANN_TOO))
    assert (right.state, right.result.decision, right.result.replay) == (VerificationState.PERFORMED, "accept", None)
    wrong = shop.verified("ann", shop.upload(BOB))
    assert wrong.result.decision == "reject"
    assert shop.result.decision == "reject"
    again = shop.enrolled("ann", ANN_TOO)
    assert (again.version, again.num_samples, again.warning) == (2, 2, None)
    assert again.audio_s == pytest.approx(4.3 + 4.135, abs=0.1)
    assert shop.uses() == ["sample", "enrolment", "verification", "verification", "sample", "enrolment"]


def test_a_sample_is_heard_with_its_rate_and_quality(shop):
    shop.enrolled("ann", ANN)
    sample_id = shop.add_sample(shop.upload("ann.wav", encode(read(DATA / ANN), "wav-8k")), "ann")
    shop.runner.run_all()
    sample = shop.enrolments.sample(shop.space, sample_id)
    assert (sample.state, sample.heard.sample_rate_hz) == (SampleState.READY, 8000)
    assert sample.heard.quality.num_speakers == 1
    assert sample.kept_until is None
    assert shop.stores.recordings.load(shop.by.client_id, sample_id) is None


def test_a_sample_that_does_not_meet_the_requirements_is_refused_and_says_by_how_much(shop):
    shop.enrolled("ann", ANN)
    url = shop.upload("short.wav", shortened(ANN_TOO, 3.2))
    sample_id = shop.add_sample(url, "ann")
    unchecked = shop.add_sample(url, "ann", checked=False)
    shop.runner.run_all()
    assert ended(shop, sample_id) == (Status.FAILED, "sample_refused")
    sample = shop.enrolments.sample(shop.space, sample_id)
    assert (sample.state, sample.failure.code) == (SampleState.FAILED, "sample_refused")
    assert "at least 3 s are needed" in sample.failure.message
    assert shop.enrolments.sample(shop.space, unchecked).state is SampleState.READY


def test_a_sample_of_less_speech_than_any_voiceprint_needs_is_told_what_a_sample_needs(shop):
    shop.enrolled("ann", ANN)
    sample_id = shop.add_sample(shop.upload("short.wav", shortened(ANN_TOO, 1.5)), "ann")
    shop.runner.run_all()
    assert ended(shop, sample_id) == (Status.FAILED, "sample_refused")
    assert "at least 3 s are needed" in shop.enrolments.sample(shop.space, sample_id).failure.message


def test_a_failure_of_the_recording_is_stored_with_the_record(shop):
    shop.enrolled("ann", ANN)
    sample_id = shop.add_sample(shop.upload("letter.txt", b"Dear sir or madam,\n" * 100), "ann")
    verification_id = shop.verify("ann", "media://letter.txt")
    shop.runner.run_all()
    assert ended(shop, sample_id) == ended(shop, verification_id) == (Status.FAILED, "not_audio")
    assert shop.enrolments.sample(shop.space, sample_id).failure.code == "not_audio"
    verification = shop.stores.verifications.verification(verification_id)
    assert (verification.state, verification.failure.code) == (VerificationState.FAILED, "not_audio")


def test_a_foreign_voice_is_not_added_to_an_enrolment(shop):
    before = shop.enrolled("ann", ANN, ANN_TOO)
    job_id = shop.enrol("ann", shop.upload(BOB))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.FAILED, "sample_refused")
    after = shop.enrolment("ann")
    assert (after.version, after.num_samples) == (before.version, before.num_samples) == (2, 2)
    assert after.voiceprint.encode() == before.voiceprint.encode()
    # It is the voice of somebody who was not asked.
    sample = shop.enrolments.sample(shop.space, job_id)
    assert (sample.state, sample.failure.code, sample.heard) == (SampleState.FAILED, "sample_refused", None)
    assert job_id not in {one.id for one in shop.stores.verifications.traces(shop.identity("ann").id, 10)}


def test_an_enrolment_is_computed_once_of_samples(shop):
    shop.enrolled("ann", ANN)
    ids = [shop.add_sample(shop.upload(name), "ann") for name in (ANN, ANN_TOO)]
    shop.runner.run_all()
    job_id = shop.compute(shop.once("ann", *ids))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    enrolment = shop.enrolment("ann", "once")
    assert (enrolment.kind, enrolment.state, enrolment.version) == (EnrolmentKind.ONCE, EnrolmentState.COMPUTED, 1)
    assert shop.result.enrolment.id == enrolment.id
    assert shop.verified("ann", shop.upload("a.flac", (DATA / ANN_TOO).read_bytes())).result.decision == "accept"


def test_an_enrolment_of_two_voices_is_refused_names_them_and_is_open_again(shop):
    shop.enrolled("ann", ANN)
    ids = [shop.add_sample(shop.upload(name), "ann") for name in (ANN, BOB)]
    shop.runner.run_all()
    job_id = shop.compute(shop.once("ann", *ids))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.FAILED, "sample_refused")
    enrolment = shop.enrolment("ann", "once")
    assert (enrolment.state, enrolment.failure.code) == (EnrolmentState.OPEN, "sample_refused")
    assert all(one in enrolment.failure.message for one in ids)


#: Where a worker dies: store, method, and whether right after it.
DEATHS = [
    ("enrolments", "keep_heard", False),
    ("enrolments", "keep_heard", True),
    ("enrolments", "grow", False),
    ("enrolments", "grow", True),
]


@pytest.mark.parametrize(("store", "method", "after"), DEATHS)
def test_a_worker_that_dies_while_it_enrols_loses_nothing_and_does_nothing_twice(shop, store, method, after):
    job_id = shop.enrol("ann", shop.upload(ANN))
    die_and_run_again(shop, store, method, after=after)
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    enrolment = shop.enrolment("ann")
    assert (enrolment.version, enrolment.num_samples) == (1, 1)
    assert shop.uses() == ["sample", "enrolment"]
    heard_twice = (method, after) == ("keep_heard", False)
    assert shop.decoder.count == 1 + heard_twice


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_while_it_computes_computes_nothing_twice(shop, after):
    shop.enrolled("ann", ANN)
    sample_id = shop.add_sample(shop.upload(ANN_TOO), "ann")
    shop.runner.run_all()
    job_id = shop.compute(shop.once("ann", sample_id))
    die_and_run_again(shop, "enrolments", "compute", after=after)
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    assert shop.enrolment("ann", "once").version == 1
    assert shop.uses(RecordKind.ENROLMENT) == ["enrolment"] * 2


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_while_it_verifies_counts_once_and_sees_no_replay_in_its_own_attempt(shop, after):
    shop.enrolled("ann", ANN)
    verification_id = shop.verify("ann", shop.upload(ANN_TOO))
    die_and_run_again(shop, "verifications", "settle_verification", after=after)
    assert ended(shop, verification_id) == (Status.SUCCEEDED, None)
    verification = shop.stores.verifications.verification(verification_id)
    assert (verification.result.decision, verification.result.replay) == ("accept", None)
    assert shop.uses(RecordKind.VERIFICATION) == ["verification"]


def test_a_failure_is_the_same_in_the_attempt_behind_a_death(shop):
    shop.enrolled("ann", ANN)
    sample_id = shop.add_sample(shop.upload("letter.txt", b"Dear sir or madam,\n" * 100), "ann")
    stores = replace(shop.stores, enrolments=dying(shop.stores.enrolments, "fail_sample", after=True))
    with pytest.raises(Died):
        shop.make_runner(stores=stores).run_all()
    # The file is a recording by now; but the sample has failed, and so does its job.
    shop.upload("letter.txt", (DATA / ANN).read_bytes())
    shop.clock.pass_s(LEASE_S)
    assert shop.jobs.reap().rings == 1
    shop.runner.run_all()
    assert ended(shop, sample_id) == (Status.FAILED, "not_audio")
    assert shop.enrolments.sample(shop.space, sample_id).state is SampleState.FAILED


def test_copies_are_told_from_the_same_sound_and_from_other_sentences(shop):
    shop.enrolled("ann", ANN)
    copy = shop.verified("ann", shop.upload("a.mp3", encode(read(DATA / ANN), "mp3"))).result.replay
    assert (copy.kind, copy.of) == (ReplayKind.COPY, RecordKind.SAMPLE)
    same = shop.verified("ann", shop.upload("a.flac", (DATA / ANN).read_bytes())).result.replay
    assert (same.kind, same.of) == (ReplayKind.SAME, RecordKind.SAMPLE)
    assert shop.verified("ann", shop.upload(ANN_TOO)).result.replay is None
    again = shop.verified("ann", shop.upload("again.ogg", encode(read(DATA / ANN_TOO), "ogg-opus"))).result.replay
    assert (again.kind, again.of) == (ReplayKind.COPY, RecordKind.VERIFICATION)
    assert "copy" in shop.result.warning


def test_a_stored_sample_is_verified_without_being_heard_again_and_is_no_replay_of_itself(shop):
    shop.enrolled("ann", ANN)
    mine = shop.add_sample(shop.upload(ANN_TOO), "ann")
    nobodys = shop.add_sample(shop.upload(BOB))
    shop.runner.run_all()
    heard = shop.decoder.count
    for sample_id, decision in [(mine, "accept"), (mine, "accept"), (nobodys, "reject"), (nobodys, "reject")]:
        result = shop.verified("ann", sample=sample_id).result
        assert (result.decision, result.replay) == (decision, None)
    assert shop.decoder.count == heard
    copy = shop.verified("ann", shop.upload("bob.mp3", encode(read(DATA / BOB), "mp3"))).result.replay
    assert copy.of is RecordKind.VERIFICATION


def adaptive(shop, who, name):
    """Make an adaptive enrolment of a recording."""
    identity = shop.identities.ensure_identity(shop.by, shop.space, who, NewIdentity())
    new = NewEnrolment(identity_id=identity.id, adaptive=True, model="ge2e")
    shop.enrolments.add_enrolment(shop.by, shop.space, new)
    return shop.enrolled(who, name)


@pytest.mark.parametrize("death", [None, ("verifications", "settle_verification"), ("enrolments", "grow")])
def test_an_adaptive_enrolment_learns_what_is_accepted_at_strictest_once(shop, death):
    assert adaptive(shop, "ann", ANN).adaptive
    verification_id = shop.verify("ann", shop.upload(ANN_TOO))
    if death:
        die_and_run_again(shop, *death, after=True)
    shop.runner.run_all()
    assert ended(shop, verification_id) == (Status.SUCCEEDED, None)
    result = shop.stores.verifications.verification(verification_id).result
    assert result.comparison.accepted(OperatingPoint.STRICTEST)
    enrolment = shop.enrolment("ann")
    assert (enrolment.num_samples, enrolment.version) == (2, 2)
    assert shop.enrolments.sample(shop.space, result.added_sample).state is SampleState.READY
    assert shop.uses() == ["sample", "enrolment", "verification"]


def test_what_an_adaptive_enrolment_learned_can_be_heard_again_where_recordings_are_kept(shop, nets):
    shop.keep_recordings(3600)
    adaptive(shop, "ann", ANN)
    shop.verified("ann", shop.upload(ANN_TOO))
    job_id = shop.compute(shop.enrolment("ann"), anew=True)
    shop.make_runner(nets=newer(nets)).run_all()
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    assert (shop.enrolment("ann").model_id, shop.enrolment("ann").num_samples) == ("ge2e@2", 2)


def test_a_verification_of_a_sample_waits_for_its_hearing_and_fails_as_it_did(shop):
    shop.enrolled("ann", ANN)
    heard_late = shop.add_sample(shop.upload(ANN_TOO), "ann")
    # Its job is taken from the queue while the verification comes.
    claim = shop.jobs.claim()
    verification_id = shop.verify("ann", sample=heard_late)
    shop.runner.run_all()
    assert shop.job(verification_id).status is Status.CREATED
    shop.jobs.release(claim)
    shop.runner.run_all()
    shop.clock.pass_s(LEASE_S)
    assert shop.jobs.reap().rings == 1
    shop.runner.run_all()
    assert shop.stores.verifications.verification(verification_id).result.decision == "accept"
    damaged = shop.add_sample(shop.upload("letter.txt", b"Dear sir or madam,\n" * 100), "ann")
    shop.runner.run_all()
    verification_id = shop.verify("ann", sample=damaged)
    shop.runner.run_all()
    assert ended(shop, verification_id) == (Status.FAILED, "not_audio")


def test_an_adaptive_enrolment_learns_neither_from_strangers_nor_from_replays(shop):
    adaptive(shop, "ann", ANN)
    for name, content in [("bob.flac", (DATA / BOB).read_bytes()), ("ann.mp3", encode(read(DATA / ANN), "mp3"))]:
        assert shop.verified("ann", shop.upload(name, content)).result.added_sample is None
    assert shop.enrolment("ann").num_samples == 1


def test_an_adaptive_enrolment_learns_nothing_that_it_was_told_not_to(shop):
    adaptive(shop, "ann", ANN)
    result = shop.verified("ann", shop.upload(ANN_TOO), keep_enrolment=True).result
    assert result.comparison.accepted(OperatingPoint.STRICTEST)
    assert result.added_sample is None
    assert shop.enrolment("ann").num_samples == 1


def test_recordings_are_kept_sealed_where_the_space_keeps_them_and_go_with_the_sample(shop):
    shop.keep_recordings(3600)
    shop.enrolled("ann", ANN)
    sample = shop.stores.enrolments.parts(shop.enrolment("ann").id)[0].sample
    folder = shop.settings.data_dir / "recordings"
    (path,) = [path for path in folder.rglob("*") if path.is_file()]
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert b"RIFF" not in path.read_bytes()
    kept = shop.stores.recordings.load(shop.by.client_id, sample.id)
    assert kept.startswith(b"RIFF")
    shop.identities.delete_identity(shop.by, shop.identity("ann").id)
    assert not path.exists()
    assert shop.stores.recordings.load(shop.by.client_id, sample.id) is None


def test_kept_recordings_are_swept_when_their_time_is_over(shop):
    shop.keep_recordings(1)
    shop.enrolled("ann", ANN)
    sample_id = shop.stores.enrolments.parts(shop.enrolment("ann").id)[0].sample.id
    eventually(lambda: shop.retention().sweep() or not list((shop.settings.data_dir / "recordings").glob("*/*")))
    assert shop.enrolments.sample(shop.space, sample_id).kept_until is None


@pytest.mark.parametrize("end", ["failed", "deleted"])
def test_a_recording_whose_worker_died_before_it_told_goes_with_its_sample(shop, end):
    shop.keep_recordings(3600)
    sample_id = shop.add_sample(shop.upload(ANN))
    enrolments = dying(shop.stores.enrolments, "keep_heard", after=False)
    with pytest.raises(Died):
        shop.make_runner(stores=replace(shop.stores, enrolments=enrolments)).run_all()
    folder = shop.settings.data_dir / "recordings"
    assert [path.name for path in folder.glob("*/*")] == [sample_id]
    if end == "failed":
        shop.stores.enrolments.fail_sample(sample_id, Failure(code="canceled", message="Canceled."))
        shop.retention().sweep()
        assert shop.enrolments.sample(shop.space, sample_id).kept_until is None
    else:
        shop.identities.delete_record(shop.by, RecordKind.SAMPLE, sample_id)
    assert list(folder.glob("*/*")) == []


def test_a_newer_model_verifies_nothing_until_the_enrolment_is_recomputed_from_kept_recordings(shop, nets):
    shop.keep_recordings(3600)
    shop.enrolled("ann", ANN)
    runner = shop.make_runner(nets=newer(nets))
    verification_id = shop.verify("ann", shop.upload(ANN_TOO))
    runner.run_all()
    assert ended(shop, verification_id) == (Status.FAILED, "model_changed")
    job_id = shop.compute(shop.enrolment("ann"), anew=True)
    runner.run_all()
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    assert (shop.enrolment("ann").model_id, shop.enrolment("ann").version) == ("ge2e@2", 2)
    verification_id = shop.verify("ann", shop.upload(ANN_TOO))
    runner.run_all()
    assert shop.stores.verifications.verification(verification_id).result.decision == "accept"


def test_recomputing_names_the_samples_whose_recordings_are_gone(shop):
    shop.enrolled("ann", ANN)
    shop.keep_recordings(3600)
    before = shop.enrolled("ann", ANN_TOO)
    first, second = [part.sample for part in shop.stores.enrolments.parts(before.id)]
    job_id = shop.compute(before, anew=True)
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.FAILED, "recording_gone")
    after = shop.enrolment("ann")
    assert (after.state, after.version, after.failure.code) == (EnrolmentState.COMPUTED, 2, "recording_gone")
    assert first.handle in after.failure.message and second.handle not in after.failure.message
    assert shop.verified("ann", shop.upload("b.flac", (DATA / BOB).read_bytes())).result.decision == "reject"


def test_a_job_whose_identity_is_deleted_meanwhile_keeps_nothing(shop):
    shop.enrolled("ann", ANN)

    class Deleting(type(shop.stores.verifications)):
        def settle_verification(self, *given):
            shop.identities.delete_identity(shop.by, shop.identity("ann").id)
            return super().settle_verification(*given)

    store = Deleting.__new__(Deleting)
    store.__dict__.update(shop.stores.verifications.__dict__)
    verification_id = shop.verify("ann", shop.upload(ANN_TOO))
    shop.make_runner(stores=replace(shop.stores, verifications=store)).run_all()
    job = shop.job(verification_id)
    assert job is None or ended(shop, verification_id) == (Status.FAILED, IdentityDeleted.code)
    assert shop.stores.verifications.verification(verification_id) is None


def test_a_search_names_the_person_and_counts_once(shop):
    for who, (name, _) in PEOPLE.items():
        shop.enrolled(who, name)
    job_id = shop.search(shop.upload(BOB_TOO))
    die_and_run_again(shop, "verifications", "count", after=True)
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    found = shop.result
    assert [one.identity.handle for one in found.candidates] == ["bob"]
    assert found.candidates[0].confidence >= 90
    assert (found.num_searched, found.num_skipped, found.calibrated) == (3, 0, True)
    assert found.nobody + found.candidates[0].confidence <= 100
    assert shop.uses(RecordKind.SEARCH) == ["search"]


def test_nobody_is_an_answer_and_other_models_are_skipped(shop, nets):
    shop.enrolled("ann", ANN)
    shop.search(shop.upload(BOB))
    shop.runner.run_all()
    assert (shop.result.candidates, shop.result.num_searched) == ([], 1)
    assert shop.result.nobody >= 90
    shop.search(shop.upload(ANN_TOO))
    shop.make_runner(nets=newer(nets)).run_all()
    assert (shop.result.candidates, shop.result.num_searched, shop.result.num_skipped) == ([], 0, 1)


def test_a_deleted_identity_is_not_named_again_and_its_searches_are_gone(shop):
    for who, (name, _) in PEOPLE.items():
        shop.enrolled(who, name)
    found, stays = shop.search(shop.upload(BOB_TOO)), shop.search(shop.upload(CEC_TOO))
    shop.runner.run_all()
    shop.identities.delete_identity(shop.by, shop.identity("bob").id)
    assert (shop.job(found), shop.job(stays).status) == (None, Status.SUCCEEDED)
    shop.search(shop.upload(BOB_TOO), least_confidence=0)
    shop.runner.run_all()
    assert "bob" not in {one.identity.handle for one in shop.result.candidates}
    assert shop.result.num_searched == 2


def identify(shop, **options):
    """Identify the speakers of a conversation between Ann and Bob; returns the result."""
    command = Identify(source=parse_source(shop.upload("conversation.flac")), **options)
    shop.service.submit(shop.by.client_id, shop.submission(command))
    shop.runner.run_all()
    return shop.result


def test_speakers_of_a_recording_are_named_by_enrolments_and_by_space(shop):
    for who, (name, _) in PEOPLE.items():
        shop.enrolled(who, name)
    ids = {who: shop.enrolment(who).id for who in PEOPLE}
    named = set(identify(shop, enrolments=ids, threshold=50).matches.values()) - {None}
    assert named
    assert set(identify(shop, space=shop.space.id).matches.values()) - {None} == named
    assert shop.uses(RecordKind.SEARCH) == ["search"]
    for who in named:
        shop.identities.delete_identity(shop.by, shop.identity(who).id)
    assert set(identify(shop, space=shop.space.id).matches.values()) == {None}


def test_an_identification_by_name_one_of_the_space_and_a_search_agree(shop, nets):
    for who, names in PEOPLE.items():
        shop.enrolled(who, names[0])
    handles = {shop.identity(who).id: who for who in PEOPLE}
    ids = {who: shop.enrolment(who).id for who in PEOPLE}
    by_name, by_space = identify(shop, enrolments=ids), identify(shop, space=shop.space.id)
    galleries = Galleries(shop.stores.enrolments, nets.embedder.card, 2**20)
    for speaker, voice in by_space.voices.items():
        found = galleries.search(shop.space.id, voice, limit=50, least_confidence=0)
        named, spaced = by_name.likenesses[speaker], by_space.likenesses[speaker]
        assert {who: one.confidence for who, one in named.items()} == {
            handles[one.identity]: one.confidence for one in found.candidates
        }
        assert spaced
        for who, one in spaced.items():
            assert one.probability == pytest.approx(named[who].probability, rel=1e-3)


def test_galleries_load_only_what_changed(shop, nets):
    for who in ("ann", "bob"):
        shop.enrolled(who, PEOPLE[who][0])
    read_rows = []

    class Watched(type(shop.stores.enrolments)):
        def gallery_rows(self, enrolment_ids):
            read_rows.append(len(enrolment_ids))
            return super().gallery_rows(enrolment_ids)

    store = Watched.__new__(Watched)
    store.__dict__.update(shop.stores.enrolments.__dict__)
    galleries = Galleries(store, nets.embedder.card, 2**20)
    probe = shop.enrolment("bob").voiceprint

    def searched():
        read_rows.clear()
        found = galleries.search(shop.space.id, probe, limit=5, least_confidence=0)
        return found.searched, sum(read_rows)

    assert [searched(), searched()] == [(2, 2), (2, 0)]
    shop.enrolled("cec", CEC)
    assert searched() == (3, 1)
    shop.enrolled("cec", CEC_TOO)
    assert searched() == (3, 1)
    shop.identities.delete_identity(shop.by, shop.identity("ann").id)
    assert searched() == (2, 0)
    galleries.drop_idle()
    assert galleries.spaces() == [shop.space.id]


def test_galleries_leave_memory_by_size_and_by_time(shop, nets):
    shop.enrolled("ann", ANN)
    probe = shop.enrolment("ann").voiceprint
    first = shop.space
    other = shop.identities.ensure_space(shop.by, "other")
    shop.space = other
    shop.enrolled("ann", ANN)
    galleries = Galleries(shop.stores.enrolments, nets.embedder.card, 2000, idle_s=0.5)
    for space in (first, other):
        assert galleries.search(space.id, probe, limit=5, least_confidence=0).searched == 1
    assert galleries.spaces() == [other.id]
    eventually(lambda: galleries.spaces() == [])


def test_a_space_that_does_not_fit_into_memory_is_searched_in_parts_with_the_same_result(shop, nets):
    for who, names in PEOPLE.items():
        shop.enrolled(who, *names)
    # An identity with a second enrolment, which may lie in another part.
    ids = [shop.add_sample(shop.upload(name), "bob") for name in (BOB, BOB_TOO)]
    shop.runner.run_all()
    shop.compute(shop.once("bob", *ids))
    shop.runner.run_all()
    probe = shop.enrolment("bob").voiceprint
    whole = Galleries(shop.stores.enrolments, nets.embedder.card, 2**20)
    parts = Galleries(shop.stores.enrolments, nets.embedder.card, 3200)
    for least in (0, 50):
        one, other = (
            galleries.search(shop.space.id, probe, limit=2, least_confidence=least) for galleries in (whole, parts)
        )
        assert [(c.identity, c.key, c.confidence) for c in one.candidates] == [
            (c.identity, c.key, c.confidence) for c in other.candidates
        ]
        assert one.searched == other.searched
        # The last digits of a product of float32 depend on the number of its rows, and a ratio is 15 times a cosine.
        assert math.log(one.nobody) == pytest.approx(math.log(other.nobody), abs=1e-5)
    assert (whole.spaces(), parts.spaces()) == ([shop.space.id], [])


def test_records_of_canceled_jobs_fail_as_their_jobs_did(shop):
    shop.enrolled("ann", ANN)
    sample_id = shop.add_sample(shop.upload(ANN_TOO), "ann")
    verification_id = shop.verify("ann", "media://" + ANN_TOO)
    for job_id in (sample_id, verification_id):
        shop.service.cancel(shop.by.client_id, job_id)
    retention = shop.retention()

    def settled():
        retention.settle()
        sample = shop.enrolments.sample(shop.space, sample_id)
        verification = shop.stores.verifications.verification(verification_id)
        return sample.failure and verification.failure and (sample.failure.code, verification.failure.code)

    assert eventually(settled) == ("canceled", "canceled")
    shop.runner.run_all()
    assert shop.uses(RecordKind.VERIFICATION) == []
