"""Requests for a voiceprint of a speaker whom the client chooses."""

import pytest

from shared.domain.commands import Lane
from tests.support.answers import fields, refused
from tests.support.apis import api

URL = "media://a"


@pytest.fixture(scope="module")
def client(tmp_path_factory, redis_server):
    with api(tmp_path_factory.mktemp("chosen"), redis_server.url, max_audio_s=30.0) as client:
        yield client


def segment(start, end):
    return {"start": start, "end": end}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"segments": []}, "segments"),
        ({"segments": [segment(0, 0.1)] * 201}, "segments"),
        ({"segments": segment(0, 1)}, "segments"),
        ({"segments": [[0, 1]]}, "segments.0"),
        ({"segments": [segment(-0.1, 1)]}, "segments.0.start"),
        ({"segments": [segment(0, 1), segment(2, 2)]}, "segments.1.end"),
        ({"segments": [segment(3, 2)]}, "segments.0.end"),
        ({"segments": [segment(0, "x")]}, "segments.0.end"),
        ({"segments": [segment(0, True)]}, "segments.0.end"),
        ({"segments": [segment("0", 1)]}, "segments.0.start"),
        ({"segments": [{"start": 0}]}, "segments.0.end"),
        ({"segments": [segment(0, 30.1)]}, "segments"),
        ({"segments": [segment(0, 20), segment(100, 110.5)]}, "segments"),
        ({"segments": [segment(0, 1e300)]}, "segments"),
        ({"segments": [segment(0, 1)], "speaker": "SPEAKER_00"}, "segments"),
        ({"speaker": "Ann"}, "speaker"),
        ({"speaker": "SPEAKER_01\n"}, "speaker"),
        ({"speaker": 1}, "speaker"),
    ],
)
def test_a_wrong_choice_is_told(client, body, field):
    assert fields(client.post("/v1/voiceprint", url=URL, **body)) == [field]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "1" * 5000])
def test_a_number_that_is_none_is_told(client, text):
    body = f'{{"url": "{URL}", "segments": [{{"start": 0, "end": {text}}}]}}'
    answer = client.send("POST", "/v1/voiceprint", data=body, headers={"Content-Type": "application/json"})
    refused(answer, 400, "invalid_request")


def test_more_than_a_voiceprint_takes_is_refused_with_both_lengths(client):
    answer = client.post("/v1/voiceprint", url=URL, segments=[segment(0, 20), segment(60, 71.5)])
    message = answer.json()["message"]
    assert "31.5 s" in message and "30 s" in message
    assert len(client.post("/v1/voiceprint", url=URL, segments=[segment(0, 1e300)]).json()["message"]) < 200


@pytest.mark.parametrize(("each_s", "status"), [(0.151, 200), (0.152, 400)])
def test_two_hundred_rounded_segments_may_exceed_the_limit_by_their_rounding_alone(each_s, status, client):
    segments = [segment(k, round(k + each_s, 3)) for k in range(200)]
    assert client.post("/v1/voiceprint", url=URL, segments=segments).status_code == status


def test_segments_that_overlap_count_once(client, redis):
    accepted = [segment(0, 20), segment(10, 30), segment(5, 6)]
    job_id = client.submit(URL, segments=accepted)
    assert redis.hget(f"timbre:job:{job_id}", "lane") == Lane.LONG


@pytest.mark.parametrize("body", [{}, {"speaker": None, "segments": None}, {"speaker": "SPEAKER_01"}])
def test_without_segments_it_is_a_short_job(client, redis, body):
    answer = client.post("/v1/voiceprint", url=URL, **body)
    assert answer.status_code == 200
    assert "warning" not in answer.json()
    assert redis.hget(f"timbre:job:{answer.json()['jobId']}", "lane") == Lane.SHORT


def test_unknown_fields_of_a_segment_are_named(client):
    answer = client.post("/v1/voiceprint", url=URL, segments=[segment(0, 1) | {"speaker": "SPEAKER_00"}])
    assert "segments.speaker" in answer.json()["warning"]
