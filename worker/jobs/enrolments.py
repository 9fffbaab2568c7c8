"""Handlers of samples and enrolments: a sample is heard once, and voiceprints are computed of samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from shared.domain.audio import Waveform
from shared.domain.commands import AddSample, ComputeEnrolment
from shared.domain.enrolling import pool_parts
from shared.domain.errors import RecordingGone, SampleRefused, TooLittleSpeech
from shared.domain.identities import (
    Enrolment,
    EnrolmentState,
    Heard,
    Part,
    RecordKind,
    Requirements,
    Sample,
    SampleState,
    Space,
    now,
)
from shared.domain.jobs import Claim
from shared.domain.limits import Limits
from shared.domain.models import ModelCard
from shared.domain.results import EnrolmentResult, SampleResult
from worker.jobs.sources import SourceReader
from worker.jobs.stores import IdentityStores, existing, raise_again, require_served, use_of
from worker.recordings.kept import from_wav, to_wav
from worker.voices.hearing import Hearing, hear, hear_again
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets


@dataclass(frozen=True, kw_only=True)
class EnrolmentHandlers:
    """Handlers of `AddSample` and `ComputeEnrolment`."""

    reader: SourceReader
    nets: Nets
    limits: Limits
    stores: IdentityStores

    def add_sample(self, claim: Claim, command: AddSample, steps: Steps) -> SampleResult:
        """Hear a sample, and add it to a growing enrolment where the command names one.

        An attempt behind one that was killed goes on where that one was: a sample that is ready is not heard again.

        Raises
        ------
        IdentityDeleted, ModelChanged
        SampleRefused
            It does not meet the model's requirements, or is unlike the other samples of the enrolment.
        """
        sample = existing(self.stores.enrolments.sample(command.sample))
        raise_again(sample.failure)
        if command.enrolment:
            made_by = existing(self.stores.enrolments.enrolment(command.enrolment)).model_id
            require_served(made_by or self._card.model_id, self._card)
        if sample.state is not SampleState.READY:
            self._hear(claim, command, sample, steps)
        enrolment = self._grow(claim, command, steps) if command.enrolment else None
        return SampleResult(
            sample=existing(self.stores.enrolments.sample(sample.id)),
            enrolment=enrolment,
            space=self.stores.space(sample.space_id).handle,
            timings_s=steps.seconds,
        )

    def compute(self, claim: Claim, command: ComputeEnrolment, steps: Steps) -> EnrolmentResult:
        """Compute the voiceprint of an enrolment; a second attempt finds it computed.

        Raises
        ------
        IdentityDeleted, ModelChanged, SampleRefused
        RecordingGone
            The samples are to be heard again, and recordings of them are not kept.
        """
        enrolment = existing(self.stores.enrolments.enrolment(command.enrolment))
        parts = self.stores.enrolments.parts(enrolment.id)
        heard: Mapping[str, Heard] = {}
        if enrolment.state is EnrolmentState.COMPUTING and command.anew:
            heard = self._heard_again(claim, parts, steps)
        elif enrolment.state is EnrolmentState.COMPUTING:
            for part in parts:
                require_served(part.heard.voiceprint.model_id, self._card)
        seconds = sum(part.heard.audio_s for part in parts)
        use = use_of(claim, RecordKind.ENROLMENT, self._card.model_id, enrolment.id, enrolment.space_id, seconds)
        with steps("pool"):
            pool = partial(pool_parts, calibration=self._card.calibration)
            computed = self.stores.enrolments.compute(enrolment.id, claim.job_id, pool, use, anew=heard)
        return EnrolmentResult(
            enrolment=existing(computed),
            space=self.stores.space(enrolment.space_id).handle,
            timings_s=steps.seconds,
        )

    @property
    def _card(self) -> ModelCard:
        return self.nets.embedder.card

    def _hear(self, claim: Claim, command: AddSample, sample: Sample, steps: Steps) -> None:
        """Hear a sample, keep its recording where the space does, and store what was heard."""
        waveform = self.reader.waveform(claim.client_id, command.source, self.limits, steps, command.channel)
        hearing = self._fit(waveform, steps) if command.checked else hear(waveform, self.nets, steps)
        kept_until = end_of_keeping(self.stores.space(sample.space_id))
        with steps("store"):
            if kept_until:
                self.stores.recordings.keep(claim.client_id, sample.id, to_wav(waveform))
            use = use_of(
                claim, RecordKind.SAMPLE, self._card.model_id, sample.id, sample.space_id, hearing.heard.audio_s
            )
            done = self.stores.enrolments.keep_heard(sample.id, hearing.heard, hearing.trace, kept_until, use)
        if not done:
            # It may have failed meanwhile: its job was canceled, say.
            self.stores.recordings.remove(claim.client_id, sample.id)
            raise_again(existing(self.stores.enrolments.sample(sample.id)).failure)

    def _fit(self, waveform: Waveform, steps: Steps) -> Hearing:
        """Hear a recording that meets the model's requirements; raises NoSpeech, SampleRefused."""
        try:
            hearing = hear(waveform, self.nets, steps)
        except TooLittleSpeech as error:
            # A sample needs more than the voiceprint that it was too little for.
            raise _refused([requirements(self._card).too_little(error.net_speech_s)]) from None
        if unmet := requirements(self._card).unmet(hearing.heard):
            raise _refused(unmet)
        return hearing

    def _grow(self, claim: Claim, command: AddSample, steps: Steps) -> Enrolment:
        sample = existing(self.stores.enrolments.sample(command.sample))
        heard = existing(sample.heard)
        enrolment_id = existing(command.enrolment)
        use = use_of(
            claim, RecordKind.ENROLMENT, heard.voiceprint.model_id, enrolment_id, sample.space_id, heard.audio_s
        )
        pool = partial(pool_parts, calibration=self._card.calibration, judged=[sample.id])
        with steps("pool"):
            return existing(self.stores.enrolments.grow(enrolment_id, sample.id, pool, use))

    def _heard_again(self, claim: Claim, parts: Sequence[Part], steps: Steps) -> dict[str, Heard]:
        """Hear the kept recordings of samples by the model that runs now."""
        gone = [part.sample.handle for part in parts if not self._is_kept(part)]
        if gone:
            raise _recording_gone(gone)
        found = {}
        for number, part in enumerate(parts):
            steps.progress(number / len(parts))
            raw = self.stores.recordings.load(claim.client_id, part.sample.id)
            if raw is None:
                raise _recording_gone([part.sample.handle])
            found[part.sample.id] = hear_again(from_wav(raw), part.heard, self.nets, steps)
        return found

    def _is_kept(self, part: Part) -> bool:
        sample = self.stores.enrolments.sample(part.sample.id)
        return sample is not None and sample.kept_until is not None


def end_of_keeping(space: Space) -> datetime | None:
    """Return the time until which a space keeps a recording that comes now; None where it keeps none."""
    return now() + timedelta(seconds=space.keep_recordings_s) if space.keep_recordings_s else None


def requirements(card: ModelCard) -> Requirements:
    """Return what a model requires of a sample."""
    usual = Requirements()
    return usual.require_speech(max(card.min_speech_s, usual.min_speech_s))


def _refused(unmet: Sequence[str]) -> SampleRefused:
    return SampleRefused(f"The sample cannot be enrolled: {'; '.join(unmet)}. Send another recording.")


def _recording_gone(handles: Sequence[str]) -> RecordingGone:
    return RecordingGone(
        f"Recordings of these samples are not kept, so they cannot be heard again: {', '.join(handles)}. "
        "Enrol the identity again, with new samples."
    )
