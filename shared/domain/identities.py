"""Lasting identities as values: space, identity, sample, enrolment, verification, and what is kept of each."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, Literal, TypeVar

from shared.domain.audio import Channels
from shared.domain.errors import JobFailure
from shared.domain.fingerprints import Fingerprint, find_copy
from shared.domain.quality import Quality
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint

#: Space of a client that names none.
DEFAULT_SPACE = "default"
#: Enrolment of an identity, where none is named.
DEFAULT_ENROLMENT = "main"
#: Longest name or other free text, in characters.
MAX_ALIAS_LENGTH = 100
#: A client's own name for a thing; the form of an id is left to ids.
_HANDLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CURSOR = re.compile(r"([0-9]{1,18})-([0-9a-f-]{36})")

Item = TypeVar("Item")


def new_id() -> str:
    """Return a fresh id of a record, a random UUID."""
    return str(uuid.uuid4())


def recording_id(job_id: str, number: int) -> str:
    """Return the id of the sample that a job makes of one of its recordings, counted from 0."""
    return str(uuid.uuid5(uuid.UUID(job_id), f"recording {number}"))


def is_id(text: str) -> bool:
    """Tell whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


def is_handle(text: str) -> bool:
    """Tell whether a client may choose a text as a handle.

    It has 1 to 128 letters, digits and `._@+-`, and not the form of an id.
    """
    return _HANDLE.fullmatch(text) is not None and not is_id(text)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Caller of a verb, for the audit log: client, its API key's id, and the request."""

    client_id: str
    key_id: str = ""
    request_id: str = ""


class RecordKind(StrEnum):
    """Kind of a record, in the words of audit log and usage."""

    SPACE = "space"
    IDENTITY = "identity"
    SAMPLE = "sample"
    ENROLMENT = "enrolment"
    VERIFICATION = "verification"
    SEARCH = "search"
    #: Voice that was enrolled by a single call, and is not kept.
    VOICEPRINT = "voiceprint"


class SampleState(StrEnum):
    """State of a sample."""

    #: Its file is still to come.
    AWAITING_FILE = "awaitingFile"
    #: A job is to hear it, or hears it.
    PENDING = "pending"
    #: Heard: it can be enrolled.
    READY = "ready"
    #: It could not be heard, or was refused; the failure says why.
    FAILED = "failed"


class EnrolmentKind(StrEnum):
    """Kind of an enrolment."""

    #: Computed once, and never changed.
    ONCE = "once"
    #: Computed anew with each further sample.
    GROWING = "growing"


class EnrolmentState(StrEnum):
    """State of an enrolment."""

    #: Samples can be added and removed.
    OPEN = "open"
    #: Its samples are settled, and a job computes the voiceprint.
    COMPUTING = "computing"
    COMPUTED = "computed"


class VerificationState(StrEnum):
    """State of a verification."""

    PERFORMING = "performing"
    PERFORMED = "performed"
    FAILED = "failed"


class VerificationMode(StrEnum):
    """Way in which a verification's recording came."""

    REST = "restApi"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, kw_only=True)
class Space:
    """Space of a client: identities, samples and verifications meet only inside of one."""

    id: str
    client_id: str
    handle: str
    alias: str | None = None
    #: Seconds for which the recordings of samples are kept; None: not beyond their hearing.
    keep_recordings_s: int | None = None
    #: Legal basis on which voices are enrolled here, where requests cannot carry consent.
    consent_basis: str | None = None
    created_at: datetime
    num_identities: int = 0


@dataclass(frozen=True, kw_only=True)
class Consent:
    """Consent of a person to being enrolled."""

    given_at: datetime
    #: Where the proof of it lies, in the client's own words.
    reference: str
    #: What was agreed to.
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Name:
    """Id, handle and alias by which one record shows another."""

    id: str
    handle: str
    alias: str | None = None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A person in a space."""

    id: str
    space_id: str
    #: Handle of the space.
    space: str
    handle: str
    alias: str | None = field(default=None, repr=False)
    consent: Consent | None = field(default=None, repr=False)
    #: Time after which it is removed.
    expires_at: datetime | None = None
    created_at: datetime
    num_samples: int = 0
    num_enrolments: int = 0
    num_verifications: int = 0
    #: Verifications that accepted and rejected it, ever, and the time of the last one; errors do not count.
    num_accepted: int = 0
    num_rejected: int = 0
    verified_at: datetime | None = None
    #: Models of its computed enrolments.
    model_ids: tuple[str, ...] = ()

    @property
    def name(self) -> Name:
        """Return the names of it."""
        return Name(id=self.id, handle=self.handle, alias=self.alias)


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Voice that a worker heard in a recording, its dominant speaker's, and how well it can be heard."""

    voiceprint: Voiceprint = field(repr=False)
    #: None for a voiceprint string that a client brought.
    quality: Quality | None
    #: Length of the recording and speech in it, of everybody, in seconds.
    audio_s: float
    speech_s: float
    #: Sample rate of the file; 0 where it is not known.
    sample_rate_hz: int = 0
    #: Label of the dominant speaker, and channels of the file; None for a voiceprint string.
    dominant_speaker: str | None = None
    channels: Channels | None = None
    warning: str | None = None

    @property
    def net_speech_s(self) -> float:
        """Speech of the dominant speaker, in seconds."""
        return self.voiceprint.capture.net_speech_s


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Traces by which a copy of a recording is recognised."""

    #: SHA-256 of the decoded sound.
    digest: bytes = field(repr=False)
    fingerprint: Fingerprint = field(repr=False)

    def is_copy_of(self, known: "Trace") -> bool:
        """Tell whether it is of the same sound, or of one that was encoded anew, cut or changed a little."""
        return self.digest == known.digest or find_copy(self.fingerprint, [known.fingerprint]) is not None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Reason for which a record has no result, as a job tells it."""

    code: str
    message: str

    @classmethod
    def of(cls, failure: JobFailure) -> "Failure":
        """Return the reason that a job failed for."""
        return cls(code=failure.code, message=str(failure))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """A recording given for enrolment, or to be verified."""

    id: str
    space_id: str
    handle: str
    alias: str | None = field(default=None, repr=False)
    state: SampleState
    #: None until it is said whose it is.
    identity: Name | None
    #: Job that hears it.
    job_id: str | None
    heard: Heard | None = field(default=None, repr=False)
    failure: Failure | None = None
    #: Time until which the recording itself is kept; None where it is not.
    kept_until: datetime | None = None
    created_at: datetime
    #: Time at which its file was there.
    uploaded_at: datetime | None = None
    num_enrolments: int = 0
    num_verifications: int = 0

    @property
    def name(self) -> Name:
        """Return the names of it."""
        return Name(id=self.id, handle=self.handle, alias=self.alias)


@dataclass(frozen=True, kw_only=True, eq=False)
class Enrolment:
    """Model of an identity's voice, made of samples; once computed it has a voiceprint."""

    id: str
    space_id: str
    identity: Name
    handle: str
    alias: str | None = field(default=None, repr=False)
    kind: EnrolmentKind
    #: Whether recordings accepted at `strictest` are added to it; growing ones only.
    adaptive: bool = False
    state: EnrolmentState
    #: Model in the words of the request that made it; empty where it named none.
    model: str
    #: Model of the voiceprint, `handle@revision`; None until it is computed.
    model_id: str | None
    min_samples: int = 1
    #: Grows by one each time the voiceprint is computed; 0 before.
    version: int = 0
    #: Job that computes it, or did.
    job_id: str | None = None
    voiceprint: Voiceprint | None = field(default=None, repr=False)
    #: What the last computation warned of, such as samples unlike the others.
    warning: str | None = None
    #: Why the last computation failed.
    failure: Failure | None = None
    #: Length of its samples and speech in them, in seconds.
    audio_s: float = 0.0
    speech_s: float = 0.0
    num_samples: int = 0
    num_verifications: int = 0
    created_at: datetime
    computed_at: datetime | None = None

    @property
    def name(self) -> Name:
        """Return the names of it."""
        return Name(id=self.id, handle=self.handle, alias=self.alias)

    @property
    def computable(self) -> bool:
        """Readiness to be computed: it has samples enough, and is open."""
        return self.state is EnrolmentState.OPEN and self.num_samples >= self.min_samples


@dataclass(frozen=True, kw_only=True)
class Part:
    """Sample of an enrolment, with the voice that was heard in it."""

    sample: Name
    heard: Heard = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """Voiceprint of several samples, and what was odd about them."""

    voiceprint: Voiceprint = field(repr=False)
    warning: str | None = None


class ReplayKind(StrEnum):
    """Kind of a copy."""

    #: The same decoded sound.
    SAME = "same"
    #: The same sound, encoded anew, cut or changed a little.
    COPY = "copy"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Recording heard before of which another is a copy."""

    kind: ReplayKind
    #: Sample or verification.
    of: RecordKind
    id: str
    heard_at: datetime


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownTrace:
    """Trace of a recording that was heard before."""

    of: RecordKind
    id: str
    heard_at: datetime
    trace: Trace = field(repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Verified:
    """Result of a verification."""

    comparison: Comparison
    operating_point: OperatingPoint
    heard: Heard = field(repr=False)
    #: None where no copy was found.
    replay: Replay | None
    #: Id of the sample that was added to an adaptive enrolment; None where none was.
    added_sample: str | None = None
    #: Least log-likelihood ratio of acceptance, in place of the operating point's.
    least_llr: float | None = None
    #: Recordings of several that could not be heard: why, by their number from 0.
    unheard: Mapping[int, Failure] = field(default_factory=dict)

    @property
    def decision(self) -> Literal["accept", "reject"] | None:
        """The decision; None where the model is not calibrated."""
        if self.least_llr is None or self.comparison.llr is None:
            return self.comparison.decision(self.operating_point)
        return "accept" if self.comparison.llr >= self.least_llr else "reject"


@dataclass(frozen=True, kw_only=True, eq=False)
class Verification:
    """Verification of a recording, or a sample, against an identity's enrolment."""

    id: str
    space_id: str
    handle: str
    alias: str | None = field(default=None, repr=False)
    state: VerificationState
    mode: VerificationMode = VerificationMode.REST
    #: None once it is deleted.
    identity: Name | None
    enrolment: Name | None
    #: None for a recording that was no sample, and once the sample is deleted.
    sample: Name | None
    operating_point: OperatingPoint = OperatingPoint.BALANCED
    #: Least log-likelihood ratio of acceptance, in place of the operating point's.
    least_llr: float | None = None
    #: Model in the words of the enrolment.
    model: str
    model_id: str
    job_id: str
    result: Verified | None = field(default=None, repr=False)
    failure: Failure | None = None
    created_at: datetime
    performed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Use:
    """Use that is counted: what was made, under which model, of how many seconds of sound."""

    kind: RecordKind
    model_id: str
    subject_id: str
    #: None for what no space holds.
    space_id: str | None
    seconds: float
    actor: Actor


@dataclass(frozen=True, kw_only=True)
class UsageRecord:
    """Use that was counted; it outlives what it counts."""

    id: str
    kind: RecordKind
    model_id: str
    space_id: str | None
    #: Enrolment, verification or sample, which may be deleted since.
    subject_id: str
    seconds: float
    client_id: str
    key_id: str
    at: datetime


class Action(StrEnum):
    """Action of the audit log."""

    CREATE = "create"
    CHANGE = "change"
    ADD = "add"
    REMOVE = "remove"
    COMPUTE = "compute"
    EXPORT = "export"
    VERIFY = "verify"
    SEARCH = "search"
    DELETE = "delete"
    EXPIRE = "expire"


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """Entry of the audit log: who did what to which record, and when; no voices and no names."""

    id: str
    at: datetime
    client_id: str
    key_id: str
    request_id: str
    action: Action
    kind: RecordKind
    record_id: str


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Receipt of a deletion: the record, and how many of each kind went with it."""

    id: str
    deleted_at: datetime
    counts: Mapping[RecordKind, int]
    #: Samples whose recordings are kept and must go too.
    recordings: Sequence[str] = field(default=(), repr=False)
    #: Jobs about it, as (client id, job id), which must go too.
    jobs: Sequence[tuple[str, str]] = field(default=(), repr=False)


@dataclass(frozen=True)
class RecordCursor:
    """Place in a list of records, newest first: behind one that was created at so many microseconds since 1970."""

    created_us: int
    id: str

    @classmethod
    def parse(cls, text: str) -> "RecordCursor":
        """Parse the text form; raises ValueError."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise ValueError("Take it from the page before as it is, or start from the newest again.")
        return cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.created_us}-{self.id}"


class Order(StrEnum):
    """Order of a list."""

    NEWEST = "newest"
    OLDEST = "oldest"
    HANDLE = "handle"
    COMPUTED = "computed"


@dataclass(frozen=True, kw_only=True)
class RecordQuery:
    """Page of a list of records: so many, behind a cursor or after skipping some, of those that match."""

    take: int
    skip: int = 0
    #: Of lists in the order `NEWEST` only.
    cursor: RecordCursor | None = None
    order: Order = Order.NEWEST
    #: Part of the handle or alias.
    search: str | None = None
    #: Times of creation, both inclusive.
    after: datetime | None = None
    before: datetime | None = None
    identity_id: str | None = None
    enrolment_id: str | None = None
    #: Identities that have no computed enrolment of this model: they must be enrolled again.
    without_model: str | None = None
    #: Of usage.
    kind: RecordKind | None = None


@dataclass(frozen=True)
class RecordPage(Generic[Item]):
    """A page of records; `total` counts those that match on all pages."""

    items: Sequence[Item]
    cursor: RecordCursor | None
    total: int


@dataclass(frozen=True, kw_only=True)
class NewIdentity:
    """Identity to be made."""

    #: None: its id.
    handle: str | None = None
    alias: str | None = field(default=None, repr=False)
    consent: Consent | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class NewSample:
    """Sample to be made."""

    id: str
    handle: str | None = None
    alias: str | None = field(default=None, repr=False)
    #: Id of its identity, if that is known already.
    identity_id: str | None = None
    #: Job that hears it; None while its file is to come.
    job_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewEnrolment:
    """Enrolment to be made."""

    identity_id: str
    handle: str = DEFAULT_ENROLMENT
    alias: str | None = field(default=None, repr=False)
    kind: EnrolmentKind = EnrolmentKind.GROWING
    adaptive: bool = False
    model: str = ""
    min_samples: int = 1


@dataclass(frozen=True, kw_only=True)
class HeardSample:
    """Sample to be made of a recording that was heard."""

    id: str
    heard: Heard = field(repr=False)
    trace: Trace = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class NewVoice:
    """Voice to be enrolled by recordings that were heard."""

    space_id: str
    identity_id: str
    #: Handle of the identity, which is made; None: it is there already.
    handle: str | None
    samples: Sequence[HeardSample] = field(repr=False)
    #: Time until which the recordings themselves are kept; None where they are not.
    kept_until: datetime | None
    #: Samples of the enrolment that count, the newest ones.
    most_samples: int = 50


@dataclass(frozen=True, kw_only=True)
class Unsettled:
    """Record that waits for its job."""

    kind: RecordKind
    id: str
    client_id: str
    job_id: str
    since: datetime


@dataclass(frozen=True, kw_only=True)
class NewVerification:
    """Verification to be made."""

    #: Id of its job too.
    id: str
    enrolment_id: str
    handle: str | None = None
    alias: str | None = field(default=None, repr=False)
    sample_id: str | None = None
    operating_point: OperatingPoint = OperatingPoint.BALANCED
    #: Least log-likelihood ratio of acceptance, in place of the operating point's.
    least_llr: float | None = None
    mode: VerificationMode = VerificationMode.REST


@dataclass(frozen=True, kw_only=True)
class GalleryRow:
    """Voiceprint of an identity, to be searched."""

    enrolment_id: str
    version: int
    identity: Name
    voiceprint: Voiceprint = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Requirements on a sample; each model has its own."""

    #: Speech of the dominant speaker, in seconds.
    min_speech_s: float = 3.0
    min_snr_db: float = 5.0
    #: Lead of the dominant speaker over the next, as a share of all speech.
    min_lead: float = 0.1
    min_sample_rate_hz: int = 8000

    def require_speech(self, seconds: float) -> "Requirements":
        """Return these requirements with another least speech."""
        return replace(self, min_speech_s=seconds)

    def too_little(self, net_speech_s: float) -> str:
        """Return the sentence on a speaker who talks for less than the least speech."""
        return f"its speaker talks for {net_speech_s:.1f} s, at least {self.min_speech_s:g} s are needed"

    def unmet(self, heard: Heard) -> list[str]:
        """Return a sentence for each requirement that a sample does not meet, with by how much."""
        found = []
        if heard.net_speech_s < self.min_speech_s:
            found.append(self.too_little(heard.net_speech_s))
        if heard.voiceprint.capture.snr_db < self.min_snr_db:
            found.append(
                f"it is too noisy: {heard.voiceprint.capture.snr_db:.1f} dB, at least {self.min_snr_db:g} dB are needed"
            )
        if heard.quality and heard.quality.lead < self.min_lead:
            found.append(
                f"two people speak for nearly the same time: the first leads by {heard.quality.lead:.0%} of the speech "
                f"in place of {self.min_lead:.0%}"
            )
        if 0 < heard.sample_rate_hz < self.min_sample_rate_hz:
            found.append(
                f"its sample rate is {heard.sample_rate_hz} Hz, at least {self.min_sample_rate_hz} Hz are needed"
            )
        return found


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
