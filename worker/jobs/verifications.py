"""Handler of verifications: compare the voice of a recording, or of a sample, with an identity's enrolment."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from shared.domain.audio import Waveform
from shared.domain.commands import VerifyIdentity
from shared.domain.enrolling import pool_parts
from shared.domain.errors import HandleTaken, IdentityDeleted, NotFound, SampleRefused, WorkerUnavailable
from shared.domain.identities import (
    Actor,
    Enrolment,
    Failure,
    Heard,
    KnownTrace,
    Name,
    NewSample,
    Part,
    RecordKind,
    Replay,
    Sample,
    SampleState,
    Trace,
    Verification,
    VerificationState,
    Verified,
)
from shared.domain.jobs import Claim
from shared.domain.models import ModelCard
from shared.domain.pooling import pool
from shared.domain.results import IdentityVerificationResult, sentences
from shared.domain.verification import Comparison, OperatingPoint, compare
from worker.jobs.enrolments import end_of_keeping, requirements
from worker.jobs.hearings import Listener
from worker.jobs.stores import IdentityStores, existing, raise_again, require_served, use_of
from worker.recordings.kept import to_wav
from worker.voices.hearing import find_replay
from worker.voices.progress import Steps

#: Recordings heard before that a new one is compared with, the newest ones.
_MOST_TRACES = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class _Probe:
    """Voice to verify, and the traces of its recordings where those are known."""

    heard: Heard = field(repr=False)
    traces: Sequence[Trace] = field(repr=False)
    #: Sound of the only recording, or the sample that was heard before.
    waveform: Waveform | None = field(default=None, repr=False)
    sample: Sample | None = None
    #: Reasons why other recordings could not be heard, by their number from 0.
    unheard: Mapping[int, Failure] = field(default_factory=dict)

    def is_of(self, identity: Name) -> bool:
        """Tell whether it is a sample of an identity, whose trace is known by that."""
        return self.sample is not None and self.sample.identity is not None and self.sample.identity.id == identity.id


@dataclass(frozen=True, kw_only=True)
class VerificationHandlers:
    """Handler of `VerifyIdentity`."""

    listener: Listener
    stores: IdentityStores

    def verify(self, claim: Claim, command: VerifyIdentity, steps: Steps) -> IdentityVerificationResult:
        """Compare a voice with an identity's enrolment, and look whether its recording was heard before.

        Of several recordings the voice is the mean, weighted by speech, and it is compared once. Those that are unfit
        are left out. A second attempt finds the result that the first one stored.

        Raises
        ------
        IdentityDeleted, ModelChanged
        JobFailure
            No recording is fit.
        """
        verification = existing(self.stores.verifications.verification(command.verification))
        raise_again(verification.failure)
        if verification.state is VerificationState.PERFORMING:
            self._perform(claim, command, verification, steps)
            verification = existing(self.stores.verifications.verification(verification.id))
            raise_again(verification.failure)
        self._learn(verification)
        return IdentityVerificationResult(
            verification=verification,
            space=self.stores.space(verification.space_id).handle,
            calibrated=self._card.calibration is not None,
            timings_s=steps.seconds,
        )

    @property
    def _card(self) -> ModelCard:
        return self.listener.nets.embedder.card

    def _perform(self, claim: Claim, command: VerifyIdentity, verification: Verification, steps: Steps) -> None:
        """Hear, compare and store the result."""
        enrolment = existing(self.stores.enrolments.enrolment(existing(verification.enrolment).id))
        require_served(existing(enrolment.voiceprint).model_id, self._card)
        probe = self._probe(claim, command, verification, steps)
        require_served(probe.heard.voiceprint.model_id, self._card)
        verified = self._verified(command, verification, enrolment, probe, steps)
        with steps("store"):
            if verified.replay is None and self._teaches(command, enrolment, verified.comparison, probe):
                verified = replace(verified, added_sample=self._add_sample(claim, enrolment, probe))
            traces = [] if probe.is_of(enrolment.identity) else probe.traces
            model_id = self._card.model_id
            seconds = probe.heard.audio_s
            use = use_of(claim, RecordKind.VERIFICATION, model_id, verification.id, verification.space_id, seconds)
            self.stores.verifications.settle_verification(verification.id, verified, traces, use)

    def _verified(
        self, command: VerifyIdentity, verification: Verification, enrolment: Enrolment, probe: _Probe, steps: Steps
    ) -> Verified:
        """Compare a voice with an enrolment, and its recordings with those heard before."""
        with steps("compare"):
            voiceprint = existing(enrolment.voiceprint)
            comparison = compare(probe.heard.voiceprint, voiceprint, self._card.calibration)
        with steps("replay"):
            replay = self._replay(command, enrolment, probe)
        return Verified(
            comparison=comparison,
            operating_point=verification.operating_point,
            least_llr=verification.least_llr,
            heard=probe.heard,
            replay=replay,
            unheard=probe.unheard,
        )

    def _probe(self, claim: Claim, command: VerifyIdentity, verification: Verification, steps: Steps) -> _Probe:
        """Hear the recordings; without any take what was heard in the sample."""
        if not command.sources:
            return self._heard_before(verification)
        single: list[Waveform] = []

        def take(_: int, waveform: Waveform) -> None:
            if not command.further:
                single.append(waveform)

        hearings = self.listener.hear(claim, command, steps, take)
        return _Probe(
            heard=_together({number: one.heard for number, one in hearings.heard.items()}),
            traces=[one.trace for one in hearings.heard.values()],
            waveform=single[0] if single else None,
            unheard=hearings.unheard,
        )

    def _heard_before(self, verification: Verification) -> _Probe:
        sample = existing(self.stores.enrolments.sample(existing(verification.sample).id))
        raise_again(sample.failure)
        if sample.heard is None:
            raise WorkerUnavailable("The sample was not heard yet; verify it when its own job has ended.")
        trace = self.stores.enrolments.trace(sample.id)
        return _Probe(heard=sample.heard, traces=[trace] if trace else [], sample=sample)

    def _replay(self, command: VerifyIdentity, enrolment: Enrolment, probe: _Probe) -> Replay | None:
        """Return what the first recording is a copy of that is one."""
        known = self._known(command, enrolment, probe)
        return next(filter(None, (find_replay(trace, known) for trace in probe.traces)), None)

    def _known(self, command: VerifyIdentity, enrolment: Enrolment, probe: _Probe) -> Sequence[KnownTrace]:
        """Return the traces of recordings heard before; those of the very sample that is verified do not count."""
        store = self.stores.verifications
        if command.whole_space:
            known = store.traces_in(enrolment.space_id, _MOST_TRACES)
            for trace in probe.traces:
                known += store.same_sound(enrolment.space_id, trace.digest)
        else:
            known = store.traces(enrolment.identity.id, _MOST_TRACES)
        sample = probe.sample
        if sample is None:
            return known
        return [one for one in known if not self._is_of(one, sample, probe)]

    def _is_of(self, known: KnownTrace, sample: Sample, probe: _Probe) -> bool:
        """Tell whether a trace is a sample's own, or of an earlier verification of that sample."""
        if known.of is RecordKind.SAMPLE:
            return known.id == sample.id
        if known.trace.digest not in {trace.digest for trace in probe.traces}:
            return False
        earlier = self.stores.verifications.verification(known.id)
        return earlier is not None and earlier.sample is not None and earlier.sample.id == sample.id

    def _teaches(self, command: VerifyIdentity, enrolment: Enrolment, comparison: Comparison, probe: _Probe) -> bool:
        """Tell whether an adaptive enrolment learns a voice: it is sure, and fit to be a sample."""
        if command.keep_enrolment or not enrolment.adaptive or not comparison.accepted(OperatingPoint.STRICTEST):
            return False
        if not probe.traces or (probe.waveform is None and probe.sample is None):
            return False
        if requirements(self._card).unmet(probe.heard):
            return False
        if probe.sample and probe.sample.identity and not probe.is_of(enrolment.identity):
            return False
        parts = self.stores.enrolments.parts(enrolment.id)
        if probe.sample and probe.sample.id in {part.sample.id for part in parts}:
            return False
        return self._pools([*parts, Part(sample=Name(id="", handle=""), heard=probe.heard)])

    def _pools(self, parts: Sequence[Part]) -> bool:
        """Tell whether the last sample is enough like the others to be pooled with them."""
        try:
            pool_parts(parts, self._card.calibration, judged=[parts[-1].sample.id])
        except SampleRefused:
            return False
        return True

    def _add_sample(self, claim: Claim, enrolment: Enrolment, probe: _Probe) -> str:
        """Make a recording a sample, still to be taken as heard; returns the id, in each attempt the same."""
        if probe.waveform is None:
            return existing(probe.sample).id
        sample_id = str(uuid.uuid5(uuid.UUID(claim.job_id), "sample"))
        new = NewSample(id=sample_id, identity_id=enrolment.identity.id, job_id=claim.job_id)
        try:
            with suppress(HandleTaken):
                self.stores.enrolments.add_sample(Actor(client_id=claim.client_id), enrolment.space_id, new)
        except NotFound:
            raise IdentityDeleted from None
        if self.stores.space(enrolment.space_id).keep_recordings_s:
            self.stores.recordings.keep(claim.client_id, sample_id, to_wav(probe.waveform))
        return sample_id

    def _learn(self, verification: Verification) -> None:
        """Add the voice of a verification to the enrolment, if its result says so; once, whatever the attempts."""
        result = verification.result
        if result is None or result.added_sample is None or verification.enrolment is None:
            return
        sample = self.stores.enrolments.sample(result.added_sample)
        if sample is not None and sample.state is SampleState.PENDING:
            self._take_as_heard(verification, sample, result.heard)
        pool = partial(pool_parts, calibration=self._card.calibration, judged=[])
        self.stores.enrolments.grow(verification.enrolment.id, result.added_sample, pool, None)

    def _take_as_heard(self, verification: Verification, sample: Sample, heard: Heard) -> None:
        known = self.stores.verifications.traces(existing(verification.identity).id, _MOST_TRACES)
        trace = existing(next((one.trace for one in known if one.id == verification.id), None))
        kept_until = end_of_keeping(self.stores.space(sample.space_id))
        self.stores.enrolments.keep_heard(sample.id, heard, trace, kept_until, None)


def _together(heard: Mapping[int, Heard]) -> Heard:
    """Return the voice of several recordings, by their number from 0, as one."""
    first, *others = heard.values()
    if not others:
        return first
    warnings = [f"Recording {number + 1}: {one.warning}" for number, one in heard.items() if one.warning]
    return Heard(
        voiceprint=pool([one.voiceprint for one in heard.values()]),
        quality=None,
        audio_s=sum(one.audio_s for one in heard.values()),
        speech_s=sum(one.speech_s for one in heard.values()),
        warning=sentences(*warnings),
    )
