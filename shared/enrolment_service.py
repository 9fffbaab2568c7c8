"""Enrolment service: samples of a voice, and the voiceprints that are computed from them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shared.domain.commands import AddSample, ComputeEnrolment, EnrolVoice
from shared.domain.errors import (
    EnrolAgain,
    HandleTaken,
    JobFailure,
    RequestError,
    SampleUnfit,
    TooFewSamples,
    WrongState,
)
from shared.domain.identities import (
    Action,
    Actor,
    Enrolment,
    EnrolmentState,
    Heard,
    Identity,
    NewEnrolment,
    NewIdentity,
    NewSample,
    Part,
    Pooled,
    RecordKind,
    RecordPage,
    RecordQuery,
    Requirements,
    Sample,
    SampleState,
    Space,
)
from shared.domain.jobs import Job, JobSubmission, new_job_id
from shared.domain.voiceprints import Voiceprint
from shared.identity_service import IdentityService, existing
from shared.job_service import JobService
from shared.ports import EnrolmentStore

#: Longest that a repeated request waits for the first one, whose enrolment is there and whose job is not.
_MAKING_S = 2.0
_PAUSE_S = 0.05
#: Samples that a refusal names at most.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class EnrolmentService:
    """Samples and enrolments, over the ports.

    A record whose job is made along with it has the job's id, so that a repeated request finds it again.
    """

    store: EnrolmentStore
    identities: IdentityService
    jobs: JobService
    #: Pools voiceprints that clients bring.
    pool: Callable[[Sequence[Part]], Pooled]

    def add_sample(self, by: Actor, space: Space, new: NewSample, submission: JobSubmission) -> tuple[Sample, Job]:
        """Make a sample and the job, an `AddSample`, that hears it.

        Raises
        ------
        ConsentRequired, HandleTaken, NotFound, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        if job_id := self.jobs.recall(by.client_id, submission.idempotency_key):
            return self.sample(space, job_id), self.jobs.submit(by.client_id, submission)
        sample = self._add_sample(by, space, replace(new, job_id=new.id))
        self._note(by, sample.id, new.identity_id)
        job = self.jobs.submit_for_record(
            by.client_id, submission, sample.id, lambda: self._remove(by, RecordKind.SAMPLE, sample.id)
        )
        return (sample if job.id == sample.id else self.sample(space, job.id)), job

    def enrol(
        self, by: Actor, space: Space, reference: str, new: NewIdentity, submission: JobSubmission
    ) -> tuple[Identity, Job]:
        """Make the job that adds a recording to an identity's growing enrolment; both are made if they are new.

        Parameters
        ----------
        reference : the identity's id, or its handle, which may be new.
        submission : its command is an `AddSample`.

        Raises
        ------
        ConsentRequired, WrongState, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        command = submission.command
        assert isinstance(command, AddSample)
        if self.jobs.recall(by.client_id, submission.idempotency_key):
            return self.identities.identity(space, reference), self.jobs.submit(by.client_id, submission)
        identity = self.identities.ensure_identity(by, space, reference, new)
        wanted = NewEnrolment(identity_id=identity.id, model=command.model or "")
        enrolment = self.store.ensure_growing(by, space.id, wanted)
        grown = replace(submission, command=replace(command, enrolment=enrolment.id))
        _, job = self.add_sample(by, space, NewSample(id=command.sample, identity_id=identity.id), grown)
        return identity, job

    def enrol_voice(self, by: Actor, space: Space, submission: JobSubmission, job_id: str) -> Job:
        """Make the job, an `EnrolVoice`, that enrols an identity by several recordings, or none of them.

        Until it has, `EnrolmentStore.call_off_voice` keeps it from doing so.

        Parameters
        ----------
        job_id : its id, for which uploads are named.

        Raises
        ------
        ConsentRequired, NotFound, TooManyJobs, JobQuotaExceeded
        """
        command = submission.command
        assert isinstance(command, EnrolVoice)
        if command.handle is not None:
            self.identities.require_consent(space, None)
        else:
            self.identities.require_agreed(space, command.identity)
        self.store.begin_voice(by, space.id, job_id)
        if command.handle is None:
            self._note(by, job_id, command.identity)
        return self.jobs.submit_for_record(by.client_id, submission, job_id, lambda: self.store.call_off_voice(job_id))

    def await_file(self, by: Actor, space: Space, new: NewSample) -> Sample:
        """Make a sample whose file is still to come; raises ConsentRequired, HandleTaken, NotFound."""
        return self._add_sample(by, space, new)

    def _add_sample(self, by: Actor, space: Space, new: NewSample) -> Sample:
        if new.identity_id is not None:
            self.identities.require_agreed(space, new.identity_id)
        return self.store.add_sample(by, space.id, new)

    def hear(self, by: Actor, sample: Sample, submission: JobSubmission, job_id: str | None = None) -> Job:
        """Make the job that hears a sample which awaited its file.

        Parameters
        ----------
        job_id : its id, where an upload is named for it already; by default a new one.

        Raises
        ------
        WrongState
            Its file is there already.
        IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        if known := self.jobs.recall(by.client_id, submission.idempotency_key):
            return self.jobs.find(by.client_id, known)
        job_id = job_id or new_job_id()
        if not self.store.await_hearing(sample.id, job_id):
            raise WrongState(f"Sample {sample.handle} has its file already; make another sample for another file.")
        self._note(by, job_id, sample.identity.id if sample.identity else None)
        return self.jobs.submit_for_record(
            by.client_id, submission, job_id, lambda: self.store.await_file_again(sample.id, job_id)
        )

    def sample(self, space: Space, reference: str) -> Sample:
        """Return the sample of a space with that id or handle; raises NotFound."""
        return existing(self.store.find_sample(space.id, reference), RecordKind.SAMPLE)

    def list_samples(self, space: Space, query: RecordQuery) -> RecordPage[Sample]:
        """Return a page of a space's samples."""
        return self.store.list_samples(space.id, query)

    def assign(self, by: Actor, space: Space, sample: Sample, identity: Identity) -> None:
        """Say whose sample it is, which cannot be changed.

        Raises
        ------
        ConsentRequired
        WrongState
            It is another identity's.
        """
        self.identities.require_agreed(space, identity.id)
        if sample.identity is not None and sample.identity.id == identity.id:
            return
        if not self.store.assign(by, sample.id, identity.id):
            raise WrongState(f"Sample {sample.handle} belongs to an identity already, and stays with it.")

    def add_enrolment(self, by: Actor, space: Space, new: NewEnrolment, samples: Sequence[Sample] = ()) -> Enrolment:
        """Make an open enrolment; raises ConsentRequired, HandleTaken, NotFound, SampleUnfit, WrongState."""
        self.identities.require_agreed(space, new.identity_id)
        for sample in samples:
            require_fit(sample, Requirements())
        return self.store.add_enrolment(by, space.id, new, [sample.id for sample in samples])

    def make(
        self,
        by: Actor,
        space: Space,
        identity: Identity,
        new: NewEnrolment,
        samples: Sequence[Sample],
        submission: JobSubmission,
    ) -> tuple[Enrolment, Job]:
        """Make an enrolment of samples, and the job, a `ComputeEnrolment`, that computes it; both or none.

        Raises
        ------
        ConsentRequired, HandleTaken, NotFound, SampleUnfit, WrongState, IdempotencyMismatch, TooManyJobs,
        JobQuotaExceeded
        """
        if not self.jobs.recall(by.client_id, submission.idempotency_key):
            try:
                return self._make(by, space, new, samples, submission)
            except HandleTaken:
                # The same request, sent twice at once, may have taken it.
                if not self._is_repeated(by, identity, new.handle, submission):
                    raise
        return self.enrolment(identity, new.handle), self.jobs.submit(by.client_id, submission)

    def _make(
        self, by: Actor, space: Space, new: NewEnrolment, samples: Sequence[Sample], submission: JobSubmission
    ) -> tuple[Enrolment, Job]:
        enrolment = self.add_enrolment(by, space, new, samples)
        try:
            return self.compute(by, enrolment, submission)
        except RequestError:
            self._remove(by, RecordKind.ENROLMENT, enrolment.id)
            raise

    def _is_repeated(self, by: Actor, identity: Identity, handle: str, submission: JobSubmission) -> bool:
        """Tell whether another request of the same key made an enrolment; waits while it may be doing so."""
        ends_at = time.monotonic() + _MAKING_S
        while not self.jobs.recall(by.client_id, submission.idempotency_key):
            found = self.store.find_enrolment(identity.id, handle)
            unsettled = found is not None and found.state is not EnrolmentState.COMPUTED
            if submission.idempotency_key is None or not unsettled or time.monotonic() > ends_at:
                return False
            time.sleep(_PAUSE_S)
        return True

    def import_voiceprints(
        self, by: Actor, space: Space, new: NewEnrolment, voiceprints: Sequence[Voiceprint]
    ) -> Enrolment:
        """Make a computed enrolment of voiceprints that the client holds, all of one model.

        Raises
        ------
        ConsentRequired, HandleTaken, NotFound, InvalidVoiceprint
        """
        for other in voiceprints[1:]:
            voiceprints[0].require_same_model(other)
        enrolment = self.add_enrolment(by, space, new)
        made = [(RecordKind.ENROLMENT, enrolment.id)]
        try:
            for one in voiceprints:
                sample = self.store.import_sample(by, space.id, new.identity_id, _brought(one))
                made.append((RecordKind.SAMPLE, sample.id))
                self.store.add_part(by, enrolment.id, sample.id)
            call = new_job_id()
            self.store.begin_computing(by, enrolment.id, call)
            return existing(self.store.compute(enrolment.id, call, self.pool, None), RecordKind.ENROLMENT)
        except (RequestError, JobFailure):
            for kind, record_id in made:
                self._remove(by, kind, record_id)
            raise

    def enrolment(self, identity: Identity, reference: str) -> Enrolment:
        """Return the enrolment of an identity with that id or handle; raises NotFound."""
        return existing(self.store.find_enrolment(identity.id, reference), RecordKind.ENROLMENT)

    def list_enrolments(self, space: Space, query: RecordQuery) -> RecordPage[Enrolment]:
        """Return a page of a space's enrolments."""
        return self.store.list_enrolments(space.id, query)

    def add_part(
        self, by: Actor, space: Space, enrolment: Enrolment, sample: Sample, requirements: Requirements
    ) -> Enrolment:
        """Add a sample to an open enrolment of its identity; twice is once.

        Raises
        ------
        ConsentRequired
        SampleUnfit
            It does not meet the model's requirements, and the message says which and by how much; or it is a copy of
            a recording that the enrolment has.
        WrongState
            It was not heard yet, is another identity's, or the enrolment is not open.
        """
        self.identities.require_agreed(space, enrolment.identity.id)
        require_fit(sample, requirements)
        if sample.identity is not None and sample.identity.id != enrolment.identity.id:
            raise WrongState(f"Sample {sample.handle} belongs to another identity.")
        if enrolment.state is EnrolmentState.OPEN:
            self._require_another(enrolment, sample)
        if not self.store.add_part(by, enrolment.id, sample.id):
            raise _settled(enrolment)
        return self._again(enrolment)

    def _require_another(self, enrolment: Enrolment, sample: Sample) -> None:
        """Refuse a copy of a recording that the enrolment has: its minimum counts recordings; raises SampleUnfit."""
        trace = self.store.trace(sample.id)
        for part in self.store.parts(enrolment.id):
            known = self.store.trace(part.sample.id)
            if trace and known and part.sample.id != sample.id and trace.is_copy_of(known):
                raise SampleUnfit(
                    f"Sample {sample.handle} is a copy of {part.sample.handle}, which is added already; add another "
                    "recording of that voice."
                )

    def remove_part(self, by: Actor, enrolment: Enrolment, sample: Sample) -> Enrolment:
        """Remove a sample from an open enrolment; raises WrongState."""
        if not self.store.remove_part(by, enrolment.id, sample.id):
            raise _settled(enrolment)
        return self._again(enrolment)

    def compute(
        self, by: Actor, enrolment: Enrolment, submission: JobSubmission, *, anew: bool = False
    ) -> tuple[Enrolment, Job]:
        """Make the job that computes an enrolment, or computes it anew; of two requests at once, one wins.

        Raises
        ------
        TooFewSamples, WrongState, IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        if self.jobs.recall(by.client_id, submission.idempotency_key):
            return self._again(enrolment), self.jobs.submit(by.client_id, submission)
        if enrolment.state is EnrolmentState.OPEN and enrolment.num_samples < enrolment.min_samples:
            raise TooFewSamples(
                f"Enrolment {enrolment.handle} has {enrolment.num_samples} of at least {enrolment.min_samples} samples."
            )
        job_id = new_job_id()
        if not self.store.begin_computing(by, enrolment.id, job_id, anew=anew):
            raise _settled(self._again(enrolment))
        self._note(by, job_id, enrolment.identity.id)
        command = ComputeEnrolment(enrolment=enrolment.id, anew=anew)
        asked = replace(submission, command=command)
        job = self.jobs.submit_for_record(
            by.client_id, asked, job_id, lambda: self.store.fail_enrolment(enrolment.id, job_id, None)
        )
        return self._again(enrolment), job

    def recompute(
        self, by: Actor, space: Space, enrolment: Enrolment, submission: JobSubmission
    ) -> tuple[Enrolment, Job]:
        """Make the job that computes an enrolment anew from its recordings.

        Raises
        ------
        EnrolAgain
            Recordings of its samples are not kept.
        WrongState
            It was not computed yet, or is being computed.
        TooManyJobs, JobQuotaExceeded, IdempotencyMismatch
        """
        if not self.jobs.recall(by.client_id, submission.idempotency_key):
            self._require_recordings(space, enrolment)
        return self.compute(by, enrolment, submission, anew=True)

    def _require_recordings(self, space: Space, enrolment: Enrolment) -> None:
        query = RecordQuery(take=max(1, enrolment.num_samples), enrolment_id=enrolment.id)
        samples = self.store.list_samples(space.id, query).items
        gone = [sample.handle for sample in samples if sample.kept_until is None]
        if gone:
            raise EnrolAgain(
                f"Recordings of these samples are not kept, so they cannot be heard again: {', '.join(gone[:_SHOWN])}. "
                "Delete the enrolment and enrol the identity again. PATCH /v1/space with `keepRecordingsSeconds` keeps "
                "recordings from then on."
            )

    def export(self, by: Actor, enrolment: Enrolment) -> Voiceprint:
        """Return the voiceprint of a computed enrolment; raises WrongState."""
        if enrolment.voiceprint is None:
            raise WrongState(f"Enrolment {enrolment.handle} is not computed yet, so it has no voiceprint.")
        self.identities.store.audit(by, Action.EXPORT, RecordKind.ENROLMENT, enrolment.id)
        return enrolment.voiceprint

    def _again(self, enrolment: Enrolment) -> Enrolment:
        return existing(self.store.enrolment(enrolment.id), RecordKind.ENROLMENT)

    def _note(self, by: Actor, job_id: str, identity_id: str | None) -> None:
        self.identities.store.note_job(job_id, by.client_id, [identity_id] if identity_id else [])

    def _remove(self, by: Actor, kind: RecordKind, record_id: str) -> None:
        self.identities.store.remove(by, kind, record_id)


def require_fit(sample: Sample, requirements: Requirements) -> None:
    """Refuse a sample that was not heard, or does not meet requirements.

    Raises
    ------
    WrongState, SampleUnfit
    """
    if sample.state is not SampleState.READY or sample.heard is None:
        said = f": {sample.failure.message}" if sample.failure else "; wait for its job"
        raise WrongState(f"Sample {sample.handle} is {sample.state}{said}")
    if unmet := requirements.unmet(sample.heard):
        raise SampleUnfit(f"Sample {sample.handle} cannot be enrolled: {'; '.join(unmet)}.")


def _settled(enrolment: Enrolment) -> WrongState:
    return WrongState(
        f"Enrolment {enrolment.handle} is {enrolment.state}: its samples are settled, and it is computed once; "
        "make another enrolment for other samples."
    )


def _brought(voiceprint: Voiceprint) -> Heard:
    seconds = voiceprint.capture.net_speech_s
    return Heard(voiceprint=voiceprint, quality=None, audio_s=seconds, speech_s=seconds)
