"""Wire form of the spaces API, which has no jobs: bodies of its resources, errors and names of models.

Three generations of its documents name some fields otherwise; a body carries all of those names.
"""

import math
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from marshmallow import Schema, fields

from shared.domain.calibration import probability
from shared.domain.errors import NoSpeech, NotCalibrated, TimbreError, TooLittleSpeech
from shared.domain.identities import (
    Enrolment,
    EnrolmentState,
    Heard,
    Requirements,
    Sample,
    SampleState,
    Verification,
    VerificationState,
)
from shared.domain.keys import Client

#: Handles that clients may choose.
HANDLE_PATTERN = r"[a-z0-9]+(-[a-z0-9]+)*"
MAX_HANDLE_LENGTH = 50
#: Longest recording that a voiceprint is made of, all its samples together, and that is verified; in seconds.
MAX_AUDIO_S = 120.0
#: Speech in all samples of a voiceprint together, and in a recording to be verified, in seconds.
VOICEPRINT_SPEECH_S = 4.5
VERIFICATION_SPEECH_S = 1.5
#: Least sample rate of each family of models, in Hz; all of them mean the model that is installed.
FAMILIES = {"default": 8000, "phone": 8000, "digital": 16000}
#: Versions that the model index shows.
INDEX = (("default", "v1"), ("phone", "v1"), ("phone", "v1.1"), ("digital", "v1"), ("digital", "v1.1"))
#: Makers of synthetic speech that the vendor tells apart. Timbre tells none.
SYNTHESIS_SOURCES = (
    "aws", "azure", "deepgram", "elevenlabs", "google", "ibm", "lmnt", "murf", "openai", "playht", "speechify", "other",
)  # fmt: skip
#: Ends of a recording that has sound, but not the voice that a score needs.
_VOICELESS = (NoSpeech.code, TooLittleSpeech.code)
_MODEL = re.compile(r"(\w+)(?:/v?\d+(?:\.\d+)*)?")
#: Scores end here: 0 and 1 would be certainty.
_SCORES = (0.0001, 0.9999)
#: Score of a replay. High is natural, so a copy of a recording that was heard before has the lowest.
_REPLAYED = 0.0


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Owner of spaces: a client, as a user or as an organization; both have its handle."""

    type: str
    id: str
    handle: str
    alias: str

    @classmethod
    def of(cls, client: Client, kind: str = "org") -> "Owner":
        """Return a client as an owner."""
        return cls(type=kind, id=str(uuid.UUID(client.id)), handle=slug(client), alias=client.name)


def slug(client: Client) -> str:
    """Return the handle of a client: letters and digits of its name, joined by hyphens, or else its id."""
    words = re.findall(r"[a-z0-9]+", client.name.lower())
    return "-".join(words)[:MAX_HANDLE_LENGTH].strip("-") or client.id


def family(model: str) -> str | None:
    """Return the family of a model's name such as `phone/v1.1`; None for a name that the vendor does not have."""
    found = _MODEL.fullmatch(model)
    return found[1] if found and found[1] in FAMILIES else None


def sample_requirements(enrolment: Enrolment) -> Requirements:
    """Return what a voiceprint's model asks of each sample."""
    least_s = VOICEPRINT_SPEECH_S / max(1, enrolment.min_samples)
    return Requirements(min_speech_s=least_s, min_sample_rate_hz=_least_rate_hz(enrolment.model))


def too_long(enrolment: Enrolment, sample: Sample) -> str | None:
    """Return a sentence if a voiceprint's audios would last too long with one more; None where they would not."""
    total_s = enrolment.audio_s + (sample.heard.audio_s if sample.heard else 0.0)
    if total_s <= MAX_AUDIO_S:
        return None
    return (
        f"Audio {sample.handle} cannot be added: all audios together would last {total_s:.1f} s, {MAX_AUDIO_S:g} s are "
        "allowed."
    )


def _least_rate_hz(model: str) -> int:
    return FAMILIES[family(model) or "default"]


def error(error: TimbreError, request_id: str) -> dict[str, Any]:
    """Return the body of an error answer; no other body has a `message`, by which clients tell errors."""
    return {"code": error.code, "message": str(error), "requestId": request_id}


class Duration(fields.String):
    """Seconds as an ISO 8601 duration, of seconds with milliseconds alone: `PT83.500S`."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        return None if value is None else duration(value)


def duration(seconds: float) -> str:
    """Return seconds as the vendor prints them."""
    return f"PT{seconds:.3f}S"


class Instant(fields.String):
    """UTC time in ISO 8601 with microseconds and Z."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        if not isinstance(value, datetime):
            return None
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


class NamedBody(Schema):
    """Reference to a resource."""

    handle = fields.String()
    alias = fields.String()


class OwnerBody(NamedBody):
    """Owner of a space."""

    type = fields.String()


class AccountBody(OwnerBody):
    """User or organization."""

    id = fields.String()


class SpaceBody(Schema):
    """Space; it is dumped together with its owner."""

    id = fields.String(attribute="space.id")
    handle = fields.String(attribute="space.handle")
    alias = fields.String(attribute="space.alias")
    owner = fields.Nested(OwnerBody)
    createdAt = Instant(attribute="space.created_at")


class IdentityBody(NamedBody):
    """Identity."""

    id = fields.String()
    audios = fields.Integer(attribute="num_samples")
    samples = fields.Function(lambda one: one.num_samples)
    voiceprints = fields.Integer(attribute="num_enrolments")
    verifications = fields.Integer(attribute="num_verifications")
    createdAt = Instant(attribute="created_at")


class AudioBody(NamedBody):
    """Audio, which is a sample."""

    id = fields.String()
    state = fields.Function(lambda sample: audio_state(sample))
    fileState = fields.Function(lambda sample: audio_state(sample))
    duration = fields.Function(lambda sample: sample.heard and duration(sample.heard.audio_s))
    voiceDuration = fields.Function(lambda sample: _voice_duration(sample))
    sampleRate = fields.Function(lambda sample: (sample.heard and sample.heard.sample_rate_hz) or None)
    identity = fields.Nested(NamedBody, allow_none=True)
    voiceprints = fields.Integer(attribute="num_enrolments")
    verifications = fields.Integer(attribute="num_verifications")
    createdAt = Instant(attribute="created_at")
    uploadedAt = Instant(attribute="uploaded_at")


def audio_state(sample: Sample) -> str:
    """Return the state of an audio; the first one is spelt as the vendor spells it."""
    if sample.state in (SampleState.AWAITING_FILE, SampleState.PENDING):
        return "avaitingFile"
    return "available" if sample.state is SampleState.READY or is_voiceless(sample) else "notAvailable"


def is_voiceless(sample: Sample) -> bool:
    """Tell whether an audio is a recording in which nobody speaks, or hardly."""
    return sample.failure is not None and sample.failure.code in _VOICELESS


def _voice_duration(sample: Sample) -> str | None:
    if sample.heard:
        return duration(sample.heard.speech_s)
    return duration(0.0) if sample.failure and sample.failure.code == NoSpeech.code else None


class VoiceprintBody(NamedBody):
    """Voiceprint, which is an enrolment."""

    id = fields.String()
    state = fields.Function(lambda enrolment: voiceprint_state(enrolment))
    model = fields.Function(lambda enrolment: enrolment.model or enrolment.model_id)
    identity = fields.Nested(NamedBody)
    totalDuration = Duration(attribute="audio_s")
    totalVoiceDuration = Duration(attribute="speech_s")
    minAudios = fields.Integer(attribute="min_samples")
    minSamples = fields.Function(lambda enrolment: enrolment.min_samples)
    audios = fields.Integer(attribute="num_samples")
    samples = fields.Function(lambda one: one.num_samples)
    verifications = fields.Integer(attribute="num_verifications")
    createdAt = Instant(attribute="created_at")
    computedAt = Instant(attribute="computed_at")


def voiceprint_state(enrolment: Enrolment) -> str:
    """Return the state of a voiceprint; there is none for one that is being computed."""
    if enrolment.state is EnrolmentState.COMPUTED:
        return "computed"
    return "computable" if enrolment.computable or enrolment.state is EnrolmentState.COMPUTING else "notComputable"


class VerificationBody(NamedBody):
    """Identity verification."""

    id = fields.String()
    state = fields.Function(lambda verification: verification_state(verification))
    mode = fields.Function(lambda verification: verification.mode.value)
    model = fields.Function(lambda verification: verification.model or verification.model_id)
    audio = fields.Function(lambda verification: _audio_of(verification))
    voiceprint = fields.Function(lambda verification: _voiceprint_of(verification))
    duration = fields.Function(lambda one: one.result and duration(one.result.heard.audio_s))
    voiceDuration = fields.Function(lambda one: one.result and duration(one.result.heard.speech_s))
    score = fields.Function(lambda verification: identity_score(verification))
    scores = fields.Function(lambda verification: scores(identity_score(verification), replay_score(verification)))
    createdAt = Instant(attribute="created_at")
    performedAt = Instant(attribute="performed_at")


def verification_state(verification: Verification) -> str:
    """Return the state of a verification."""
    if verification.state is VerificationState.PERFORMING:
        return "performing"
    if verification.failure is not None:
        unscored = verification.failure.code in (*_VOICELESS, NotCalibrated.code)
        return "performedWithoutScore" if unscored else "error"
    return "performedWithoutScore" if identity_score(verification) is None else "performed"


def identity_score(verification: Verification) -> float | None:
    """Return the probability that it is the identity; None where it is not known, or the model asks for more."""
    result = verification.result
    if result is None or result.comparison.llr is None or not _is_scored(result.heard, verification.model):
        return None
    least, most = _SCORES
    return min(max(math.floor(probability(result.comparison.llr) * 10_000) / 10_000, least), most)


def _is_scored(heard: Heard, model: str) -> bool:
    asked = Requirements(
        min_speech_s=VERIFICATION_SPEECH_S, min_snr_db=0.0, min_lead=0.0, min_sample_rate_hz=_least_rate_hz(model)
    )
    return heard.audio_s <= MAX_AUDIO_S and not asked.unmet(heard)


def replay_score(verification: Verification) -> float | None:
    """Return the lowest score for a copy of what was heard before; else None.

    That no copy was found does not make a recording natural: it may be played from one that was never heard here.
    """
    return _REPLAYED if verification.result and verification.result.replay else None


def scores(identity: float | None = None, replay: float | None = None) -> dict[str, Any]:
    """Return the scores of a verification."""
    sources = dict.fromkeys(SYNTHESIS_SOURCES)
    return {"identity": identity, "synthesis": None, "synthesis_sources": sources, "replay": replay}


def _audio_of(verification: Verification) -> dict[str, Any] | None:
    if verification.sample is None:
        return None
    return {**NamedBody().dump(verification.sample), "state": "available"}


def _voiceprint_of(verification: Verification) -> dict[str, Any] | None:
    if verification.enrolment is None or verification.identity is None:
        return None
    named = NamedBody()
    identity = named.dump(verification.identity)
    return {**named.dump(verification.enrolment), "state": "computed", "identity": identity}


class AuthenticityBody(NamedBody):
    """Authenticity verification, which has no scores."""

    id = fields.String()
    state = fields.Constant("performedWithoutScore")
    mode = fields.Constant("restApi")
    model = fields.String()
    audio = fields.Function(lambda one: {**NamedBody().dump(one["sample"]), "state": audio_state(one["sample"])})
    duration = fields.Function(lambda one: AudioBody().dump(one["sample"])["duration"])
    voiceDuration = fields.Function(lambda one: AudioBody().dump(one["sample"])["voiceDuration"])
    score = fields.Constant(None)
    scores = fields.Function(lambda _: scores())
    createdAt = Instant(attribute="created_at")
    performedAt = Instant(attribute="performed_at")


class RecordBody(Schema):
    """Record of use, which stays when what it refers to is deleted."""

    id = fields.String(attribute="usage.id")
    handle = fields.Function(lambda one: one["usage"].id)
    actor = fields.Nested(NamedBody)
    model = fields.String()
    space = fields.Nested(NamedBody, allow_none=True)
    owner = fields.Nested(OwnerBody)


class VoiceprintRecordBody(RecordBody):
    """Record of a voiceprint that was computed."""

    voiceprint = fields.Nested(NamedBody, allow_none=True)
    computedAt = Instant(attribute="usage.at")


class VerificationKindBody(NamedBody):
    """Reference to a verification."""

    type = fields.Constant("identity")


class VerificationRecordBody(RecordBody):
    """Record of a verification that was performed."""

    verification = fields.Nested(VerificationKindBody, allow_none=True)
    performedAt = Instant(attribute="usage.at")


def models(installed: Sequence[str]) -> list[dict[str, Any]]:
    """Return the model index: names that the vendor's clients know; all of them mean the installed model."""
    return [
        {
            "handle": handle,
            "version": version,
            "name": f"{handle}/{version}",
            "minSampleRate": FAMILIES[handle],
            "installed": next(iter(installed), None),
        }
        for handle, version in INDEX
    ]
