"""Calls with recordings of a user, over HTTP or a socket: checked, made jobs, waited for, answered or called off."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from api.errors import STATUS, away
from api.services import Services
from shared.dialects import voisentry
from shared.dialects.pyannoteai import PyannoteAi
from shared.dialects.voisentry import Operation, Refused, SocketCode, bad_request
from shared.domain.commands import Command, EnrolVoice, VerifyIdentity
from shared.domain.errors import (
    AudioTooLong,
    Canceled,
    DeadlineExceeded,
    DownloadFailed,
    DownloadTimeout,
    FileTooLarge,
    IdentityDeleted,
    IdentityTaken,
    InternalError,
    JobEnded,
    JobFailure,
    JobQuotaExceeded,
    MediaNotFound,
    MediaQuotaExceeded,
    ModelChanged,
    NoSpeech,
    NotAudio,
    NotFound,
    RequestError,
    SampleRefused,
    TooLittleSpeech,
    TooManyJobs,
    Unavailable,
    UrlNotAllowed,
    WorkerUnavailable,
)
from shared.domain.identities import (
    DEFAULT_ENROLMENT,
    Actor,
    Enrolment,
    Failure,
    Identity,
    NewVerification,
    RecordKind,
    Space,
    VerificationMode,
    Verified,
    new_id,
    recording_id,
)
from shared.domain.jobs import Job, JobSubmission, Status, new_job_id
from shared.domain.keys import Client
from shared.domain.media import job_upload
from shared.domain.sources import MediaUrl, Source

#: Longest that a call waits for its job, in seconds: clients give up after some thirty.
WAIT_S = 25.0
#: Seconds after which to try again, where no worker had time.
RETRY_S = 5
#: Seconds that a job which has done its work may take to say so.
_ENDING_S = 5.0

_LATE = "No worker had time for the recording; nothing was kept of it. Try again in a few seconds."
_UNCALIBRATED = (
    "The model that is served is not calibrated, so there is no confidence; serve one that is (make calibrate)."
)


def _codes(*failures: type[JobFailure]) -> frozenset[str]:
    return frozenset(failure.code for failure in failures)


#: Codes of failures of jobs, by what they are to the vendor.
_SPEECH = _codes(TooLittleSpeech, NoSpeech)
_AUDIO = _codes(NotAudio, AudioTooLong, FileTooLarge)
_DOWNLOAD = _codes(DownloadFailed, DownloadTimeout, UrlNotAllowed, MediaNotFound)
#: Codes of failures of several recordings, none of which is fit.
_UNFIT = _AUDIO | _DOWNLOAD | _codes(SampleRefused)
#: Errors after which the same request may be granted.
_BUSY = (TooManyJobs, JobQuotaExceeded, MediaQuotaExceeded, Unavailable)
#: Statuses of Timbre that the vendor has too.
_KEPT = (401, 405, 408, 413, 415, 429)

#: Waits for a job, of a client id and a job id, for as long as it sees fit.
Wait = Callable[[str, str], Job]

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Call:
    """Call of an operation that takes recordings."""

    client: Client
    space: Space
    operation: Operation
    user_id: str
    sensitivity: float = 0.0
    text_dependent: bool = True
    enable_pad: bool = False
    mode: VerificationMode = VerificationMode.REST
    #: Id of its job, by which its uploads are named.
    job_id: str = field(default_factory=new_job_id)
    request_id: str = ""

    @classmethod
    def parse(
        cls,
        client: Client,
        space: Space,
        operation: Operation,
        parameters: Mapping[str, str],
        **more: Any,
    ) -> "Call":
        """Return the call that parameters ask for; unknown ones are left out; raises Refused.

        Parameters
        ----------
        more : other fields of it.
        """
        of_verify = operation is Operation.VERIFY
        return cls(
            client=client,
            space=space,
            operation=operation,
            user_id=voisentry.user_id(parameters),
            sensitivity=voisentry.sensitivity(parameters) if of_verify else 0.0,
            text_dependent=not of_verify or voisentry.boolean(parameters, "text_dependent", default=True),
            enable_pad=of_verify and voisentry.boolean(parameters, "enable_pad", default=False),
            **more,
        )

    @property
    def actor(self) -> Actor:
        """The caller, for the audit log."""
        return Actor(client_id=self.client.id, key_id=self.client.key_id, request_id=self.request_id)

    @property
    def application_instance_id(self) -> str:
        """Id by which `application_status` is asked."""
        return voisentry.application_instance_id(self.job_id)

    @property
    def transaction_id(self) -> str:
        """Id of the transaction."""
        return voisentry.transaction_id(self.job_id)

    @property
    def names(self) -> dict[str, str]:
        """Ids that each answer has."""
        return {"application_instance_id": self.application_instance_id, "transaction_id": self.transaction_id}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of a call that was not refused."""

    #: Whether each recording was accepted, in their order.
    accepted: Sequence[bool]
    #: What a verification found; None for other operations.
    verified: bool | None = None
    confidence: float | None = None
    #: Whether the recording was heard before; None where nobody asked.
    is_copy: bool | None = None

    @property
    def found(self) -> dict[str, Any]:
        """Fields of an answer that only a verification has."""
        if self.verified is None:
            return {}
        attack = voisentry.pad_detected(self.is_copy)
        told = {"verified": self.verified, "confidence": self.confidence}
        return {**told, "pad_detected": attack} if attack else told


@dataclass(frozen=True)
class User:
    """Registered user: an identity whose enrolment is computed."""

    identity: Identity
    enrolment: Enrolment


def find_user(services: Services, space: Space, user_id: str) -> User | None:
    """Return a user of a group, however it was enrolled; None for one that is not registered."""
    identity = _identity(services, space, user_id)
    if identity is None:
        return None
    enrolment = services.enrolments.store.find_enrolment(identity.id, DEFAULT_ENROLMENT)
    return User(identity, enrolment) if enrolment and enrolment.computed_at else None


def _identity(services: Services, space: Space, user_id: str) -> Identity | None:
    with suppress(NotFound):
        return services.identities.identity(space, voisentry.handle_of(user_id))
    return None


def check(services: Services, call: Call) -> User | None:
    """Return the user of a call; raises Refused where it is not there, or is there already."""
    user = find_user(services, call.space, call.user_id)
    if call.operation is Operation.REGISTER and user is not None:
        raise voisentry.already_present(call.user_id)
    if call.operation is not Operation.REGISTER and user is None:
        raise voisentry.not_found(call.user_id)
    return user


def perform(services: Services, call: Call, recordings: Sequence[Source], wait: Wait | None = None) -> Outcome:
    """Return the outcome of a call. One that no worker has time for is called off, and nothing is kept of it.

    Parameters
    ----------
    recordings : of the user; uploads among them come first, are named by `job_upload`, and are removed.
    wait : for its job; by default on a thread of the API, `WAIT_S` at most.

    Raises
    ------
    Refused
    """
    steps = _verify if call.operation is Operation.VERIFY else _enrol
    patient = wait or (lambda client_id, job_id: services.waits.job(client_id, job_id, WAIT_S))
    try:
        with refusing(), _telling_who_is_gone(call):
            return steps(services, call, recordings, patient)
    finally:
        drop_uploads(services, call, recordings)


@contextmanager
def _telling_who_is_gone(call: Call) -> Iterator[None]:
    """Refuse a user that is deleted in mid-call as one that is not there. Its job and verification go with it."""
    try:
        yield
    except NotFound:
        if call.operation is Operation.REGISTER:
            raise
        raise voisentry.not_found(call.user_id) from None


def _enrol(services: Services, call: Call, recordings: Sequence[Source], wait: Wait) -> Outcome:
    """Register or update a user."""
    user = check(services, call)
    known = user.identity if user else _identity(services, call.space, call.user_id)
    command = EnrolVoice(
        source=recordings[0],
        further=tuple(recordings[1:]),
        space=call.space.id,
        identity=known.id if known else new_id(),
        handle=None if known else voisentry.handle_of(call.user_id),
        plain_wav=True,
    )
    services.enrolments.enrol_voice(call.actor, call.space, _submission(call, command), call.job_id)
    job = _ended(call, wait)
    # A worker that was taken for lost may still be at work: it comes too late from now on.
    called_off = not _has_succeeded(job) and services.enrolments.store.call_off_voice(call.job_id)
    if job is None:
        if called_off:
            _cancel(services, call)
            raise _late()
        job = _ended(call, lambda client_id, job_id: services.jobs.wait(client_id, job_id, _ENDING_S))
    return Outcome(accepted=_accepted(services, call, job, len(recordings)))


def _accepted(services: Services, call: Call, job: Job | None, num_recordings: int) -> list[bool]:
    """Return whether each recording of an enrolment was accepted; raises Refused where it failed.

    The records tell it: a job that has enrolled the voice may end later, or be lost. None is one that has not ended.
    """
    ids = [recording_id(call.job_id, number) for number in range(num_recordings)]
    accepted = [services.enrolments.store.sample(one) is not None for one in ids]
    if job is not None and not _has_succeeded(job) and not any(accepted):
        raise _failed(call, _reason(services, job), num_recordings)
    return accepted


def _verify(services: Services, call: Call, recordings: Sequence[Source], wait: Wait) -> Outcome:
    """Verify a user."""
    user = check(services, call)
    assert user is not None
    enrolment = services.verifications.comparable(user.identity, DEFAULT_ENROLMENT)
    least_llr = voisentry.least_llr(call.sensitivity)
    new = NewVerification(id=call.job_id, enrolment_id=enrolment.id, least_llr=least_llr, mode=call.mode)
    command = VerifyIdentity(
        verification=call.job_id,
        source=recordings[0],
        further=tuple(recordings[1:]),
        plain_wav=True,
        whole_space=call.enable_pad,
    )
    services.verifications.verify(call.actor, call.space, enrolment, new, _submission(call, command))
    job = _ended(call, wait)
    called_off = not _has_succeeded(job) and _call_off_verification(services, call, job)
    if job is None and called_off:
        _cancel(services, call)
        services.identities.store.remove(call.actor, RecordKind.VERIFICATION, call.job_id)
        raise _late()
    verification = services.verifications.verification(call.space, call.job_id)
    if verification.result is None:
        failure = verification.failure or _reason(services, job)
        raise _failed(call, failure, len(recordings))
    return _verified(call, verification.result, len(recordings), least_llr)


def _call_off_verification(services: Services, call: Call, job: Job | None) -> bool:
    reason = _reason(services, job) if job else Failure.of(Canceled(_LATE))
    return services.verifications.store.call_off_verification(call.job_id, reason)


def _verified(call: Call, result: Verified, num_recordings: int, least_llr: float) -> Outcome:
    llr = result.comparison.llr
    if llr is None:
        raise Refused(500, _UNCALIBRATED, SocketCode.EXCEPTION)
    return Outcome(
        accepted=[number not in result.unheard for number in range(num_recordings)],
        verified=result.decision == "accept",
        confidence=voisentry.confidence(llr, least_llr),
        is_copy=call.enable_pad and result.replay is not None,
    )


def _reason(services: Services, job: Job | None) -> Failure:
    """Return the reason for which a job ended without a result."""
    if job is None or job.output is None:
        return Failure.of(InternalError())
    code, message = services.jobs.reason(job)
    return Failure(code=code, message=message)


def _submission(call: Call, command: Command) -> JobSubmission:
    return JobSubmission(command=command, dialect=PyannoteAi.name, weight=call.client.weight)


def _ended(call: Call, wait: Wait) -> Job | None:
    """Return the job of a call once it has ended; None when it does not in time."""
    try:
        job = wait(call.client.id, call.job_id)
    except RedisError as error:
        log.error("a dependency is away", error=type(error).__name__)
        return None
    return job if job.status.terminal else None


def _has_succeeded(job: Job | None) -> bool:
    return job is not None and job.status is Status.SUCCEEDED


def _cancel(services: Services, call: Call) -> None:
    # What it was to do is called off already; where it runs on, it only wastes its time.
    with suppress(JobEnded, NotFound, RedisError):
        services.jobs.cancel(call.client.id, call.job_id)


def drop_uploads(services: Services, call: Call, recordings: Sequence[Source]) -> None:
    """Remove the uploads of a call whose job has ended, or was not made. Its worker does so too, perhaps later."""
    with suppress(RedisError, Unavailable, OSError):
        job = services.jobs.peek(call.client.id, call.job_id)
        if job is not None and not job.status.terminal:
            return
        for number, recording in enumerate(recordings):
            key = job_upload(call.job_id, number)
            if recording == MediaUrl(key):
                services.jobs.media.remove(call.client.id, key)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what services raise into the vendor's refusals."""
    try:
        yield
    except RequestError as error:
        raise refusal(error) from None
    except (RedisError, SQLAlchemyError, OSError) as error:
        raise refusal(away(error)) from None


def refusal(error: RequestError) -> Refused:
    """Return the refusal for an error of the services or of the API."""
    if isinstance(error, _BUSY):
        found = _busy(str(error))
    else:
        status = STATUS.get(type(error), 400)
        found = voisentry.refused(status if status in _KEPT else 400, str(error))
    found.cause = error.code
    return found


def _busy(text: str) -> Refused:
    return Refused(503, text, SocketCode.EXCEPTION, retry_after_s=RETRY_S)


def _late() -> Refused:
    return _busy(_LATE)


def _failed(call: Call, failure: Failure, num_recordings: int) -> Refused:
    """Return the refusal for a job that failed."""
    if failure.code in _UNFIT and num_recordings > 1:
        return Refused(400, voisentry.NO_VALID_SOURCES, SocketCode.AUDIO)
    told = next((told for codes, told in _TOLD if failure.code in codes), None)
    return told(call, failure.message) if told else Refused(500, failure.message, SocketCode.EXCEPTION)


#: Refusals by the codes of what a job failed with.
_TOLD: tuple[tuple[frozenset[str], Callable[[Call, str], Refused]], ...] = (
    (_SPEECH, lambda *_: Refused(400, voisentry.TOO_LITTLE_SPEECH, SocketCode.SPEECH, engine_code="422")),
    (_AUDIO, lambda _, message: Refused(415, message, SocketCode.AUDIO)),
    (_DOWNLOAD, lambda *_: bad_request(voisentry.DOWNLOAD_FAILED)),
    (_codes(IdentityTaken), lambda call, _: voisentry.already_present(call.user_id)),
    (_codes(IdentityDeleted), lambda call, _: voisentry.not_found(call.user_id)),
    (_codes(SampleRefused, ModelChanged), lambda _, message: bad_request(message)),
    (_codes(WorkerUnavailable, DeadlineExceeded, Canceled), lambda _, message: _busy(message)),
)
