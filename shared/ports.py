"""Ports: what use cases ask of the outside; `shared/adapters` answers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import BinaryIO, Protocol

from shared.domain.commands import Lane
from shared.domain.delivery import Delivery, DeliveryLog, LogEntry, Next, Senders
from shared.domain.identities import (
    Action,
    Actor,
    AuditEntry,
    Enrolment,
    Failure,
    GalleryRow,
    Heard,
    Identity,
    KnownTrace,
    NewEnrolment,
    NewIdentity,
    NewSample,
    NewVerification,
    NewVoice,
    Part,
    Pooled,
    RecordKind,
    RecordPage,
    RecordQuery,
    Removal,
    Sample,
    Space,
    Trace,
    Unsettled,
    UsageRecord,
    Use,
    Verification,
    Verified,
)
from shared.domain.jobs import (
    Backlog,
    Claim,
    Ended,
    Ending,
    IdempotencyKey,
    Job,
    JobPage,
    JobSubmission,
    PageQuery,
    Reaped,
    Status,
    UnfinishedJob,
    Withdrawal,
)
from shared.domain.media import MediaPage
from shared.domain.sources import S3Url


class JobStore(Protocol):
    """Job records: every method is one atomic step, and no other record of a job counts."""

    def create(self, job_id: str, client_id: str, submission: JobSubmission) -> Job:
        """Store a new job as created; under an idempotency key used before, return the job it made then."""

    def find(self, client_id: str, job_id: str) -> Job | None:
        """Return a client's job; None when unknown, expired or another client's."""

    def wait(self, client_id: str, job_id: str, seconds: float) -> Job | None:
        """Return a client's job once it has ended, or as it stands after so many seconds; None as `find`."""

    def stop_waiting(self) -> None:
        """End every `wait`, now and in future, at once: the process is about to end."""

    def recall(self, client_id: str, key: IdempotencyKey) -> str | None:
        """Return the id of the job that a client's idempotency key made, if any; raises IdempotencyMismatch."""

    def page(self, client_id: str, status: Status | None, which: PageQuery) -> JobPage:
        """Return a page of a client's jobs, newest first; with a cursor it may be short, or empty."""

    def claim(self, lanes: Sequence[Lane], worker: str, most_long: int) -> Claim | None:
        """Claim the job whose turn it is, of the first lane that has one; None when there is none.

        `most_long` is the number of long jobs that a worker of that name may have at once.
        """

    def beat(self, claim: Claim, step: str | None = None, progress: int | None = None) -> bool:
        """Renew the lease and note step and progress (%); False when the claim was lost and work must stop."""

    def finish(self, claim: Claim, ending: Ending) -> Ended | None:
        """End a claimed job; None, and nothing written, when the claim was lost."""

    def release(self, claim: Claim, *, rest_s: float = 0.0, counted: bool = False) -> bool:
        """Hand the job back, for others to take after `rest_s`; False when the claim was lost."""

    def end(self, job: UnfinishedJob, ending: Ending) -> Ended | None:
        """End a job that its worker does not; None when it had ended, or is not that claim's any more."""

    def withdraw(self, client_id: str, job_id: str) -> Withdrawal | None:
        """Take a client's job from everybody, with its webhook and delivery log, to delete it.

        None when there is none, or for now because another call has it.
        """

    def let_go(self, withdrawal: Withdrawal) -> None:
        """Leave a withdrawn job to the next call at once."""

    def delete(self, withdrawal: Withdrawal) -> bool:
        """Remove what is left of a withdrawn job; False when another call has taken it over."""

    def reap(self) -> Reaped:
        """Requeue jobs whose lease ran out; return those that need an end, and how often to ring."""

    def backlog(self) -> Backlog:
        """Count unfinished jobs."""


class DeliveryOutcomes(Protocol):
    """Outcomes of tries to deliver a webhook."""

    def settle(self, delivery: Delivery, entry: LogEntry, then: Next) -> None:
        """Log a try and note what follows."""

    def put_off(self, delivery: Delivery, delay_s: float) -> None:
        """Give back a try that was not made, and make the webhook due again after a while."""


class DeliveryStore(DeliveryOutcomes, Protocol):
    """Webhooks on their way; the step that ends a job puts them there."""

    def take(self, most: int, free: Senders) -> list[Delivery]:
        """Take up to `most` due webhooks of each lane to send, as far as a courier has free senders."""

    def log(self, client_id: str, job_id: str) -> DeliveryLog:
        """Return the delivery log of a job's webhook; raises NoWebhook."""

    def redeliver(self, client_id: str, job_id: str) -> None:
        """Make a job's webhook due again; raises NoWebhook, ResultGone, DeliveryPending."""


class Queue(Protocol):
    """The doorbell: it tells a worker that jobs wait, and may lose or repeat itself."""

    def ring(self) -> None:
        """Ring for a worker, whose process then works until no job waits; never fails, and waits for nothing."""


class MediaStore(Protocol):
    """Uploads, each under its client."""

    def save(self, client_id: str, key: str, chunks: Iterable[bytes], announced: int = 0) -> None:
        """Store a file that the server itself received, whole or not at all; `announced` bytes are to come.

        Raises
        ------
        MediaQuotaExceeded, Unavailable
        """

    def open_upload(self, client_id: str, key: str) -> BinaryIO:
        """Open an upload for reading; raises MediaNotFound, or Unavailable."""

    def contains(self, client_id: str, key: str) -> bool:
        """Tell whether there is such an upload."""

    def list(self, client_id: str, after: str, most: int) -> MediaPage:
        """Return a client's uploads behind the cursor `after`, at most `most`; raises ValueError for a wrong one."""

    def remove(self, client_id: str, key: str) -> str | None:
        """Remove an upload; returns the hexadecimal SHA-256 of what was removed, None when there was nothing."""

    def sweep(self) -> int:
        """Remove uploads past their time; return how many."""


class Buckets(Protocol):
    """Recordings in an operator's own buckets."""

    def open_object(self, source: S3Url) -> BinaryIO:
        """Open an object for reading; raises a JobFailure, or Unavailable."""


class MediaAddresses(Protocol):
    """Signed addresses of uploads, each good for an hour."""

    def put_address(self, client_id: str, key: str) -> str:
        """Return the address to PUT the upload to; raises MediaQuotaExceeded where the PUT itself is not judged."""

    def get_address(self, client_id: str, key: str) -> str:
        """Return the address to GET the upload from."""


class SpaceStore(Protocol):
    """Spaces and identities; every method is one transaction, and every change is in the audit log."""

    def find_space(self, client_id: str, handle: str) -> Space | None:
        """Return a client's space."""

    def find_space_of(self, client_id: str, identity_id: str) -> Space | None:
        """Return the client's space that has an identity of that id."""

    def space(self, space_id: str) -> Space | None:
        """Return a space by its id, for a worker."""

    def ensure_space(self, by: Actor, handle: str) -> Space:
        """Return the actor's space of that handle, made if it is new."""

    def add_space(self, by: Actor, handle: str, alias: str | None = None) -> Space:
        """Make a space; raises HandleTaken."""

    def change_space(self, by: Actor, space: Space) -> bool:
        """Store handle, alias, retention and legal basis of a space; False when it is gone; raises HandleTaken."""

    def list_spaces(self, client_id: str, query: RecordQuery) -> RecordPage[Space]:
        """Return a page of a client's spaces."""

    def add_identity(self, by: Actor, space_id: str, new: NewIdentity) -> Identity:
        """Make an identity; raises HandleTaken, or NotFound where the space is gone."""

    def find_identity(self, space_id: str, reference: str) -> Identity | None:
        """Return the identity of a space with that id or handle."""

    def change_identity(self, by: Actor, identity: Identity) -> bool:
        """Store handle, alias, consent and expiry of an identity; False when it is gone; raises HandleTaken."""

    def list_identities(self, space_id: str, query: RecordQuery) -> RecordPage[Identity]:
        """Return a page of a space's identities."""

    def jobs_about(self, kind: RecordKind, record_id: str) -> list[tuple[str, str]]:
        """Return (client id, job id) of the jobs about a space or identity, or about what is below it."""

    def note_job(self, job_id: str, client_id: str, identity_ids: Iterable[str]) -> None:
        """Note that a job is about identities, so that it goes with them."""

    def remove(self, by: Actor, kind: RecordKind, record_id: str, action: Action = Action.DELETE) -> Removal | None:
        """Remove a space, identity, sample, enrolment or verification, all below it, and their keys.

        A growing enrolment is pooled again without a removed sample. None when there is no such record.
        """

    def remove_client(self, client_id: str) -> Removal:
        """Remove all spaces of a client, its usage and its audit log."""

    def audit(self, by: Actor, action: Action, kind: RecordKind, record_id: str) -> None:
        """Add an entry to the audit log, for what changes nothing in the database."""

    def list_audit(self, client_id: str, query: RecordQuery) -> RecordPage[AuditEntry]:
        """Return a page of a client's audit log."""

    def expired(self, at: datetime, most: int) -> list[tuple[str, str]]:
        """Return (client id, identity id) of identities whose time is over."""


class EnrolmentStore(Protocol):
    """Samples and enrolments; every method is one transaction."""

    def add_sample(self, by: Actor, space_id: str, new: NewSample) -> Sample:
        """Make a sample, awaiting its file or, with a job, pending; raises HandleTaken, NotFound."""

    def import_sample(self, by: Actor, space_id: str, identity_id: str, heard: Heard) -> Sample:
        """Make a ready sample of a voiceprint that its client brought."""

    def find_sample(self, space_id: str, reference: str) -> Sample | None:
        """Return the sample of a space with that id or handle."""

    def sample(self, sample_id: str) -> Sample | None:
        """Return a sample by its id, for a worker."""

    def trace(self, sample_id: str) -> Trace | None:
        """Return the trace of a sample; None when it has none, or is gone."""

    def list_samples(self, space_id: str, query: RecordQuery) -> RecordPage[Sample]:
        """Return a page of a space's samples, of an identity or enrolment where the query names one."""

    def rename_sample(self, by: Actor, sample: Sample) -> bool:
        """Store handle and alias of a sample; raises HandleTaken."""

    def await_hearing(self, sample_id: str, job_id: str) -> bool:
        """Give a sample that awaits its file a job, once; False when it has one, or is gone."""

    def await_file_again(self, sample_id: str, job_id: str) -> None:
        """Let a sample await its file again, whose job was refused."""

    def assign(self, by: Actor, sample_id: str, identity_id: str) -> bool:
        """Say whose sample it is, once; False when that is said already, or one of them is gone."""

    def keep_heard(
        self, sample_id: str, heard: Heard, trace: Trace, kept_until: datetime | None, use: Use | None
    ) -> bool:
        """Make a pending sample ready; False when it is gone. The second call changes nothing."""

    def fail_sample(self, sample_id: str, failure: Failure) -> None:
        """Make a sample failed that is part of no enrolment; what was heard in it is forgotten."""

    def forget_recording(self, sample_id: str) -> None:
        """Note that a sample's recording is not kept any more."""

    def add_enrolment(self, by: Actor, space_id: str, new: NewEnrolment, sample_ids: Sequence[str] = ()) -> Enrolment:
        """Make an open enrolment of samples that are ready; raises HandleTaken, NotFound, WrongState."""

    def ensure_growing(self, by: Actor, space_id: str, new: NewEnrolment) -> Enrolment:
        """Return the identity's growing enrolment of that handle, made if it is new; raises WrongState for another."""

    def find_enrolment(self, identity_id: str, reference: str) -> Enrolment | None:
        """Return the enrolment of an identity with that id or handle."""

    def enrolment(self, enrolment_id: str) -> Enrolment | None:
        """Return an enrolment by its id, for a worker."""

    def list_enrolments(self, space_id: str, query: RecordQuery) -> RecordPage[Enrolment]:
        """Return a page of a space's enrolments, of an identity where the query names one."""

    def rename_enrolment(self, by: Actor, enrolment: Enrolment) -> bool:
        """Store handle and alias of an enrolment; raises HandleTaken."""

    def add_part(self, by: Actor, enrolment_id: str, sample_id: str) -> bool:
        """Add a ready sample of the identity to an open enrolment; twice is once. False when it is not open."""

    def remove_part(self, by: Actor, enrolment_id: str, sample_id: str) -> bool:
        """Remove a sample from an open enrolment; False when it is not open."""

    def parts(self, enrolment_id: str) -> list[Part]:
        """Return the samples of an enrolment in the order in which they were added."""

    def begin_computing(self, by: Actor, enrolment_id: str, job_id: str, *, anew: bool = False) -> bool:
        """Settle the samples of an open enrolment that has enough, for a job to compute; of two calls one wins.

        With `anew` a computed enrolment is computed again.
        """

    def compute(
        self,
        enrolment_id: str,
        job_id: str,
        pool: Callable[[Sequence[Part]], Pooled],
        use: Use | None,
        *,
        anew: Mapping[str, Heard] | None = None,
    ) -> Enrolment | None:
        """Store the voiceprint that `pool` makes of the parts; None when the enrolment, or the job's right, is gone.

        The second call of a job changes nothing. `anew` replaces what was heard in samples before. What `pool` raises
        leaves the enrolment as it was.

        Raises
        ------
        SampleRefused
            Samples were removed meanwhile, and too few are left.
        """

    def grow(
        self, enrolment_id: str, sample_id: str, pool: Callable[[Sequence[Part]], Pooled], use: Use | None
    ) -> Enrolment | None:
        """Add a ready sample to a growing enrolment and pool it anew, once; None when one of them is gone.

        An enrolment that has too few samples yet stays open. What `pool` raises leaves the enrolment as it was.
        """

    def begin_voice(self, by: Actor, space_id: str, job_id: str) -> None:
        """Note that a job is to enrol a voice, by whom, until it does or is called off; raises NotFound."""

    def call_off_voice(self, job_id: str) -> bool:
        """Keep a job from enrolling a voice; False when it has enrolled it, or was called off."""

    def enrol_voice(
        self, job_id: str, new: NewVoice, pool: Callable[[Sequence[Part]], Pooled], uses: Sequence[Use]
    ) -> Enrolment | None:
        """Add samples to an identity's growing enrolment `main` and pool it, all in one transaction.

        The identity is made where `new` has a handle, and the enrolment where there is none. Samples beyond the newest
        `new.most_samples` leave the enrolment, and are removed unless another enrolment has them. A job that enrolled
        the voice before gets the enrolment as it stands. None when the job was called off, or what it is about is gone.
        What `pool` raises leaves everything as it was.

        Raises
        ------
        HandleTaken
        SampleRefused
            `main` is computed once and does not grow.
        """

    def fail_enrolment(self, enrolment_id: str, job_id: str, failure: Failure | None) -> None:
        """Give an enrolment that a job computes back: open, or computed as it was; the reason is stored.

        A job that was refused has none.
        """

    def gallery_version(self, space_id: str) -> int:
        """Return a number that changes with every voiceprint of a space."""

    def gallery_index(self, space_id: str, model_id: str) -> dict[str, int]:
        """Return the version of each computed enrolment of a space and model, by id."""

    def gallery_skipped(self, space_id: str, model_id: str) -> int:
        """Count the identities of a space that are enrolled under other models only."""

    def gallery_rows(self, enrolment_ids: Sequence[str]) -> list[GalleryRow]:
        """Return the voiceprints of computed enrolments; those that are gone are left out."""

    def kept_recordings(self, at: datetime, most: int) -> list[tuple[str, str]]:
        """Return (client id, sample id) of recordings that are kept longer than they may be at a time.

        Some are of samples that newer ones have replaced in an enrolment.
        """


class VerificationStore(Protocol):
    """Verifications, what was heard before, and usage; every method is one transaction."""

    def add_verification(self, by: Actor, space_id: str, new: NewVerification) -> Verification:
        """Make a verification; raises HandleTaken, NotFound, NotEnrolled."""

    def find_verification(self, space_id: str, reference: str) -> Verification | None:
        """Return the verification of a space with that id or handle."""

    def verification(self, verification_id: str) -> Verification | None:
        """Return a verification by its id, for a worker."""

    def list_verifications(self, space_id: str, query: RecordQuery) -> RecordPage[Verification]:
        """Return a page of a space's verifications."""

    def rename_verification(self, by: Actor, verification: Verification) -> bool:
        """Store handle and alias of a verification; raises HandleTaken."""

    def settle_verification(self, verification_id: str, verified: Verified, traces: Sequence[Trace], use: Use) -> bool:
        """Store a result, once, and count its decision with the identity; False when one of them is gone.

        Parameters
        ----------
        traces : of its recordings; none where they are known by the identity's sample.
        """

    def fail_verification(self, verification_id: str, failure: Failure) -> None:
        """End a verification without a result."""

    def call_off_verification(self, verification_id: str, failure: Failure) -> bool:
        """End a verification without a result; False when it has one."""

    def traces(self, identity_id: str, most: int) -> list[KnownTrace]:
        """Return the newest traces of an identity's samples and verifications."""

    def traces_in(self, space_id: str, most: int) -> list[KnownTrace]:
        """Return the newest traces of a space's samples and verifications."""

    def same_sound(self, space_id: str, digest: bytes) -> list[KnownTrace]:
        """Return the newest traces of a space's samples and verifications of just the same sound.

        However large the space is, it is looked up. Recordings heard by release 0.1 are in `traces_in` alone.
        """

    def count(self, use: Use, use_id: str) -> None:
        """Count a use that no record stands for; the same id is counted once."""

    def list_usage(self, client_id: str, query: RecordQuery) -> RecordPage[UsageRecord]:
        """Return a page of a client's usage."""

    def find_usage(self, client_id: str, usage_id: str) -> UsageRecord | None:
        """Return one usage record of a client."""

    def unsettled(self, before: datetime, most: int) -> list[Unsettled]:
        """Return samples, enrolments and verifications that have waited for their job since before a time."""

    def forget(self, *, verifications: datetime, usage: datetime, audit: datetime, jobs: datetime) -> int:
        """Remove what is older than those times, some of it; returns how many rows."""


class RecordingStore(Protocol):
    """Recordings of samples that are kept, each sealed under a key that goes with its sample."""

    def keep(self, client_id: str, sample_id: str, sound: bytes) -> None:
        """Keep a recording; raises Unavailable."""

    def load(self, client_id: str, sample_id: str) -> bytes | None:
        """Return a recording; None when it is not kept."""

    def remove(self, client_id: str, sample_id: str) -> None:
        """Remove a recording; it may be gone already."""
