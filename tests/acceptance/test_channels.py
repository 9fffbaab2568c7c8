"""Channels of a recorded call: one of them, each apart, or all as one."""

from typing import Any

import pytest

from shared.domain.audio import Segment
from shared.domain.diarization import Turn
from shared.domain.voiceprints import Voiceprint
from tests.support.answers import UNREACHABLE, failure, fields, refused
from tests.support.calls import Call, call, leaking
from tests.support.client import Client, Json
from tests.support.sounds import DATA, OTHER
from tests.support.speech import read_clips
from worker.voices.error_rate import diarization_error

#: Seconds by which the edge of a turn may differ from that of the speech.
NEAR_S = 0.5
NUMBERS = {"numSpeakers": 2, "minSpeakers": 1, "maxSpeakers": 3}


@pytest.fixture(scope="module")
def made() -> Call:
    """A call of half a minute between two people, with leaks of 20 dB below each voice."""
    clips = read_clips()
    people = ("1688", "3080")
    one, other = ([clip.samples for clip in clips if clip.speaker == person] for person in people)
    made = call((one, other), 29.0, least_s=4.0)
    return Call(leaking(made.sound, -20.0), made.speech)


@pytest.fixture(scope="module")
def url(client: Client, made: Call) -> str:
    return client.upload("call.flac", made.flac)


def job(client: Client, path: str, **body: Any) -> Json:
    answer = client.post(path, **body)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"jobId", "status"}
    return client.wait(answer.json()["jobId"], 60.0)


def output(client: Client, path: str, **body: Any) -> Json:
    done = job(client, path, **body)
    assert done["status"] == "succeeded", done
    found: Json = done["output"]
    return found


def test_each_channel_is_a_speaker_whose_turns_are_those_of_the_channel(client: Client, url: str, made: Call) -> None:
    found = output(client, "/v1/diarize", url=url, channel="each")
    assert [(one["speaker"], one["channel"]) for one in found["speakers"]] == [("SPEAKER_00", 0), ("SPEAKER_01", 1)]
    assert found["channels"] == {"number": 2, "used": [0, 1]}
    assert "warning" not in found
    for k, speech in enumerate(made.speech):
        turns = [Turn(Segment(turn["start"], turn["end"]), "") for turn in found["diarization"] if of(turn) == k]
        errors = diarization_error([Turn(segment, "") for segment in speech], turns, found["audioSeconds"], NEAR_S)
        assert errors.speech_s > 3.0
        assert errors.wrong_s < 0.1


def of(turn: Json) -> int:
    return int(turn["speaker"].removeprefix("SPEAKER_"))


def test_each_channel_goes_with_all_that_a_diarization_can_tell(client: Client, url: str) -> None:
    asked = {"turnLevelConfidence": True, "confidence": True, "exclusive": True, "transcription": True}
    found = output(client, "/v1/diarize", url=url, channel="each", **asked)
    for turn in [*found["diarization"], *found["exclusiveDiarization"]]:
        assert max(turn["confidence"], key=turn["confidence"].__getitem__) == turn["speaker"]
    starts = [turn["start"] for turn in found["exclusiveDiarization"]]
    assert all(start >= turn["end"] for start, turn in zip(starts[1:], found["exclusiveDiarization"], strict=False))
    assert len(found["confidence"]["score"]) == pytest.approx(found["audioSeconds"] / 0.02, abs=2)
    assert {turn["speaker"] for turn in found["turnLevelTranscription"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert [turn["start"] for turn in found["turnLevelTranscription"]] == sorted(
        turn["start"] for turn in found["turnLevelTranscription"]
    )


def test_the_voiceprint_of_a_channel_is_that_of_its_person(client: Client, url: str) -> None:
    clips = {person: client.upload(f"{person}.flac", (DATA / name).read_bytes()) for person, name in (
        (0, "1688-142285-0008.flac"), (1, "3080-5032-0003.flac"))}  # fmt: skip
    alone = {person: voice(output(client, "/v1/voiceprint", url=clip)) for person, clip in clips.items()}
    for channel in (0, 1):
        found = output(client, "/v1/voiceprint", url=url, channel=channel)
        assert found["channels"] == {"number": 2, "used": [channel]}
        assert "different people" not in found.get("warning", "")
        assert voice(found).score(alone[channel]) > voice(found).score(alone[1 - channel]) + 0.15
        verified = output(
            client,
            "/v1/verify",
            url=url,
            channel=channel,
            voiceprint=alone[channel].encode(),
            operatingPoint="balanced",
        )
        assert verified["decision"] == "accept"


def voice(found: Json) -> Voiceprint:
    return Voiceprint.decode(found["voiceprint"])


@pytest.mark.parametrize("channel", [{}, {"channel": "mix"}, {"channel": None}])
def test_the_mix_of_two_people_warns_and_names_the_field(client: Client, url: str, channel: Json) -> None:
    warning = output(client, "/v1/diarize", url=url, **channel)["warning"]
    assert "The channels hold different people; they were mixed." in warning
    assert "`channel`" in warning and '"each"' in warning


def test_a_channel_that_the_recording_lacks_fails_the_job(client: Client, url: str) -> None:
    failure(job(client, "/v1/voiceprint", url=url, channel=2), "channel_not_found", "2 channels", "0 to 1")
    failure(job(client, "/v1/diarize", url=url, channel=7), "channel_not_found", "2 channels")


@pytest.mark.parametrize("channel", [-1, 8, 0.5, "left", True, [0], "each"])
@pytest.mark.parametrize("path", ["/v1/voiceprint", "/v1/verify", "/v1/identify", "/v1/search", "/v1/enrol"])
def test_a_channel_that_cannot_be_is_refused(client: Client, path: str, channel: Any, enrolled: dict[str, str]) -> None:
    one = {"voiceprint": enrolled[OTHER], "identity": "ada", "voiceprints": []}
    taken = {"/v1/verify": ["voiceprint"], "/v1/identify": ["voiceprints"], "/v1/enrol": ["identity"]}.get(path, [])
    answer = client.post(path, url=UNREACHABLE, channel=channel, **{name: one[name] for name in taken})
    errors = refused(answer, 400, "invalid_request")["errors"]
    (message,) = [error["message"] for error in errors if error["field"] == "channel"]
    assert ("/v1/diarize" in message) == (channel == "each")


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_speakers_do_not_go_with_each_channel(client: Client, name: str) -> None:
    asked = {name: NUMBERS[name]}
    assert fields(client.post("/v1/diarize", url=UNREACHABLE, channel="each", **asked)) == [name]


def test_a_mono_recording_has_one_speaker_by_channels_and_says_so(client: Client) -> None:
    url = client.upload("conversation.flac", (DATA / "conversation.flac").read_bytes())
    found = output(client, "/v1/diarize", url=url, channel="each")
    assert [(one["speaker"], one["channel"]) for one in found["speakers"]] == [("SPEAKER_00", 0)]
    assert "one channel" in found["warning"]
