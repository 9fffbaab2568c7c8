"""Voices of several recordings in a worker, with real SQL, Redis, decoder and networks."""

import io
import wave

import pytest

from shared.domain.errors import WorkerLost
from shared.domain.identities import (
    EnrolmentState,
    NewEnrolment,
    NewIdentity,
    RecordKind,
    ReplayKind,
    SampleState,
    VerificationState,
)
from shared.domain.jobs import Status
from shared.domain.verification import OperatingPoint
from tests.support.records import LEASE_S, output
from tests.support.sounds import encode, join, lasting, read
from tests.support.speech import DATA
from tests.support.workshop import PEOPLE, die_and_run_again, ended, shortened

ANN, ANN_TOO = PEOPLE["ann"]
BOB, BOB_TOO = PEOPLE["bob"]
LETTER = b"Dear sir or madam,\n" * 100
MISSING = "media://never-uploaded"


def outcomes(shop):
    """Return of each recording of the last result whether it was accepted, and the code of why not."""
    recordings = shop.result.recordings
    assert all((one.failure is None) or not one.accepted for one in recordings)
    return [(one.accepted, one.failure and one.failure.code) for one in recordings]


def registered(shop, who, *names):
    """Register an identity by recordings of the test data, to the end; returns its enrolment."""
    job_id = shop.register(who, *map(shop.upload, names))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    return shop.enrolment(who)


def silence(seconds=4.0):
    """Return a recording in which nobody speaks."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(bytes(round(seconds * 32_000)))
    return file.getvalue()


def nobody(shop, who):
    """Tell whether there is no identity of that handle, and no sample in the space."""
    samples = shop.stores.verifications.traces_in(shop.space.id, 10)
    return shop.stores.spaces.find_identity(shop.space.id, who) is None and samples == []


def test_a_new_identity_is_enrolled_by_several_recordings_in_one_step(shop):
    enrolment = registered(shop, "ann", ANN, ANN_TOO)
    assert outcomes(shop) == [(True, None), (True, None)]
    assert (enrolment.state, enrolment.version, enrolment.num_samples) == (EnrolmentState.COMPUTED, 1, 2)
    assert (shop.result.enrolment.id, shop.result.space, shop.result.warning) == (enrolment.id, "default", None)
    assert enrolment.audio_s == pytest.approx(4.3 + 4.135, abs=0.1)
    assert shop.verified("ann", shop.upload(ANN_TOO)).result.decision == "accept"
    assert shop.verified("ann", shop.upload(BOB)).result.decision == "reject"
    assert shop.uses() == ["sample", "sample", "enrolment", "verification", "verification"]
    seconds = [use.seconds for use in shop.usage(RecordKind.ENROLMENT)]
    assert seconds == [pytest.approx(enrolment.audio_s)]


def test_the_voice_is_that_of_the_same_samples_enrolled_one_by_one(shop):
    at_once = registered(shop, "ann", ANN, ANN_TOO)
    one_by_one = shop.enrolled("also-ann", ANN, ANN_TOO)
    assert at_once.voiceprint.score(one_by_one.voiceprint) == pytest.approx(1.0, abs=1e-6)
    assert at_once.voiceprint.capture == one_by_one.voiceprint.capture


def test_an_update_refines_the_voice(shop):
    before = registered(shop, "ann", ANN)
    job_id = shop.update("ann", shop.upload(ANN_TOO))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    after = shop.enrolment("ann")
    assert (after.id, after.version, after.num_samples) == (before.id, 2, 2)
    assert after.voiceprint.encode() != before.voiceprint.encode()


def test_recordings_that_are_unfit_are_left_out_and_say_why(shop):
    urls = [
        shop.upload("letter.txt", LETTER),
        shop.upload(ANN),
        MISSING,
        shop.upload("silence.wav", silence()),
        shop.upload("short.wav", shortened(ANN_TOO, 1.2)),
    ]
    shop.register("ann", *urls)
    shop.runner.run_all()
    assert outcomes(shop) == [
        (False, "not_audio"),
        (True, None),
        (False, "media_not_found"),
        (False, "no_speech"),
        (False, "too_little_speech"),
    ]
    assert shop.enrolment("ann").num_samples == 1


ALONE = {
    "not_audio": ("letter.txt", LETTER),
    "no_speech": ("silence.wav", silence()),
    "too_little_speech": ("short.wav", shortened(ANN_TOO, 1.2)),
}


@pytest.mark.parametrize("code", ALONE)
def test_a_single_recording_that_is_unfit_fails_the_job_as_it_would_any_other(shop, code):
    job_id = shop.register("ann", shop.upload(*ALONE[code]))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.FAILED, code)
    assert not output(shop.job(job_id))["error"].startswith(("No recording", "Recording 1"))
    assert nobody(shop, "ann")
    assert shop.uses() == []


def test_several_recordings_that_are_unfit_fail_the_job_and_are_named(shop):
    letter, missing = shop.upload("letter.txt", LETTER), MISSING
    alike = shop.register("ann", letter, letter)
    mixed = shop.register("bob", letter, missing)
    shop.runner.run_all()
    assert ended(shop, alike) == (Status.FAILED, "not_audio")
    assert ended(shop, mixed) == (Status.FAILED, "sample_refused")
    message = output(shop.job(mixed))["error"]
    assert message.startswith("No recording is fit. Recording 1: The file is text")
    assert "Recording 2: Nothing is stored under media://never-uploaded" in message
    assert nobody(shop, "ann")
    # The job that failed will never enrol anybody.
    assert [shop.stores.enrolments.call_off_voice(one) for one in (alike, mixed)] == [False, False]


def test_a_voice_unlike_the_others_is_left_out_and_forgotten(shop):
    registered(shop, "ann", ANN)
    job_id = shop.update("ann", shop.upload(BOB), shop.upload(ANN_TOO))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    assert outcomes(shop) == [(False, "sample_refused"), (True, None)]
    assert (shop.enrolment("ann").num_samples, shop.enrolment("ann").version) == (2, 2)
    assert len(shop.stores.verifications.traces_in(shop.space.id, 10)) == 2
    again = shop.update("ann", shop.upload(BOB_TOO))
    shop.runner.run_all()
    assert ended(shop, again) == (Status.FAILED, "sample_refused")
    assert shop.enrolment("ann").num_samples == 2


def test_of_two_voices_neither_is_enrolled_as_a_new_identity(shop):
    job_id = shop.register("ann", shop.upload(ANN), shop.upload(BOB))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.FAILED, "sample_refused")
    assert nobody(shop, "ann")


def test_a_recording_that_comes_again_counts_once_and_fails_no_job(shop):
    same = shop.upload(ANN)
    again = shop.upload("again.flac", (DATA / ANN).read_bytes())
    shop.register("ann", same, again)
    shop.runner.run_all()
    assert outcomes(shop) == [(True, None), (False, "sample_refused")]
    before = shop.enrolment("ann")
    uses = shop.uses()
    job_id = shop.update("ann", shop.upload("once-more.flac", (DATA / ANN).read_bytes()))
    shop.runner.run_all()
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    assert outcomes(shop) == [(False, "sample_refused")]
    after = shop.enrolment("ann")
    assert (after.version, after.num_samples) == (before.version, before.num_samples) == (1, 1)
    assert shop.uses() == uses
    assert shop.stores.enrolments.call_off_voice(job_id) is False


def test_two_jobs_for_one_new_name_enrol_one_of_them(shop):
    voices = {shop.register("ann", shop.upload(one)): too for one, too in [(ANN, ANN_TOO), (BOB, BOB_TOO)]}
    shop.runner.run_all()
    first, second = sorted(voices, key=lambda job_id: ended(shop, job_id)[0] is Status.FAILED)
    assert (ended(shop, first), ended(shop, second)) == ((Status.SUCCEEDED, None), (Status.FAILED, "identity_taken"))
    assert "'ann'" in output(shop.job(second))["error"]
    assert shop.verified("ann", shop.upload(voices[first])).result.decision == "accept"
    assert shop.enrolment("ann").num_samples == 1


#: Where a worker dies: store, method, and whether right after it.
DEATHS = [
    ("enrolments", "enrol_voice", False),
    ("enrolments", "enrol_voice", True),
    ("recordings", "keep", False),
    ("recordings", "keep", True),
    ("verifications", "count", False),
    ("verifications", "count", True),
]


@pytest.mark.parametrize(("store", "method", "after"), DEATHS)
def test_a_worker_that_dies_while_it_enrols_a_voice_loses_nothing_and_does_nothing_twice(shop, store, method, after):
    shop.keep_recordings(3600)
    urls = [shop.upload("letter.txt", LETTER), shop.upload(ANN), shop.upload(ANN_TOO)]
    job_id = shop.register("ann", *urls)
    die_and_run_again(shop, store, method, after=after)
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    assert [one.accepted for one in shop.result.recordings] == [False, True, True]
    enrolment = shop.enrolment("ann")
    assert (enrolment.version, enrolment.num_samples) == (1, 2)
    assert shop.uses() == ["sample", "sample", "enrolment"]
    for part in shop.stores.enrolments.parts(enrolment.id):
        assert shop.stores.recordings.load(shop.by.client_id, part.sample.id).startswith(b"RIFF")


def test_a_worker_that_dies_while_it_updates_by_a_known_recording_changes_nothing(shop):
    registered(shop, "ann", ANN)
    job_id = shop.update("ann", shop.upload(ANN))
    die_and_run_again(shop, "enrolments", "call_off_voice", after=True)
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    assert shop.enrolment("ann").version == 1


def while_hearing(shop, monkeypatch, act):
    """Do something when the worker has decoded a recording."""
    decode = shop.decoder.decode

    def decoding(file, max_s, channel):
        waveform = decode(file, max_s, channel)
        act()
        return waveform

    monkeypatch.setattr(shop.decoder, "decode", decoding)


def test_a_voice_that_is_called_off_while_it_is_heard_is_not_enrolled(shop, monkeypatch):
    job_id = shop.register("ann", shop.upload(ANN), shop.upload(ANN_TOO))
    called_off = []
    while_hearing(shop, monkeypatch, lambda: called_off.append(shop.stores.enrolments.call_off_voice(job_id)))
    shop.runner.run_all()
    assert called_off == [True, False]
    assert ended(shop, job_id) == (Status.FAILED, "identity_deleted")
    assert nobody(shop, "ann")
    assert shop.uses() == []


def test_an_update_of_an_identity_that_is_deleted_while_it_is_heard_enrols_nobody(shop, monkeypatch):
    registered(shop, "ann", ANN)
    identity_id = shop.identity("ann").id
    job_id = shop.update("ann", shop.upload(ANN_TOO))
    while_hearing(shop, monkeypatch, lambda: shop.identities.delete_identity(shop.by, identity_id))
    shop.runner.run_all()
    job = shop.job(job_id)
    assert job is None or ended(shop, job_id) == (Status.FAILED, "identity_deleted")
    assert nobody(shop, "ann")


def test_a_voice_that_is_enrolled_is_not_called_off_any_more(shop):
    job_id = shop.register("ann", shop.upload(ANN))
    shop.runner.run_all()
    assert shop.stores.enrolments.call_off_voice(job_id) is False
    assert shop.enrolment("ann").num_samples == 1


def test_a_fault_that_may_pass_leaves_out_no_recording(shop, monkeypatch):
    job_id = shop.register("ann", shop.upload(ANN), shop.upload(ANN_TOO))
    faults = [WorkerLost("The process that decodes was killed.")]
    while_hearing(shop, monkeypatch, lambda: raise_next(faults))
    shop.runner.run_all()
    assert shop.job(job_id).status is Status.CREATED
    assert nobody(shop, "ann")
    shop.clock.pass_s(LEASE_S)
    assert shop.jobs.reap().rings == 1
    shop.runner.run_all()
    assert outcomes(shop) == [(True, None), (True, None)]


def raise_next(faults):
    if faults:
        raise faults.pop()


def test_recordings_are_kept_where_the_space_keeps_them_and_can_be_heard_again(shop):
    registered(shop, "bob", BOB)
    shop.keep_recordings(3600)
    enrolment = registered(shop, "ann", ANN, ANN_TOO)
    for part in shop.stores.enrolments.parts(enrolment.id):
        sample = shop.enrolments.sample(shop.space, part.sample.id)
        assert (sample.state, sample.kept_until is None) == (SampleState.READY, False)
        assert shop.stores.recordings.load(shop.by.client_id, sample.id).startswith(b"RIFF")
    shop.compute(enrolment, anew=True)
    shop.runner.run_all()
    assert shop.enrolment("ann").version == 2
    assert shop.enrolment("ann").voiceprint.score(enrolment.voiceprint) > 0.999
    assert len(list((shop.settings.data_dir / "recordings").glob("*/*"))) == 2


def test_a_recording_that_another_attempt_finds_changed_is_not_kept(shop):
    shop.keep_recordings(3600)
    job_id = shop.register("ann", shop.upload("a.flac", (DATA / ANN).read_bytes()))
    stores = {"store": "recordings", "method": "keep", "after": False}

    def changed():
        shop.upload("a.flac", (DATA / BOB).read_bytes())

    changed_after_death(shop, changed, **stores)
    assert ended(shop, job_id) == (Status.SUCCEEDED, None)
    (part,) = shop.stores.enrolments.parts(shop.enrolment("ann").id)
    assert shop.enrolments.sample(shop.space, part.sample.id).kept_until is None
    assert shop.stores.recordings.load(shop.by.client_id, part.sample.id) is None


def changed_after_death(shop, change, *, store, method, after):
    reap = shop.jobs.reap

    def reaped():
        change()
        return reap()

    shop.jobs.reap = reaped
    die_and_run_again(shop, store, method, after=after)


def plain(name, seconds=None, codec="wav"):
    """Return a recording of the test data as WAV, repeated up to a length where one is given."""
    clip = read(DATA / name)
    return encode(lasting(clip, seconds) if seconds else clip, codec)


def stereo():
    """Return a recording as WAV of two channels."""
    mono = plain(ANN)
    file = io.BytesIO()
    with wave.open(io.BytesIO(mono)) as one, wave.open(file, "wb") as two:
        two.setparams((2, 2, 16_000, 0, "NONE", ""))
        raw = one.readframes(one.getnframes())
        two.writeframes(b"".join(raw[i : i + 2] * 2 for i in range(0, len(raw), 2)))
    return file.getvalue()


def test_where_plain_wav_is_asked_for_all_else_is_left_out_unread(shop):
    contents = {
        "stereo.wav": stereo(),
        "long.wav": plain(ANN, 61.0),
        "float.wav": plain(ANN, codec="wav-float"),
        "ann.flac": (DATA / ANN).read_bytes(),
        "mulaw.wav": plain(ANN, codec="wav-mulaw"),
        "alaw.wav": plain(ANN_TOO, codec="wav-alaw"),
    }
    shop.register("ann", *(shop.upload(name, content) for name, content in contents.items()), plain_wav=True)
    shop.runner.run_all()
    refused = ["not_audio", "audio_too_long", "not_audio", "not_audio"]
    assert outcomes(shop) == [*((False, code) for code in refused), (True, None), (True, None)]
    assert "has 2 channels" in shop.result.recordings[0].failure.message
    assert "longer than 60 seconds" in shop.result.recordings[1].failure.message
    assert shop.decoder.count == 2
    verification = shop.verified("ann", shop.upload("s.wav", stereo()), plain_wav=True)
    assert (verification.state, verification.failure.code) == (VerificationState.FAILED, "not_audio")
    # Elsewhere two channels are mixed, and a sample may last longer.
    assert shop.verified("ann", shop.upload("s.wav", stereo())).result.decision == "accept"
    assert shop.verified("ann", shop.upload("l.wav", contents["long.wav"])).result.decision == "accept"


def test_a_minute_is_accepted_as_plain_wav(shop):
    shop.register("ann", shop.upload("minute.wav", plain(ANN, 60.0)), plain_wav=True)
    shop.runner.run_all()
    assert outcomes(shop) == [(True, None)]
    assert shop.enrolment("ann").audio_s == pytest.approx(60.0, abs=0.01)


def test_a_verification_of_several_recordings_compares_their_mean_once(shop):
    registered(shop, "ann", ANN)
    letter = shop.upload("letter.txt", LETTER)
    verification = shop.verified("ann", letter, shop.upload(ANN_TOO), MISSING, shop.upload("b.flac", joined()))
    result = verification.result
    assert (verification.state, result.decision) == (VerificationState.PERFORMED, "accept")
    assert {number: failure.code for number, failure in result.unheard.items()} == {
        0: "not_audio",
        2: "media_not_found",
    }
    assert result.heard.audio_s == pytest.approx(4.135 + 8.7, abs=0.2)
    one = shop.verified("ann", shop.upload(ANN_TOO)).result.heard
    other = shop.verified("ann", shop.upload("b.flac", joined())).result.heard
    assert (one.dominant_speaker, result.heard.quality, result.unheard) == ("SPEAKER_00", None, result.unheard)
    mean = one.voiceprint.vector * one.net_speech_s + other.voiceprint.vector * other.net_speech_s
    assert float(mean @ result.heard.voiceprint.vector) / float((mean @ mean) ** 0.5) == pytest.approx(1.0, abs=1e-5)
    assert shop.uses(RecordKind.VERIFICATION) == ["verification"] * 3
    assert shop.stores.verifications.verification(verification.id).result.unheard == result.unheard


def joined():
    """Return a recording of Ann's that is another one than those that the test data has."""
    return encode(join([read(DATA / ANN), read(DATA / ANN_TOO)]), "flac")


def test_a_verification_none_of_whose_recordings_is_fit_fails_as_they_did(shop):
    registered(shop, "ann", ANN)
    letter = shop.upload("letter.txt", LETTER)
    alone, alike = shop.verified("ann", letter), shop.verified("ann", letter, letter)
    mixed = shop.verified("ann", letter, MISSING)
    codes = [one.failure.code for one in (alone, alike, mixed)]
    assert codes == ["not_audio", "not_audio", "sample_refused"]
    assert "Recording 2: Nothing is stored" in mixed.failure.message
    assert shop.uses(RecordKind.VERIFICATION) == []


def test_a_limit_of_the_log_likelihood_ratio_decides_in_place_of_the_operating_point(shop):
    registered(shop, "ann", ANN)
    plain_one = shop.verified("ann", shop.upload(ANN_TOO)).result
    llr = plain_one.comparison.llr
    assert (plain_one.decision, llr > 0) == ("accept", True)
    for least, decision in [(llr - 0.5, "accept"), (llr + 0.5, "reject")]:
        result = shop.verified("ann", shop.upload(ANN_TOO), least_llr=least).result
        assert (result.least_llr, result.decision) == (pytest.approx(least), decision)


def test_a_copy_is_looked_for_in_the_whole_space_only_where_that_is_asked_for(shop):
    registered(shop, "ann", ANN)
    registered(shop, "bob", BOB)
    same, copy = shop.upload(BOB), shop.upload("bob.mp3", encode(read(DATA / BOB), "mp3"))
    assert shop.verified("ann", same).result.replay is None
    bobs = shop.stores.enrolments.parts(shop.enrolment("bob").id)[0].sample.id
    replay = shop.verified("ann", same, whole_space=True).result.replay
    assert (replay.kind, replay.of, replay.id) == (ReplayKind.SAME, RecordKind.SAMPLE, bobs)
    assert shop.verified("ann", copy, whole_space=True).result.replay.kind is ReplayKind.COPY
    # Of several recordings one is a copy.
    replay = shop.verified("ann", shop.upload(ANN_TOO), same, whole_space=True).result.replay
    assert (replay.kind, replay.id) == (ReplayKind.SAME, bobs)


def test_the_same_sound_is_found_behind_however_many_newer_recordings(shop, monkeypatch):
    monkeypatch.setattr("worker.jobs.verifications._MOST_TRACES", 1)
    registered(shop, "ann", ANN)
    registered(shop, "bob", BOB)
    shop.verified("bob", shop.upload(BOB_TOO))
    assert shop.verified("bob", shop.upload(ANN), whole_space=True).result.replay.kind is ReplayKind.SAME


def test_each_of_several_recordings_is_known_afterwards_and_none_is_a_copy_of_itself(shop):
    registered(shop, "ann", ANN)
    once = shop.upload(ANN_TOO)
    first = shop.verified("ann", once, shop.upload("b.flac", shortened(BOB, 4.0)), once, whole_space=True)
    assert first.result.replay is None
    for name, content in [(ANN_TOO, None), ("b.flac", shortened(BOB, 4.0))]:
        replay = shop.verified("ann", shop.upload(name, content)).result.replay
        assert (replay.kind, replay.of, replay.id) == (ReplayKind.SAME, RecordKind.VERIFICATION, first.id)


@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_while_it_verifies_several_recordings_counts_once(shop, after):
    registered(shop, "ann", ANN)
    once = shop.upload(ANN_TOO)
    verification_id = shop.verify("ann", shop.upload("letter.txt", LETTER), once, whole_space=True)
    die_and_run_again(shop, "verifications", "settle_verification", after=after)
    assert ended(shop, verification_id) == (Status.SUCCEEDED, None)
    result = shop.stores.verifications.verification(verification_id).result
    assert (result.decision, result.replay, list(result.unheard)) == ("accept", None, [0])
    assert shop.uses(RecordKind.VERIFICATION) == ["verification"]
    assert (shop.identity("ann").num_accepted, shop.identity("ann").num_rejected) == (1, 0)


def test_an_adaptive_enrolment_learns_nothing_from_several_recordings(shop):
    identity = shop.identities.ensure_identity(shop.by, shop.space, "ann", NewIdentity())
    new = NewEnrolment(identity_id=identity.id, adaptive=True, model="ge2e")
    shop.enrolments.add_enrolment(shop.by, shop.space, new)
    shop.enrolled("ann", ANN)
    result = shop.verified("ann", shop.upload(ANN_TOO), shop.upload("letter.txt", LETTER)).result
    assert result.comparison.accepted(OperatingPoint.STRICTEST)
    assert (result.added_sample, shop.enrolment("ann").num_samples) == (None, 1)
