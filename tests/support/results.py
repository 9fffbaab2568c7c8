"""Results of every kind of job, as values, and a job."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from shared.domain.audio import Channels, Segment, Track
from shared.domain.diarization import Diarization, Turn
from shared.domain.identities import (
    Enrolment,
    EnrolmentKind,
    EnrolmentState,
    Failure,
    Heard,
    Name,
    RecordKind,
    Replay,
    ReplayKind,
    Sample,
    SampleState,
    Verification,
    VerificationState,
    Verified,
)
from shared.domain.jobs import Job, Reply
from shared.domain.naming import Likeness
from shared.domain.quality import Capture, Quality
from shared.domain.results import (
    Candidate,
    EnrolmentResult,
    FrameConfidence,
    Identification,
    IdentityVerificationResult,
    RecordingDiarization,
    RecordingOutcome,
    SampleResult,
    SearchResult,
    VerificationResult,
    VoiceEnrolmentResult,
    VoiceprintResult,
)
from shared.domain.speech import SpokenTurn, Transcript
from shared.domain.verification import Comparison, OperatingPoint
from shared.domain.voiceprints import Voiceprint
from tests.support.records import DIALECT

CREATED = datetime(2026, 11, 21, 12, 0, 0, 123456, UTC)
UPDATED = datetime(2026, 11, 21, 12, 0, 1, tzinfo=UTC)

REPLY = Reply(DIALECT.name)
CAPTURE = Capture(net_speech_s=2.25, snr_db=31.26, narrowband=False)


TURNS = [Turn(Segment(0.5, 1.0), "SPEAKER_00"), Turn(Segment(1.0, 3.25), "SPEAKER_01")]
VOICE = VoiceprintResult(
    voiceprint=Voiceprint("ge2e@1", np.array([0.6, 0.8], np.float32), CAPTURE),
    diarization=Diarization(TURNS),
    speaker="SPEAKER_01",
    quality=Quality(capture=CAPTURE, num_speakers=2, share=0.81818, lead=0.63, consistency=0.9, clipped=False),
    calibrated=True,
    speech_s=2.75,
    audio_s=4.0,
    track=Track(duration_s=4.0, channels=Channels(number=2, used=(1,)), lost_s=0.31),
    timings_s={"decode": 0.01234567},
)


def job(status, **fields):
    """Return a job in a status."""
    return Job(id="j", client_id="c", status=status, created_at=CREATED, updated_at=UPDATED, reply=REPLY, **fields)


SURE = [
    replace(TURNS[0], confidence={"SPEAKER_00": 90, "SPEAKER_01": 10}),
    replace(TURNS[1], confidence={"SPEAKER_00": 3, "SPEAKER_01": 97}),
]
RECORDING = RecordingDiarization(
    diarization=Diarization(TURNS), exclusive=None, frame_confidence=None, voices={}, speech_s=2.75, audio_s=4.00049,
    track=Track(), warning=None, timings_s={"decode": 0.01234567},
)  # fmt: skip
FULL = replace(
    RECORDING,
    diarization=Diarization(SURE),
    exclusive=SURE,
    frame_confidence=FrameConfidence(np.array([99, 0, 100], np.uint8)),
)
LIKENESSES = {
    "SPEAKER_00": {
        "Ann": Likeness(score=0.123456, probability=0.0474),
        "Bob": Likeness(score=0.9, probability=0.982),
    },
    "SPEAKER_01": {"Ann": Likeness(score=0.2, probability=None), "Bob": Likeness(score=0.3, probability=None)},
}
TRANSCRIPT = Transcript(
    turns=[SpokenTurn(segment=TURNS[1].segment, speaker=TURNS[1].speaker, text="Good morning, how can I help?")],
    recogniser_id="moonshine_tiny_en@1", language="en",
)  # fmt: skip
RESULTS = {
    "voiceprint_transcript": replace(VOICE, transcript=TRANSCRIPT),
    "diarize_plain": RECORDING,
    "diarize_full": replace(FULL, warning="W."),
    "diarize_transcription": replace(RECORDING, transcript=TRANSCRIPT, warning="Words."),
    "diarize_no_words": replace(RECORDING, transcript=replace(TRANSCRIPT, turns=[])),
    "identify_transcription": Identification.of(
        replace(RECORDING, transcript=TRANSCRIPT), LIKENESSES, {"SPEAKER_00": "Bob", "SPEAKER_01": None},
        calibrated=True,
    ),
    "identify": Identification.of(FULL, LIKENESSES, {"SPEAKER_00": "Bob", "SPEAKER_01": None}, calibrated=False),
    "verify": VerificationResult(
        comparison=Comparison(score=0.87654, llr=5.0), operating_point=OperatingPoint.STRICT, voice=VOICE
    ),
    "verify_transcript": VerificationResult(
        comparison=Comparison(score=0.87654, llr=5.0), operating_point=OperatingPoint.STRICT,
        voice=replace(VOICE, transcript=TRANSCRIPT),
    ),
}  # fmt: skip
IDENTITY = Name(id=f"{1:032x}", handle="ann")
AT = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
HEARD = Heard(
    voiceprint=VOICE.voiceprint, quality=VOICE.quality, audio_s=4.00049, speech_s=2.75, sample_rate_hz=8000,
    dominant_speaker="SPEAKER_01", channels=Channels(number=2, used=(1,)), warning="H.",
)  # fmt: skip
SAMPLE = Sample(
    id="sample", space_id="space", handle="first", state=SampleState.READY, identity=IDENTITY, job_id="sample",
    heard=HEARD, created_at=AT,
)  # fmt: skip
ENROLMENT = Enrolment(
    id="enrolment", space_id="space", identity=IDENTITY, handle="main", kind=EnrolmentKind.GROWING,
    state=EnrolmentState.COMPUTED, model="", model_id="ge2e@1", version=2, voiceprint=VOICE.voiceprint,
    warning="Unlike.", audio_s=8.0, speech_s=5.5, num_samples=2, created_at=AT, computed_at=AT,
)  # fmt: skip
VERIFICATION = Verification(
    id="verification", space_id="space", handle="verification", state=VerificationState.PERFORMED, identity=IDENTITY,
    enrolment=ENROLMENT.name, sample=None, operating_point=OperatingPoint.STRICT, model="", model_id="ge2e@1",
    job_id="verification", created_at=AT,
    result=Verified(
        comparison=Comparison(score=0.87654, llr=5.0), operating_point=OperatingPoint.STRICT, heard=HEARD,
        replay=Replay(kind=ReplayKind.COPY, of=RecordKind.SAMPLE, id="sample", heard_at=AT), added_sample="added",
    ),
)  # fmt: skip
#: Of a sample that is a voiceprint string, when all but the verification is deleted.
BARE = replace(
    VERIFICATION, identity=None, enrolment=None,
    result=replace(
        VERIFICATION.result, comparison=Comparison(score=0.1, llr=None), replay=None, added_sample=None,
        heard=Heard(voiceprint=VOICE.voiceprint, quality=None, audio_s=2.0, speech_s=2.0),
    ),
)  # fmt: skip
TIMES = {"timings_s": {"decode": 0.01234567}}
RESULTS |= {
    "sample": SampleResult(sample=SAMPLE, enrolment=ENROLMENT, space="default", **TIMES),
    "sample_alone": SampleResult(sample=replace(SAMPLE, identity=None), enrolment=None, space="default", **TIMES),
    "enrolment": EnrolmentResult(enrolment=ENROLMENT, space="default", **TIMES),
    "voice_enrolment": VoiceEnrolmentResult(
        enrolment=ENROLMENT, space="default", **TIMES,
        recordings=[
            RecordingOutcome(accepted=True),
            RecordingOutcome(accepted=False, failure=Failure(code="no_speech", message="Nobody speaks.")),
            RecordingOutcome(accepted=False),
        ],
    ),
    "identity_verification": IdentityVerificationResult(
        verification=VERIFICATION, space="default", calibrated=True, **TIMES
    ),
    "identity_verification_bare": IdentityVerificationResult(
        verification=BARE, space="default", calibrated=False, **TIMES
    ),
    "search": SearchResult(
        candidates=[Candidate(identity=IDENTITY, score=0.87654, confidence=97)], nobody=3, num_searched=20,
        num_skipped=1, space="default", heard=HEARD, calibrated=True, **TIMES,
    ),
    "search_uncalibrated": SearchResult(
        candidates=[Candidate(identity=IDENTITY, score=0.87654, confidence=None)], nobody=None, num_searched=1,
        num_skipped=0, space="default", heard=HEARD, calibrated=False, **TIMES,
    ),
}  # fmt: skip
