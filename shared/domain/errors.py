"""Every error Timbre raises on purpose, as one tree.

    TimbreError
    |-- JobFailure              ends a job as `failed`; its sentence and code stand in the job's output
    |   |-- DownloadFailed, DownloadTimeout, UrlNotAllowed, MediaNotFound, FileTooLarge
    |   |-- NotAudio, AudioTooLong, ChannelNotFound, NoSpeech, TooLittleSpeech, SpeakerNotFound, SegmentsOutside
    |   |-- ModelNotAvailable, InvalidVoiceprint, NotCalibrated
    |   |-- SampleRefused, IdentityTaken, IdentityDeleted, ModelChanged, RecordingGone
    |   |-- LanguageNotInstalled, WrongPhrase
    |   |-- Canceled, DeadlineExceeded
    |   `-- WorkerLost, WorkerUnavailable, InternalError
    |-- RequestError            refuses what a client asks for; api/errors.py adds those that only HTTP knows
    |   |-- NotFound, JobEnded, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded, MediaQuotaExceeded
    |   |-- JobNotEnded, NoTurns, NoWebhook, DeliveryPending, ResultGone, SecretRotating
    |   |-- HandleTaken, WrongState, TooFewSamples, SampleUnfit, NotEnrolled, EnrolAgain, ConsentRequired
    |   `-- Unavailable
    |-- UnknownNameError        the command line names a client or key that does not exist
    |-- KeyEndedError           the command line wants to replace a key that works no more
    |-- ModelInstallError       a model could not be fetched, checked, converted or loaded
    |-- CalibrationError        a model could not be calibrated
    |-- TuningError             thresholds could not be tuned on somebody's conversations
    |-- SealBroken              stored ciphertext cannot be read, since the server secret is another
    |-- BackupRefused           a backup cannot be made there, or not be restored
    `-- SettingsError           the environment does not describe a runnable service
        `-- DatabaseRevisionWrong   the database has migrations that the release lacks, or lacks its own

Each class has a stable `code`, tells the user what to do in its message, and says whether trying the same thing
again can help. Messages never hold a URL's query, credentials, audio or vectors.
"""

from collections.abc import Collection, Iterator
from typing import ClassVar


class TimbreError(Exception):
    """Root of the tree; never raised itself."""

    code: ClassVar[str]
    #: Whether the same request may succeed later, unchanged.
    retryable: ClassVar[bool] = False


class JobFailure(TimbreError):
    """Work on a job cannot succeed; the message becomes `output.error`."""

    #: Whether the fault is the service's own and may pass: the job is handed back, as long as it has attempts left.
    passing: ClassVar[bool] = False


class DownloadFailed(JobFailure):
    """The recording's address did not give a file."""

    code = "download_failed"
    retryable = True


class DownloadTimeout(JobFailure):
    """The recording did not arrive in time."""

    code = "download_timeout"
    retryable = True


class UrlNotAllowed(JobFailure):
    """The address is not one this service may open."""

    code = "url_not_allowed"


class MediaNotFound(JobFailure):
    """A `media://` source was never uploaded, or is gone."""

    code = "media_not_found"

    @classmethod
    def of(cls, key: str) -> "MediaNotFound":
        """Return the error for an upload of that name."""
        return cls(
            f"Nothing is stored under media://{key}; PUT the file to the address that POST /v1/media/input gives."
        )


class FileTooLarge(JobFailure):
    """The file has more bytes than allowed."""

    code = "file_too_large"


class NotAudio(JobFailure):
    """The file holds no audio in a format that is accepted, or is a web page."""

    code = "not_audio"


class AudioTooLong(JobFailure):
    """The recording lasts longer than allowed."""

    code = "audio_too_long"


class ChannelNotFound(JobFailure):
    """The recording lacks the channel that the job asks for."""

    code = "channel_not_found"

    @classmethod
    def of(cls, num_channels: int) -> "ChannelNotFound":
        """Return the error for a recording of so many channels."""
        if num_channels == 1:
            return cls("The recording has one channel; leave `channel` out, or send 0.")
        return cls(
            f"The recording has {num_channels} channels; `channel` must be a number from 0 to {num_channels - 1}."
        )


class NoSpeech(JobFailure):
    """The recording has no speech."""

    code = "no_speech"


class TooLittleSpeech(JobFailure):
    """The speaker says too little for a voiceprint."""

    code = "too_little_speech"

    def __init__(self, message: str | None, net_speech_s: float) -> None:
        super().__init__(message)
        self.net_speech_s = net_speech_s


class SpeakerNotFound(JobFailure):
    """The recording has no speaker of the label that was asked for."""

    code = "speaker_not_found"


class SegmentsOutside(JobFailure):
    """A segment that was asked for ends behind the recording."""

    code = "segments_outside"


class ModelNotAvailable(JobFailure):
    """The job asks for a model that this worker does not run."""

    code = "model_not_available"


class InvalidVoiceprint(JobFailure):
    """A voiceprint string is truncated, foreign, damaged, newer than this release, or of another model."""

    code = "invalid_voiceprint"


class NotCalibrated(JobFailure):
    """The request needs a confidence, and the model that runs has none."""

    code = "not_calibrated"


class SampleRefused(JobFailure):
    """The recording does not meet what the model requires of a sample, or is unlike the other samples."""

    code = "sample_refused"
    #: Ids of those samples of several that are unlike the others.
    samples: Collection[str] = ()


class IdentityTaken(JobFailure):
    """The voice was to be enrolled as a new identity, and there is one of that name."""

    code = "identity_taken"


class IdentityDeleted(JobFailure):
    """The identity, sample or enrolment that the job is about was deleted."""

    code = "identity_deleted"

    def __init__(self) -> None:
        super().__init__("What the job is about was deleted: the identity, its space, the enrolment or the sample.")


class ModelChanged(JobFailure):
    """The enrolment was made by a model that this worker does not run."""

    code = "model_changed"

    @classmethod
    def of(cls, made_by: str, served: str) -> "ModelChanged":
        """Return the error for an enrolment of one model where another is served."""
        return cls(
            f"The enrolment was made by {made_by}, and {served} is served here. Recompute it where its recordings are "
            "kept (POST /v1/identities/IDENTITY/enrolments/ENROLMENT/recompute), or enrol the identity again."
        )


class RecordingGone(JobFailure):
    """A sample's recording is not kept, so it cannot be heard again."""

    code = "recording_gone"


class LanguageNotInstalled(JobFailure):
    """The words of a recording were asked for, and no speech recogniser of that language is installed."""

    code = "language_not_installed"


class WrongPhrase(JobFailure):
    """The recording does not say the phrase, or the words in their order, that it must say."""

    code = "wrong_phrase"


class Canceled(JobFailure):
    """The client canceled the job."""

    code = "canceled"


class DeadlineExceeded(JobFailure):
    """The job was not finished in time."""

    code = "deadline_exceeded"
    retryable = True


class WorkerLost(JobFailure):
    """The job's worker, or its decoder, died each time it was tried."""

    code = "worker_lost"
    passing = True


class WorkerUnavailable(JobFailure):
    """The worker lacks something that the job needs: disk, memory, processes, or the store of uploads."""

    code = "worker_unavailable"
    retryable = True
    passing = True


class InternalError(JobFailure):
    """A fault of the service itself."""

    code = "internal_error"
    retryable = True

    def __init__(self) -> None:
        super().__init__("An error occurred inside the service; try again, and report the id if it persists.")


class RequestError(TimbreError):
    """A client's request cannot be granted."""


class NotFound(RequestError):
    """There is no such thing, or it belongs to another client."""

    code = "not_found"

    @classmethod
    def of(cls, kind: str) -> "NotFound":
        """Return the error for a record of a kind."""
        return cls(f"There is no such {kind}; it may have been deleted.")


class JobEnded(RequestError):
    """The job has ended already, so there is nothing to cancel."""

    code = "job_ended"


class JobNotEnded(RequestError):
    """The job has not ended, so it has no turns yet."""

    code = "job_not_ended"
    retryable = True


class NoTurns(RequestError):
    """The job has no turns: it did not succeed, or is of a kind that gives none."""

    code = "no_turns"


class IdempotencyMismatch(RequestError):
    """The Idempotency-Key was used before, with another request."""

    code = "idempotency_mismatch"


class TooManyJobs(RequestError):
    """The client has too many unfinished jobs."""

    code = "too_many_jobs"
    retryable = True


class JobQuotaExceeded(RequestError):
    """The client's jobs and results hold so many bytes that there is no room for another."""

    code = "job_quota_exceeded"
    retryable = True


class MediaQuotaExceeded(RequestError):
    """The client's uploads hold so many bytes that there is no room for another."""

    code = "media_quota_exceeded"
    retryable = True

    @classmethod
    def of(cls, held: int, most: int) -> "MediaQuotaExceeded":
        """Return the error for a client whose uploads hold so many of at most so many bytes."""
        return cls(
            f"Your uploads hold {held} of {most} bytes, so there is no room for this one. Remove some: GET /v1/media "
            "lists them, and DELETE /v1/media/KEY removes one. Or wait until they expire, or ask the operator for more "
            "(TIMBRE_MAX_MEDIA_BYTES)."
        )


class NoWebhook(RequestError):
    """The job asked for no webhook, or has not ended yet."""

    code = "no_webhook"


class DeliveryPending(RequestError):
    """The webhook still has tries to come."""

    code = "delivery_pending"
    retryable = True


class ResultGone(RequestError):
    """The result was deleted, so it cannot be delivered again."""

    code = "result_gone"


class SecretRotating(RequestError):
    """The webhook secret was rotated a moment ago and both still sign."""

    code = "secret_rotating"
    retryable = True


class HandleTaken(RequestError):
    """Another record has that handle already."""

    code = "handle_taken"

    @classmethod
    def of(cls, kind: str, handle: str) -> "HandleTaken":
        """Return the error for a record of a kind."""
        return cls(f"The handle {handle!r} is taken by another {kind}; take another handle, or use that {kind}.")


class WrongState(RequestError):
    """The record is not in a state that allows this: computed already, say, or not heard yet."""

    code = "wrong_state"


class TooFewSamples(RequestError):
    """The enrolment has fewer samples than it must have."""

    code = "too_few_samples"


class SampleUnfit(RequestError):
    """The sample does not meet what the model requires."""

    code = "sample_unfit"


class NotEnrolled(RequestError):
    """The identity has no computed enrolment to compare with."""

    code = "not_enrolled"


class EnrolAgain(RequestError):
    """The identity was enrolled under a model that is not served any more."""

    code = "enrol_again"


class ConsentRequired(RequestError):
    """The operator requires consent to be stored with each identity, and none was given."""

    code = "consent_required"


class Unavailable(RequestError):
    """A part the service needs (Redis, the database, the disk) is away."""

    code = "unavailable"
    retryable = True


class UnknownNameError(TimbreError):
    """The command line names a client or an API key that does not exist."""

    code = "unknown_name"


class KeyEndedError(TimbreError):
    """The command line wants to replace an API key that has ended, by itself or with its client."""

    code = "key_ended"


class ModelInstallError(TimbreError):
    """A model could not be fetched, checked, converted or loaded."""

    code = "model_install_failed"


class CalibrationError(TimbreError):
    """A model could not be calibrated; it works without confidences."""

    code = "calibration_failed"


class TuningError(TimbreError):
    """Thresholds cannot be tuned on these conversations: the manifest, an RTTM file or a recording is wrong."""

    code = "tuning_failed"


class SealBroken(TimbreError):
    """Stored ciphertext was sealed under another server secret, or for another context."""

    code = "seal_broken"

    def __init__(self) -> None:
        super().__init__("What is stored was sealed under another server secret; restore that one (TIMBRE_SECRET).")


class BackupRefused(TimbreError):
    """A backup cannot be made there, or cannot be restored."""

    code = "backup_refused"


class SettingsError(TimbreError):
    """A `TIMBRE_*` variable is unknown, malformed or missing."""

    code = "settings_invalid"


class DatabaseRevisionWrong(SettingsError):
    """The database has migrations that this release does not know, or lacks some that it needs."""

    code = "database_revision_wrong"


def concrete_errors(root: type[TimbreError] = TimbreError) -> Iterator[type[TimbreError]]:
    """Yield every class of the tree that carries a code."""
    for cls in root.__subclasses__():
        if "code" in cls.__dict__:
            yield cls
        yield from concrete_errors(cls)
