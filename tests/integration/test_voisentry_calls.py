"""Calls of voice biometrics that end at the last moment, or do not: what a worker does is done by the test."""

import pytest
from redis.exceptions import ConnectionError as RedisAway

from api.dialects.voisentry import calls
from api.dialects.voisentry.calls import Call, find_user, perform
from api.services import Services
from shared.dialects.voisentry import Operation, Refused, handle_of
from shared.domain.enrolling import pool_parts
from shared.domain.errors import WorkerLost
from shared.domain.identities import (
    Actor,
    HeardSample,
    NewIdentity,
    NewVoice,
    RecordKind,
    Use,
    Verified,
    new_id,
    recording_id,
)
from shared.domain.jobs import Status
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl
from shared.domain.verification import Comparison, OperatingPoint
from shared.settings import Settings
from tests.support.people import heard, trace, voice


@pytest.fixture(scope="module")
def services(tmp_path_factory, redis_server):
    found = Services.from_settings(Settings(data_dir=tmp_path_factory.mktemp("calls"), redis_url=redis_server.url))
    found.clients.create_group_key("acme", "group")
    yield found
    found.jobs.stop_waiting()
    found.engine.dispose()


@pytest.fixture
def call(services, monkeypatch):
    """Make a call of a user of its own, with one recording."""
    monkeypatch.setattr(calls, "_ENDING_S", 0.0)
    client = services.clients.authenticate_group(services.clients.create_group_key("acme", "group"))
    space = services.identities.store.space(client.space_id)
    user_id = f"user-{new_id()}"

    def make(operation, **parameters):
        return Call.parse(client, space, operation, {"user_id": user_id, **parameters})

    return make


def recordings(services, call, number=1):
    keys = [job_upload(call.job_id, i) for i in range(number)]
    for key in keys:
        services.jobs.save_media(call.client.id, key, [b"a recording"], 11)
    return [MediaUrl(key) for key in keys]


def enrol(services, call, identity_id, numbers=(0,), handle=True):
    """Enrol the voice of a call, as its worker does; returns the enrolment."""
    new = NewVoice(
        space_id=call.space.id,
        identity_id=identity_id,
        handle=handle_of(call.user_id) if handle else None,
        samples=[
            HeardSample(id=recording_id(call.job_id, number), heard=heard(voice()), trace=trace()) for number in numbers
        ],
        kept_until=None,
    )
    return services.enrolments.store.enrol_voice(call.job_id, new, lambda parts: pool_parts(parts, None), [])


def register(services, call):
    """Register the user of a call."""

    def wait(client_id, job_id):
        assert enrol(services, call, new_id())
        return services.jobs.find(client_id, job_id)

    return perform(services, call, recordings(services, call), wait)


def settle(services, call, llr=3.0):
    verification = services.verifications.store.verification(call.job_id)
    verified = Verified(
        comparison=Comparison(score=0.8, llr=llr),
        operating_point=OperatingPoint.BALANCED,
        heard=heard(voice()),
        replay=None,
        least_llr=verification.least_llr,
    )
    use = Use(
        kind=RecordKind.VERIFICATION, model_id=verification.model_id, subject_id=verification.id,
        space_id=call.space.id, seconds=1.0, actor=call.actor,
    )  # fmt: skip
    return services.verifications.store.settle_verification(call.job_id, verified, [trace()], use)


def user_of(services, call):
    return find_user(services, call.space, call.user_id)


def test_a_voice_that_was_enrolled_is_told_of_though_its_job_has_not_ended(services, call):
    made = call(Operation.REGISTER)

    def wait(client_id, job_id):
        assert enrol(services, made, new_id(), numbers=(0, 2))
        return services.jobs.find(client_id, job_id)

    assert perform(services, made, recordings(services, made, 3), wait).accepted == [True, False, True]
    assert user_of(services, made) is not None


def test_a_voice_that_was_enrolled_is_told_of_though_redis_is_away(services, call, monkeypatch):
    made = call(Operation.REGISTER)

    def away(*_):
        raise RedisAway

    def wait(client_id, job_id):
        assert enrol(services, made, new_id())
        monkeypatch.setattr(services.jobs.jobs, "wait", away)
        away()

    assert perform(services, made, recordings(services, made), wait).accepted == [True]


def test_a_call_that_nobody_ended_is_called_off_and_its_worker_comes_too_late(services, call):
    made = call(Operation.REGISTER)
    with pytest.raises(Refused) as caught:
        perform(services, made, recordings(services, made), services.jobs.find)
    assert (caught.value.status, caught.value.retry_after_s) == (503, calls.RETRY_S)
    assert services.jobs.find(made.client.id, made.job_id).status is Status.CANCELED
    assert enrol(services, made, new_id()) is None
    assert user_of(services, made) is None
    assert not services.jobs.media.contains(made.client.id, job_upload(made.job_id))


def lost(services, call):
    """Take the job of a call for lost, as the reaper does; returns it."""
    services.jobs.drop(call.client.id, call.job_id, WorkerLost("The job's worker died."))
    return services.jobs.find(call.client.id, call.job_id)


def test_a_voice_that_was_enrolled_is_told_of_though_its_job_was_lost_then(services, call):
    made = call(Operation.REGISTER)

    def wait(*_):
        assert enrol(services, made, new_id())
        return lost(services, made)

    assert perform(services, made, recordings(services, made), wait).accepted == [True]
    assert user_of(services, made) is not None


def test_a_worker_that_was_taken_for_lost_comes_too_late_to_enrol(services, call):
    made = call(Operation.REGISTER)
    with pytest.raises(Refused) as caught:
        perform(services, made, recordings(services, made), lambda *_: lost(services, made))
    assert caught.value.status == 500
    assert enrol(services, made, new_id()) is None
    assert user_of(services, made) is None


def test_a_worker_that_was_taken_for_lost_comes_too_late_to_verify(services, call):
    register(services, call(Operation.REGISTER))
    made = call(Operation.VERIFY)
    with pytest.raises(Refused) as caught:
        perform(services, made, recordings(services, made), lambda *_: lost(services, made))
    assert caught.value.status == 500
    assert settle(services, made) is False
    assert user_of(services, made).identity.num_accepted == 0


def test_a_verification_that_was_performed_is_told_of_though_its_job_has_not_ended(services, call):
    register(services, call(Operation.REGISTER))
    made = call(Operation.VERIFY, sensitivity="2")

    def wait(client_id, job_id):
        assert settle(services, made)
        return services.jobs.find(client_id, job_id)

    outcome = perform(services, made, recordings(services, made), wait)
    assert (outcome.verified, outcome.confidence) == (True, 1.26)
    assert user_of(services, made).identity.num_accepted == 1


def test_a_verification_that_nobody_performed_leaves_no_record_and_counts_nowhere(services, call):
    register(services, call(Operation.REGISTER))
    made = call(Operation.VERIFY)
    with pytest.raises(Refused) as caught:
        perform(services, made, recordings(services, made), services.jobs.find)
    assert caught.value.status == 503
    assert services.verifications.store.verification(made.job_id) is None
    identity = user_of(services, made).identity
    assert (identity.num_accepted, identity.num_rejected, identity.num_verifications) == (0, 0, 0)


@pytest.mark.parametrize("operation", [Operation.UPDATE, Operation.VERIFY])
def test_a_user_that_is_deleted_in_mid_call_is_not_found(services, call, operation):
    register(services, call(Operation.REGISTER))
    made = call(operation)

    def wait(client_id, job_id):
        services.identities.delete_identity(made.actor, user_of(services, made).identity.id)
        return services.jobs.wait(client_id, job_id, 0.0)

    with pytest.raises(Refused) as caught:
        perform(services, made, recordings(services, made), wait)
    assert (caught.value.status, caught.value.text) == (400, f"user_id '{made.user_id}' not found")
    assert not services.jobs.media.contains(made.client.id, job_upload(made.job_id))


def test_a_model_without_calibration_gives_no_number(services, call):
    register(services, call(Operation.REGISTER))
    made = call(Operation.VERIFY)

    def wait(client_id, job_id):
        assert settle(services, made, llr=None)
        return services.jobs.find(client_id, job_id)

    with pytest.raises(Refused) as caught:
        perform(services, made, recordings(services, made), wait)
    assert (caught.value.status, caught.value.code) == (500, "HTTP 500")


def test_an_identity_without_a_voice_is_no_user_and_can_be_registered(services, call):
    made = call(Operation.REGISTER)
    new = NewIdentity(handle=made.user_id)
    identity = services.identities.add_identity(Actor(client_id=made.client.id), made.space, new)
    assert user_of(services, made) is None

    def wait(client_id, job_id):
        assert enrol(services, made, identity.id, handle=False)
        return services.jobs.find(client_id, job_id)

    perform(services, made, recordings(services, made), wait)
    assert user_of(services, made).identity.id == identity.id
