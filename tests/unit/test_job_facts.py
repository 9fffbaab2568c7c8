"""Facts by which a person knows a job again: words for its kind, a name for its recording, its length."""

import json

import pytest

from api.schemas.jobs import _KINDS, JobState
from shared.domain import commands
from shared.domain.commands import ComputeEnrolment, EnrolVoice
from shared.domain.jobs import JobFacts, Status, new_job_id
from shared.domain.media import job_upload
from shared.domain.sources import parse_source, source_name, stored_source
from tests.support.records import DIALECT
from tests.support.results import RESULTS, job

SECRET = "c2VjcmV0LXRva2Vu"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://example.org/a/voice.wav", "voice.wav"),
        ("https://example.org/voice.wav?X-Amz-Signature=secret#t=5", "voice.wav"),
        ("https://example.org/voice.wav#secret", "voice.wav"),
        ("https://example.org/voice.wav;jsessionid=secret", "voice.wav"),
        ("https://example.org/a/Zo%C3%AB%20Lee.wav", "Zoë Lee.wav"),
        ("https://example.org/a%2Fb.wav", "b.wav"),
        ("https://example.org/a%0D%0ASet-Cookie:%20b%00.wav", "a Set-Cookie: b .wav"),
        ("https://example.org/%FF%FE.wav", "\ufffd\ufffd.wav"),
        ("https://example.org/" + "a" * 300, "a" * 200),
        ("https://example.org/a/", None),
        ("https://example.org", None),
        ("https://example.org/?voice.wav", None),
        ("https://example.org/%20%0A", None),
        (f"https://example.org/v1/media/download/{SECRET}", None),
        (f"https://example.org/timbre/v1/media/download/{SECRET}", None),
        (f"https://example.org/v1/media//download/{SECRET}", None),
        (f"https://example.org/v1/media/./download/{SECRET}", None),
        (f"https://example.org/v1/media/%64ownload/{SECRET}", None),
        (f"https://example.org/v1/media/download%2F{SECRET}", None),
        (f"https://example.org/v1/media/download/{SECRET}%3Fa=/b", None),
        ("https://example.org/voice.wav%3Fsig=secret", "voice.wav"),
        ("https://example.org/voice.wav%3Fsig=secret/secret", "voice.wav"),
        ("https://example.org/voice.wav%3fsig=a%2Fsecret", "voice.wav"),
        ("https://example.org/voice.wav%23secret", "voice.wav"),
        ("https://example.org/voice.wav%3Bsig=secret%2Fsecret", "voice.wav"),
        ("https://example.org/voice.wav;sig=secret%2Fsecret", "voice.wav"),
        ("https://example.org/a%E2%80%AEvaw.exe%E2%81%A6", "a vaw.exe"),
        ("media://calls/2026/voice.wav", "voice.wav"),
        ("media://calls/", None),
        ("s3://calls/in/50%25 off.wav", "50%25 off.wav"),
    ],
)
def test_a_name_is_the_last_part_of_the_path_and_never_a_secret(address, name):
    assert source_name(parse_source(address)) == name


def test_an_upload_that_the_service_made_itself_has_no_name():
    assert source_name(stored_source(f"media://{job_upload(new_job_id(), 1)}")) is None


def test_a_job_of_several_recordings_has_the_name_of_the_first_and_one_of_none_has_none():
    first, second = parse_source("media://a.wav"), parse_source("media://b.wav")
    assert EnrolVoice(source=first, further=(second,), space="s", identity="i").source_name == "a.wav"
    assert ComputeEnrolment(enrolment="e").source_name is None


def test_every_kind_of_command_has_a_word_and_a_kind_of_a_newer_release_none():
    assert _KINDS.keys() == commands._KINDS.keys()
    dumped = JobState().dump(job(Status.CREATED, facts=JobFacts(kind="newer")))
    assert not {"kind", "name", "audioSeconds"} & dumped.keys()


@pytest.mark.parametrize("name", RESULTS)
def test_an_ending_has_the_length_of_its_recording_where_there_is_one(name):
    ending = DIALECT.ending("j", job(Status.RUNNING).reply, RESULTS[name])
    told = json.loads(ending.output).get("audioSeconds")
    assert ending.audio_s is None if name in ("enrolment", "voice_enrolment") else ending.audio_s > 0
    assert told in (None, pytest.approx(ending.audio_s, abs=0.001))
