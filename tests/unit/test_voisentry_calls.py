"""Refusals of voice biometrics users: what each failure of a job, and each error of a service, is to the vendor."""

import pytest
from redis.exceptions import ConnectionError as RedisAway

from api.dialects.voisentry.calls import Call, _failed, refusal, refusing
from api.errors import STATUS, RequestTooLarge, UnsupportedMediaType
from shared.dialects import voisentry
from shared.dialects.voisentry import Operation, Refused, SocketCode
from shared.domain.errors import (
    AudioTooLong,
    Canceled,
    ConsentRequired,
    DeadlineExceeded,
    DownloadFailed,
    DownloadTimeout,
    EnrolAgain,
    FileTooLarge,
    IdentityDeleted,
    IdentityTaken,
    InternalError,
    JobFailure,
    JobQuotaExceeded,
    MediaNotFound,
    MediaQuotaExceeded,
    ModelChanged,
    NoSpeech,
    NotAudio,
    NotCalibrated,
    RequestError,
    SampleRefused,
    TooLittleSpeech,
    TooManyJobs,
    Unavailable,
    UrlNotAllowed,
    WorkerLost,
    WorkerUnavailable,
    concrete_errors,
)
from shared.domain.identities import Failure, Space, now
from shared.domain.keys import Client

SPACE = Space(id="p", client_id="c", handle="group", created_at=now())
CALL = Call.parse(Client("c", "acme"), SPACE, Operation.VERIFY, {"user_id": "Bob", "filename": "ignored"})
#: Failure of one recording -> status, code of the error object, code of the socket.
FAILURES: dict[type[JobFailure], tuple[int, str, int]] = {
    TooLittleSpeech: (400, "422", SocketCode.SPEECH),
    NoSpeech: (400, "422", SocketCode.SPEECH),
    NotAudio: (415, "HTTP 415", SocketCode.AUDIO),
    AudioTooLong: (415, "HTTP 415", SocketCode.AUDIO),
    FileTooLarge: (415, "HTTP 415", SocketCode.AUDIO),
    DownloadFailed: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    DownloadTimeout: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    UrlNotAllowed: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    MediaNotFound: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    IdentityTaken: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    IdentityDeleted: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    SampleRefused: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    ModelChanged: (400, "HTTP 400", SocketCode.BAD_REQUEST),
    WorkerUnavailable: (503, "HTTP 503", SocketCode.EXCEPTION),
    DeadlineExceeded: (503, "HTTP 503", SocketCode.EXCEPTION),
    Canceled: (503, "HTTP 503", SocketCode.EXCEPTION),
    WorkerLost: (500, "HTTP 500", SocketCode.EXCEPTION),
    InternalError: (500, "HTTP 500", SocketCode.EXCEPTION),
    NotCalibrated: (500, "HTTP 500", SocketCode.EXCEPTION),
}
BUSY = (TooManyJobs, JobQuotaExceeded, MediaQuotaExceeded, Unavailable)


def failed(failure: type[JobFailure], num_recordings: int = 1) -> Refused:
    return _failed(CALL, Failure(code=failure.code, message="Why."), num_recordings)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda one: one.code)
def test_a_failure_has_status_and_codes_of_the_vendor(failure: type[JobFailure]) -> None:
    refused = failed(failure)
    assert (refused.status, refused.code, refused.socket_code) == FAILURES[failure]
    assert (refused.retry_after_s is not None) == (refused.status == 503)


@pytest.mark.parametrize(
    "failure", [one for one in FAILURES if FAILURES[one][0] in (400, 415)], ids=lambda one: one.code
)
def test_several_recordings_none_of_which_fits_are_no_valid_files(failure: type[JobFailure]) -> None:
    refused = failed(failure, 2)
    if failure in (TooLittleSpeech, NoSpeech, IdentityTaken, IdentityDeleted, ModelChanged):
        assert refused.told == failed(failure).told
    else:
        assert (refused.status, refused.told) == (400, "Bad Request: No valid files to read.")


def test_a_user_that_another_call_registered_or_deleted_is_told_as_usual() -> None:
    assert failed(IdentityTaken).told == "Bad Request: user_id 'Bob' is already present"
    assert failed(IdentityDeleted).told == "Bad Request: user_id 'Bob' not found"
    assert failed(DownloadFailed).told == "Bad Request: Exception downloading audio."


@pytest.mark.parametrize("error", [*concrete_errors(RequestError)], ids=lambda one: one.code)
def test_no_error_of_the_services_is_one_of_the_server(error: type[RequestError]) -> None:
    refused = refusal(error.__new__(error, ("field", "Why.")))
    assert refused.status == 503 if error in BUSY else 400 <= refused.status < 500
    assert (refused.retry_after_s is not None) == (error in BUSY)
    assert refused.status in (400, 401, 405, 408, 413, 415, 429, 503)


def test_refusals_that_clients_can_mend_are_bad_requests_with_the_sentence() -> None:
    for kind in (ConsentRequired, EnrolAgain):
        assert refusal(kind("State it first.")).told == "Bad Request: State it first."
    for large in (RequestTooLarge, UnsupportedMediaType):
        assert refusal(large("x")).socket_code == SocketCode.AUDIO
        assert refusal(large("x")).status == STATUS[large]


def test_storage_that_is_away_is_a_refusal_for_now() -> None:
    with pytest.raises(Refused) as caught, refusing():
        raise RedisAway("secret address")
    assert (caught.value.status, caught.value.retry_after_s) == (503, 5)
    assert "secret" not in caught.value.text


def test_what_is_asked_of_verifications_alone_is_nothing_to_others() -> None:
    given = {"user_id": "Bob", "sensitivity": "99", "text_dependent": "maybe", "enable_pad": "true"}
    call = Call.parse(CALL.client, SPACE, Operation.REGISTER, given)
    assert (call.sensitivity, call.text_dependent, call.enable_pad) == (0.0, True, False)


def test_the_ids_of_a_call_are_those_of_its_job() -> None:
    assert CALL.names == {
        "application_instance_id": voisentry.application_instance_id(CALL.job_id),
        "transaction_id": voisentry.transaction_id(CALL.job_id),
    }
