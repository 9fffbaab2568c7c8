"""Bodies as clients see them, to the letter: results outlive a deploy by a day, and clients parse them for years."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from api.schemas.jobs import JobState
from api.schemas.recordings import JobCreated
from shared.dialects.pyannoteai.outputs import OUTPUTS
from shared.domain.addresses import HttpUrl
from shared.domain.audio import Channels, Segment, Track
from shared.domain.commands import CreateVoiceprint, Diarize, Identify, Verify, from_record, to_record
from shared.domain.diarization import Diarization, Turn
from shared.domain.errors import AudioTooLong
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
from shared.domain.jobs import Job, Reply, Status
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
from shared.domain.sources import MediaUrl
from shared.domain.speech import ContentRequest, PhraseRule, SpokenTurn, Transcript
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
    dominant_speaker="SPEAKER_01",
    quality=Quality(capture=CAPTURE, num_speakers=2, share=0.81818, lead=0.63, consistency=0.9, clipped=False),
    calibrated=True,
    speech_s=2.75,
    audio_s=4.0,
    track=Track(duration_s=4.0, channels=Channels(number=2, used=(1,)), lost_s=0.31),
    timings_s={"decode": 0.01234567},
)


def job(status, **fields):
    return Job(id="j", client_id="c", status=status, created_at=CREATED, updated_at=UPDATED, reply=REPLY, **fields)


TIMES = {"createdAt": "2026-11-21T12:00:00.123Z", "updatedAt": "2026-11-21T12:00:01.000Z"}


@pytest.mark.parametrize(
    ("job", "body"),
    [
        (job(Status.CREATED), {"jobId": "j", "status": "created", **TIMES}),
        (job(Status.RUNNING, step="vad"), {"jobId": "j", "status": "running", **TIMES, "step": "vad"}),
        (job(Status.FAILED, output='{"a":1}'), {"jobId": "j", "status": "failed", **TIMES, "output": {"a": 1}}),
    ],
)
def test_a_job_looks_the_same_for_ever(job, body):
    assert JobState().dump(job) == body


def test_the_answer_to_a_post_has_a_warning_only_when_there_is_one():
    made = {"id": "j", "status": Status.CREATED, "warning": None}
    assert JobCreated().dump(made) == {"jobId": "j", "status": "created"}
    assert JobCreated().dump(made | {"warning": "mind"}) == {"jobId": "j", "status": "created", "warning": "mind"}


def test_a_failure_is_a_sentence_and_a_code():
    assert DIALECT.failure(AudioTooLong("Too long.")) == '{"error":"Too long.","code":"audio_too_long"}'


def test_a_voiceprint_result_looks_the_same_for_ever():
    assert json.loads(DIALECT.output(VOICE)) == {
        "voiceprint": "VE1CUgEGZ2UyZUAxAgCamRk/zcxMPwAAEEB7FPpBAAptK9I=",
        "model": "ge2e@1",
        "dimension": 2,
        "audioSeconds": 4.0,
        "speechSeconds": 2.75,
        "netSpeechSeconds": 2.25,
        "dominantSpeaker": "SPEAKER_01",
        "segments": [{"start": 1.0, "end": 3.25}],
        "speakers": [{"speaker": "SPEAKER_00", "seconds": 0.5}, {"speaker": "SPEAKER_01", "seconds": 2.25}],
        "diarization": [
            {"speaker": "SPEAKER_00", "start": 0.5, "end": 1.0},
            {"speaker": "SPEAKER_01", "start": 1.0, "end": 3.25},
        ],
        "quality": {
            "snrDb": 31.3,
            "narrowband": False,
            "speakerCount": 2,
            "dominantShare": 0.818,
            "consistency": 0.9,
        },
        "channels": {"number": 2, "used": [1]},
        "calibrated": True,
        "timings": {"decode": 0.0123},
        "warning": "This result is less certain than usual: the speaker talks for 2.2 s only. "
        "The file is damaged or cut off: 0.3 s of its sound could not be read.",
    }


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
#: As the release wrote them that first had these outputs; `channels` was added since.
GOLDEN = json.loads((Path(__file__).parent / "golden_outputs.json").read_text())


def test_every_kind_of_result_has_a_golden_output():
    assert set(RESULTS) == set(GOLDEN)


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_result_has_all_fields_of_one_output_and_of_no_other(kind):
    output = json.loads(DIALECT.output(RESULTS[kind]))
    fits = []
    for schema in OUTPUTS:
        known, required = schema().fields, {name for name, field in schema().fields.items() if field.required}
        fits += [schema.__name__] if required <= output.keys() <= known.keys() else []
    assert len(fits) == 1, (kind, fits)


@pytest.mark.parametrize("kind", GOLDEN)
def test_every_kind_of_result_looks_the_same_for_ever(kind):
    assert json.loads(DIALECT.output(RESULTS[kind])) == GOLDEN[kind]


def test_what_a_webhook_carries_are_the_bytes_of_the_output():
    output = DIALECT.output(FULL)
    assert DIALECT.webhook_body("j", Status.SUCCEEDED, output) == (
        '{"jobId":"j","status":"succeeded","output":' + output + "}"
    )
    assert DIALECT.webhook_body("j", Status.FAILED, None) == '{"jobId":"j","status":"failed"}'


def test_stored_commands_of_this_release_can_be_read_by_the_next():
    command = CreateVoiceprint(source=HttpUrl.parse("https://example.org/a.wav"), model="ge2e")
    assert to_record(command) == {"kind": "voiceprint", "url": "https://example.org/a.wav", "model": "ge2e"}
    assert from_record({"kind": "voiceprint", "url": "https://example.org/a.wav", "model": "ge2e"}) == command


def test_a_record_may_name_an_upload_by_a_key_that_is_refused_today():
    record = {"kind": "voiceprint", "url": "media://a/../b", "model": None}
    command = from_record(record)
    assert command.source == MediaUrl("a/../b")
    assert to_record(command) == record


CONTENT = ContentRequest(language="en-US", phrase="My voice is my password", rule=PhraseRule.WORDS, told=False)
SOURCE = HttpUrl.parse("https://example.org/a.wav")
VOICEPRINT = VOICE.voiceprint.encode()
#: Records as this release writes them, which the next must read.
RECORDS = [
    (
        CreateVoiceprint(source=SOURCE, content=CONTENT),
        {"kind": "voiceprint", "url": SOURCE.text, "model": None,
         "content": {"language": "en-US", "phrase": "My voice is my password", "rule": "words", "told": False}},
    ),
    (
        Verify(source=SOURCE, voiceprint=VOICE.voiceprint, content=ContentRequest()),
        {"kind": "verify", "url": SOURCE.text, "model": None, "voiceprint": VOICEPRINT, "operating_point": "balanced",
         "content": {"language": None, "phrase": None, "rule": "sentence", "told": True}},
    ),
    (
        Diarize(source=SOURCE, transcription=True),
        {"kind": "diarize", "url": SOURCE.text, "model": None, "min_speakers": None, "max_speakers": None,
         "turn_confidence": False, "frame_confidence": False, "exclusive": False, "transcription": True},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("command", "record"), RECORDS, ids=["voiceprint", "verify", "diarize"])
def test_stored_commands_that_ask_for_words_can_be_read_by_the_next_release(command, record):
    assert json.loads(json.dumps(to_record(command))) == record
    found = from_record(record)
    assert to_record(found) == to_record(command)
    assert getattr(found, "content", None) == getattr(command, "content", None)


@pytest.mark.parametrize(
    "command",
    [
        CreateVoiceprint(source=SOURCE),
        Verify(source=SOURCE, voiceprint=VOICE.voiceprint),
        Diarize(source=SOURCE),
        Identify(source=SOURCE, voiceprints={}),
    ],
    ids=lambda command: command.kind,
)
def test_a_command_that_asks_for_no_words_can_be_read_by_the_release_before(command):
    """That release refuses a record with a field that it does not know."""
    assert not {"content", "transcription"} & to_record(command).keys()
    assert not getattr(from_record(to_record(command)), "transcription", False)
