"""Identities in every state, made without workers: what a worker would hear and compute is stored here."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database
from shared.adapters.sql.enrolments import SqlEnrolments
from shared.adapters.sql.spaces import SqlSpaces
from shared.adapters.sql.verifications import SqlVerifications
from shared.domain.audio import Channels
from shared.domain.enrolling import pool_parts
from shared.domain.errors import NoSpeech
from shared.domain.fingerprints import Fingerprint
from shared.domain.identities import (
    DEFAULT_SPACE,
    Actor,
    Enrolment,
    Failure,
    Heard,
    Identity,
    NewEnrolment,
    NewIdentity,
    NewSample,
    NewVerification,
    RecordKind,
    Replay,
    ReplayKind,
    Sample,
    SampleState,
    Space,
    Trace,
    Use,
    Verification,
    VerificationState,
    Verified,
    now,
)
from shared.domain.jobs import new_job_id
from shared.domain.quality import Capture, Quality
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings
from tests.support.states import MODEL

CAPTURE = Capture(net_speech_s=9.0, snr_db=30.0, narrowband=False)
#: Too short for any model.
SHORT = replace(CAPTURE, net_speech_s=1.0)
OLD_MODEL = f"{MODEL.handle}@0"


def voice(direction: int = 0, *, model_id: str = f"{MODEL.handle}@{MODEL.version}", capture: Capture = CAPTURE):
    """Return a voiceprint; those of two directions have nothing in common."""
    return Voiceprint(model_id, np.eye(1, MODEL.dimension, direction, dtype=np.float32)[0], capture)


def heard(voiceprint: Voiceprint) -> Heard:
    """Return what is heard in a recording of a voice."""
    quality = Quality(capture=voiceprint.capture, num_speakers=1, share=1.0, lead=1.0, consistency=0.9, clipped=False)
    return Heard(
        voiceprint=voiceprint,
        quality=quality,
        audio_s=10.0,
        speech_s=9.5,
        sample_rate_hz=16_000,
        dominant_speaker="SPEAKER_00",
        channels=Channels(number=2, used=(1,)),
        warning="This result is less certain than usual.",
    )


def trace() -> Trace:
    """Return the trace of a recording."""
    return Trace(digest=bytes(32), fingerprint=Fingerprint(np.zeros(4, dtype=np.uint32)))


class People:
    """Identities of the client of an API key, in the database of an API whose data is in a folder."""

    def __init__(self, folder: Path, key: str, space: str = DEFAULT_SPACE) -> None:
        settings = Settings(data_dir=folder)
        secret = settings.secret_bytes()
        engine = open_database(settings.sql_url())
        self.spaces, self.enrolments = SqlSpaces(engine, secret), SqlEnrolments(engine, secret)
        self.verifications = SqlVerifications(engine, secret)
        client = SqlClients(engine, secret).authenticate(key)
        assert client is not None
        self.by = Actor(client_id=client.id)
        self._space = space

    @property
    def space(self) -> Space:
        """The space, made if it is new, or was deleted."""
        return self.spaces.ensure_space(self.by, self._space)

    def identity(self, handle: str | None = None) -> Identity:
        """Return the identity of that handle, made if it is new."""
        found = self.spaces.find_identity(self.space.id, handle) if handle else None
        return found or self.spaces.add_identity(self.by, self.space.id, NewIdentity(handle=handle))

    def sample(
        self,
        identity: Identity,
        handle: str | None = None,
        state: SampleState = SampleState.READY,
        voiceprint: Voiceprint | None = None,
        kept: bool = False,
    ) -> Sample:
        """Return a new sample that stands so; `kept` says that its recording is kept."""
        sample_id = new_job_id()
        new = NewSample(id=sample_id, handle=handle, identity_id=identity.id, job_id=sample_id)
        made = self.enrolments.add_sample(self.by, self.space.id, new)
        kept_until = now() + timedelta(hours=1) if kept else None
        if state is SampleState.READY:
            assert self.enrolments.keep_heard(sample_id, heard(voiceprint or voice()), trace(), kept_until, None)
        elif state is SampleState.FAILED:
            self.enrolments.fail_sample(sample_id, Failure.of(NoSpeech("Nobody speaks.")))
        return self.enrolments.sample(made.id)

    def enrolment(
        self, identity: Identity, handle: str = "main", voiceprint: Voiceprint | None = None, *, kept: bool = False
    ) -> Enrolment:
        """Return a new computed enrolment."""
        new = NewEnrolment(identity_id=identity.id, handle=handle)
        made = self.enrolments.ensure_growing(self.by, self.space.id, new)
        sample = self.sample(identity, voiceprint=voiceprint, kept=kept)
        return self.enrolments.grow(made.id, sample.id, lambda parts: pool_parts(parts, None), None)

    def verification(
        self, enrolment: Enrolment, state: VerificationState = VerificationState.PERFORMED
    ) -> Verification:
        """Return a new verification that stands so."""
        job_id = new_job_id()
        new = NewVerification(id=job_id, enrolment_id=enrolment.id)
        made = self.verifications.add_verification(self.by, self.space.id, new)
        if state is VerificationState.PERFORMED:
            self.verifications.settle_verification(made.id, self._verified(made), [trace()], self._use(made))
        elif state is VerificationState.FAILED:
            self.verifications.fail_verification(made.id, Failure.of(NoSpeech("Nobody speaks.")))
        return self.verifications.verification(made.id)

    def _verified(self, made: Verification) -> Verified:
        return Verified(
            comparison=Comparison(score=0.8, llr=5.0),
            operating_point=OperatingPoint.BALANCED,
            heard=heard(voice()),
            replay=Replay(kind=ReplayKind.COPY, of=RecordKind.SAMPLE, id=made.id, heard_at=now()),
        )

    def _use(self, made: Verification) -> Use:
        return Use(
            kind=RecordKind.VERIFICATION, model_id=made.model_id, subject_id=made.id, space_id=self.space.id,
            seconds=10.0, actor=self.by,
        )  # fmt: skip
