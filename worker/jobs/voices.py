"""Handler of voices: an identity is enrolled by several recordings at once, or not at all."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from shared.domain.audio import Waveform
from shared.domain.commands import EnrolVoice
from shared.domain.enrolling import pool_parts
from shared.domain.errors import HandleTaken, IdentityTaken, JobFailure, RecordingGone, SampleRefused, Unavailable
from shared.domain.identities import (
    DEFAULT_ENROLMENT,
    Enrolment,
    EnrolmentState,
    Failure,
    HeardSample,
    NewVoice,
    RecordKind,
    Sample,
    Use,
    recording_id,
)
from shared.domain.jobs import MAX_ATTEMPTS, Claim
from shared.domain.models import ModelCard
from shared.domain.results import RecordingOutcome, VoiceEnrolmentResult
from worker.jobs.enrolments import end_of_keeping
from worker.jobs.hearings import Hearings, Listener, unfit
from worker.jobs.stores import IdentityStores, existing, require_served, use_of
from worker.recordings.kept import to_wav
from worker.voices.fingerprint import sound_digest
from worker.voices.progress import Steps

_COPY = "The recording is enrolled already, or came twice; each counts once."
_UNLIKE = "Its voice is unlike that of the identity's other recordings; send another recording of that person."

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Voice:
    """Recordings of a job that can be enrolled, and reasons why others cannot, by their number from 0."""

    samples: dict[int, HeardSample] = field(repr=False)
    failures: dict[int, Failure]
    #: Those of them that are part of the enrolment already.
    known: set[int] = field(default_factory=set)

    def leave_out(self, refused: SampleRefused) -> None:
        """Leave out the recordings that are unlike the others; raises the error where it names none of them."""
        unlike = [number for number, sample in self.samples.items() if sample.id in refused.samples]
        if not unlike:
            raise refused
        for number in unlike:
            del self.samples[number]
            self.failures[number] = Failure(code=SampleRefused.code, message=_UNLIKE)


@dataclass(frozen=True, kw_only=True)
class VoiceHandlers:
    """Handler of `EnrolVoice`."""

    listener: Listener
    stores: IdentityStores

    def enrol(self, claim: Claim, command: EnrolVoice, steps: Steps) -> VoiceEnrolmentResult:
        """Enrol an identity by those of its recordings that are fit; a second attempt finds the voice enrolled.

        A recording that is part of the enrolment is not added again. If all fit ones are, the enrolment stays as it is.

        Raises
        ------
        IdentityTaken, IdentityDeleted, ModelChanged
        JobFailure
            No recording is fit.
        """
        ids = [recording_id(claim.job_id, number) for number in range(len(command.sources))]
        sounds: dict[int, bytes] = {}
        failures: Mapping[int, Failure] = {}
        enrolment = self._enrolled(command) if any(self._samples(ids)) else None
        if enrolment is None:
            voice = self._hear(claim, command, ids, sounds, steps)
            with steps("store"):
                enrolment = self._store(claim, command, voice)
            failures = voice.failures
        self._keep(claim, command, ids, sounds, steps)
        self._count(claim, enrolment, ids)
        return VoiceEnrolmentResult(
            enrolment=enrolment,
            recordings=[
                RecordingOutcome(accepted=sample is not None, failure=failures.get(number))
                for number, sample in enumerate(self._samples(ids))
            ],
            space=self.stores.space(command.space).handle,
            timings_s=steps.seconds,
        )

    @property
    def _card(self) -> ModelCard:
        return self.listener.nets.embedder.card

    def _samples(self, ids: Sequence[str]) -> list[Sample | None]:
        return [self.stores.enrolments.sample(one) for one in ids]

    def _enrolled(self, command: EnrolVoice) -> Enrolment | None:
        return self.stores.enrolments.find_enrolment(command.identity, DEFAULT_ENROLMENT)

    def _hear(
        self, claim: Claim, command: EnrolVoice, ids: Sequence[str], sounds: dict[int, bytes], steps: Steps
    ) -> _Voice:
        """Hear the recordings, and note the sounds that are to be kept."""
        before = self._enrolled(command)
        if before and before.model_id:
            require_served(before.model_id, self._card)
        keeps = self.stores.space(command.space).keep_recordings_s

        def take(number: int, waveform: Waveform) -> None:
            if keeps:
                sounds[number] = to_wav(waveform)

        return self._voice(command, ids, self.listener.hear(claim, command, steps, take), before)

    def _voice(self, command: EnrolVoice, ids: Sequence[str], hearings: Hearings, before: Enrolment | None) -> _Voice:
        """Sort out the recordings that came twice, or are part of the enrolment."""
        voice = _Voice(samples={}, failures=dict(hearings.unheard))
        parts = {part.sample.id for part in self.stores.enrolments.parts(before.id)} if before else set()
        digests = set()
        for number, hearing in hearings.heard.items():
            digest = hearing.trace.digest
            if not parts.isdisjoint(self._same(command, digest) if parts else ()):
                voice.known.add(number)
            if number in voice.known or digest in digests:
                voice.failures[number] = Failure(code=SampleRefused.code, message=_COPY)
            else:
                voice.samples[number] = HeardSample(id=ids[number], heard=hearing.heard, trace=hearing.trace)
            digests.add(digest)
        return voice

    def _same(self, command: EnrolVoice, digest: bytes) -> list[str]:
        """Return the ids of samples of the same sound."""
        known = self.stores.verifications.same_sound(command.space, digest)
        return [one.id for one in known if one.of is RecordKind.SAMPLE]

    def _store(self, claim: Claim, command: EnrolVoice, voice: _Voice) -> Enrolment:
        """Enrol the voice, without the recordings that are unlike the others; raises a JobFailure."""
        while voice.samples:
            try:
                return existing(self._try_to_store(claim, command, voice.samples))
            except SampleRefused as refused:
                voice.leave_out(refused)
        if not voice.known:
            raise unfit(voice.failures)
        self.stores.enrolments.call_off_voice(claim.job_id)
        return existing(self._enrolled(command))

    def _try_to_store(self, claim: Claim, command: EnrolVoice, samples: Mapping[int, HeardSample]) -> Enrolment | None:
        ids = {one.id for one in samples.values()}
        new = NewVoice(
            space_id=command.space,
            identity_id=command.identity,
            handle=command.handle,
            samples=list(samples.values()),
            kept_until=end_of_keeping(self.stores.space(command.space)),
        )
        pool = partial(pool_parts, calibration=self._card.calibration, judged=ids)
        uses = [self._use(claim, command.space, RecordKind.SAMPLE, one.id, one.heard.audio_s) for one in new.samples]
        try:
            return self.stores.enrolments.enrol_voice(claim.job_id, new, pool, uses)
        except HandleTaken:
            raise IdentityTaken(
                f"There is an identity {command.handle!r} already. Add recordings to it, delete it, or take another "
                "name."
            ) from None

    def _use(self, claim: Claim, space_id: str, kind: RecordKind, subject_id: str, seconds: float) -> Use:
        return use_of(claim, kind, self._card.model_id, subject_id, space_id, seconds)

    def _count(self, claim: Claim, enrolment: Enrolment, ids: Sequence[str]) -> None:
        """Count the enrolment, once whatever the attempts."""
        seconds = [sample.heard.audio_s for sample in self._samples(ids) if sample and sample.heard]
        if enrolment.state is EnrolmentState.COMPUTED and seconds:
            use = self._use(claim, enrolment.space_id, RecordKind.ENROLMENT, enrolment.id, sum(seconds))
            self.stores.verifications.count(use, str(uuid.uuid5(uuid.UUID(claim.job_id), "enrolment")))

    def _keep(
        self, claim: Claim, command: EnrolVoice, ids: Sequence[str], sounds: Mapping[int, bytes], steps: Steps
    ) -> None:
        """Keep the recordings of samples that are to be kept, now that these and their keys are there."""
        for number, sample in enumerate(self._samples(ids)):
            if sample is None or sample.kept_until is None:
                continue
            try:
                if self.stores.recordings.load(claim.client_id, sample.id) is None:
                    sound = sounds.get(number) or self._sound_again(claim, command, number, sample, steps)
                    self._keep_sound(claim, sample, sound)
            except (Unavailable, JobFailure) as error:
                # The voice is enrolled. A job that fails says that it is not.
                passing = isinstance(error, Unavailable) or error.passing
                if passing and claim.attempt < MAX_ATTEMPTS:
                    raise
                log.warning("a recording is not kept", reason=error.code)
                self.stores.enrolments.forget_recording(sample.id)

    def _keep_sound(self, claim: Claim, sample: Sample, sound: bytes) -> None:
        self.stores.recordings.keep(claim.client_id, sample.id, sound)
        if self.stores.enrolments.sample(sample.id) is None:
            # Deleted meanwhile.
            self.stores.recordings.remove(claim.client_id, sample.id)

    def _sound_again(self, claim: Claim, command: EnrolVoice, number: int, sample: Sample, steps: Steps) -> bytes:
        """Return the recording that an attempt heard that was killed before it kept it; raises a JobFailure."""
        waveform = self.listener.waveform(claim, command, number, steps)
        trace = self.stores.enrolments.trace(sample.id)
        if trace is None or sound_digest(waveform) != trace.digest:
            raise RecordingGone("The recording is another one than was heard.")
        return to_wav(waveform)
