"""Stores of lasting identities as tests want them, and what is put into them."""

import os
from dataclasses import dataclass

import numpy as np

from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.enrolments import SqlEnrolments
from shared.adapters.sql.spaces import SqlSpaces
from shared.adapters.sql.verifications import SqlVerifications
from shared.domain.fingerprints import Fingerprint
from shared.domain.identities import (
    Actor,
    EnrolmentKind,
    Heard,
    NewEnrolment,
    NewIdentity,
    NewSample,
    NewVerification,
    Pooled,
    RecordKind,
    RecordQuery,
    Trace,
    Use,
    Verified,
    new_id,
)
from shared.domain.pooling import pool
from shared.domain.quality import Capture, Quality
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint

SECRET = b"s" * 32
MODEL = "ge2e@1"
ALL = RecordQuery(take=1000)
_DIMENSION = 256


def voice(seed=0, model_id=MODEL, speech_s=5.0):
    """Return a voiceprint; the same for the same seed."""
    vector = np.random.default_rng(seed).normal(size=_DIMENSION)
    capture = Capture(net_speech_s=speech_s, snr_db=20.0, narrowband=False)
    return Voiceprint(model_id, (vector / np.linalg.norm(vector)).astype(np.float32), capture)


def heard(seed=0, model_id=MODEL, speech_s=5.0, **changes):
    """Return what was heard in a recording of that voice."""
    print_ = voice(seed, model_id, speech_s)
    quality = Quality(capture=print_.capture, num_speakers=1, share=1.0, lead=1.0, consistency=0.9, clipped=False)
    usual = {"quality": quality, "audio_s": speech_s + 1.0, "speech_s": speech_s, "sample_rate_hz": 16000}
    return Heard(voiceprint=print_, **usual | changes)


def trace(seed=0):
    """Return the trace of a recording."""
    words = np.random.default_rng(seed).integers(0, 2**32, 100, dtype=np.uint32)
    return Trace(digest=np.random.default_rng(seed).bytes(32), fingerprint=Fingerprint(words))


def pooled(parts):
    """Return the voiceprint of the parts, without a warning."""
    return Pooled(voiceprint=pool([part.heard.voiceprint for part in parts]))


def verified(seed=0, **changes):
    """Return the result of a verification that accepts."""
    usual = {
        "comparison": Comparison(score=0.9, llr=3.0),
        "operating_point": OperatingPoint.BALANCED,
        "heard": heard(seed),
        "replay": None,
    }
    return Verified(**usual | changes)


@dataclass(frozen=True)
class Lasting:
    """The stores over one database, as one client uses them."""

    spaces: SqlSpaces
    enrolments: SqlEnrolments
    verifications: SqlVerifications
    by: Actor

    def use(self, kind, subject_id, space, seconds=5.0):
        """Return a use of the client's."""
        return Use(kind=kind, model_id=MODEL, subject_id=subject_id, space_id=space.id, seconds=seconds, actor=self.by)

    def space(self, handle="default"):
        """Return the client's space of that handle."""
        return self.spaces.ensure_space(self.by, handle)

    def identity(self, space, handle=None, **changes):
        """Make an identity."""
        return self.spaces.add_identity(self.by, space.id, NewIdentity(handle=handle, **changes))

    def pending(self, space, identity=None, **changes):
        """Make a sample that waits to be heard."""
        sample_id = new_id()
        new = NewSample(id=sample_id, identity_id=identity.id if identity else None, job_id=sample_id, **changes)
        return self.enrolments.add_sample(self.by, space.id, new)

    def keep(self, sample, seed=None, kept_until=None, model_id=MODEL):
        """Keep what was heard in a sample; returns whether it was kept."""
        seed = int.from_bytes(os.urandom(4)) if seed is None else seed
        use = Use(
            kind=RecordKind.SAMPLE, model_id=model_id, subject_id=sample.id, space_id=sample.space_id, seconds=6.0,
            actor=self.by,
        )  # fmt: skip
        return self.enrolments.keep_heard(sample.id, heard(seed, model_id), trace(seed), kept_until, use)

    def ready(self, space, identity=None, seed=None, **changes):
        """Make a sample that was heard."""
        sample = self.pending(space, identity)
        assert self.keep(sample, seed, **changes)
        return self.enrolments.sample(sample.id)

    def open(self, identity, samples=(), handle="once", kind=EnrolmentKind.ONCE, **changes):
        """Make an open enrolment."""
        new = NewEnrolment(identity_id=identity.id, handle=handle, kind=kind, **changes)
        return self.enrolments.add_enrolment(self.by, identity.space_id, new, [sample.id for sample in samples])

    def computed(self, identity, samples, **changes):
        """Make a computed enrolment."""
        enrolment = self.open(identity, samples, **changes)
        job_id = new_id()
        assert self.enrolments.begin_computing(self.by, enrolment.id, job_id)
        return self.enrolments.compute(enrolment.id, job_id, pooled, None)

    def growing(self, space, identity, samples=(), handle="main"):
        """Make a growing enrolment of samples."""
        grown = self.enrolments.ensure_growing(self.by, space.id, NewEnrolment(identity_id=identity.id, handle=handle))
        for sample in samples:
            grown = self.enrolments.grow(grown.id, sample.id, pooled, None)
        return grown

    def performing(self, space, enrolment, **changes):
        """Make a verification that waits for its job."""
        verification_id = new_id()
        new = NewVerification(id=verification_id, enrolment_id=enrolment.id, **changes)
        return self.verifications.add_verification(self.by, space.id, new)

    def settle(self, verification, *seeds, result=None):
        """Store a verification's result, of recordings with those seeds; returns whether it was stored."""
        seeds = seeds or (0,)
        use = Use(
            kind=RecordKind.VERIFICATION, model_id=MODEL, subject_id=verification.id,
            space_id=verification.space_id, seconds=6.0, actor=self.by,
        )  # fmt: skip
        traces = [trace(seed) for seed in seeds]
        return self.verifications.settle_verification(verification.id, result or verified(seeds[0]), traces, use)

    def usage(self):
        """Return kind and subject of all uses, sorted."""
        return sorted((one.kind, one.subject_id) for one in self.verifications.list_usage(self.by.client_id, ALL).items)

    def audited(self):
        """Return action, kind and record of all entries of the audit log, the oldest first."""
        entries = self.spaces.list_audit(self.by.client_id, ALL).items
        return [(one.action, one.kind, one.record_id) for one in reversed(entries)]


def lasting(engine, client="acme", secret=SECRET):
    """Return the stores over a migrated database, as a client uses them; the client is made if it is new."""
    clients = SqlClients(engine, secret)
    found = clients.authenticate(clients.create_key(client))
    by = Actor(client_id=found.id, key_id=found.key_id, request_id="request")
    return Lasting(SqlSpaces(engine, secret), SqlEnrolments(engine, secret), SqlVerifications(engine, secret), by)
