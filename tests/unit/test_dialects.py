"""Bodies as clients see them, to the letter: results outlive a deploy by a day, and clients parse them for years."""

import json
from pathlib import Path

import pytest

from api.schemas.jobs import JobState
from api.schemas.recordings import JobCreated
from shared.dialects.pyannoteai.outputs import OUTPUTS
from shared.domain.addresses import HttpUrl
from shared.domain.commands import CreateVoiceprint, Diarize, Identify, Verify, from_record, to_record
from shared.domain.errors import AudioTooLong
from shared.domain.jobs import Status
from shared.domain.sources import MediaUrl
from shared.domain.speech import ContentRequest, PhraseRule
from tests.support.records import DIALECT
from tests.support.results import FULL, RESULTS, VOICE, job

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
        "speaker": "SPEAKER_01",
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
