"""Voiceprints of a speaker whom the client chooses: by label, or by segments of a long recording."""

import pytest
from pydub import AudioSegment

from tests.support.answers import failure
from tests.support.client import Client, Json
from tests.support.jobs import done, ok, upload
from tests.support.sounds import DATA, DOMINANT, OTHER, PAUSE, encode, join, read

#: Recordings of the two people in the long conversation: one of each in it, another to compare with.
HEARD = {DOMINANT: f"{DOMINANT}-142285-0005.flac", OTHER: f"{OTHER}-5032-0000.flac"}
PROBES = {DOMINANT: f"{DOMINANT}-142285-0008.flac", OTHER: f"{OTHER}-5032-0003.flac"}
ROUNDS = 12


@pytest.fixture(scope="module")
def meeting(client: Client) -> tuple[str, dict[str, list[Json]], float]:
    """A conversation of minutes in which the first person speaks more: its address, who speaks when, its length."""
    sound = AudioSegment.silent(700, frame_rate=16_000)
    turns: dict[str, list[Json]] = {DOMINANT: [], OTHER: []}
    clips = {person: read(DATA / name) for person, name in HEARD.items()}
    for person in (DOMINANT, OTHER, DOMINANT) * ROUNDS:
        start_s = sound.duration_seconds
        sound += clips[person] + PAUSE
        turns[person].append({"start": round(start_s, 3), "end": round(sound.duration_seconds - 1, 3)})
    return client.upload("meeting.flac", encode(sound, "flac")), turns, sound.duration_seconds


def compared(client: Client, voiceprint: str) -> dict[str, Json]:
    """Return the verification of another recording of each person."""
    return {
        person: done(client, ok(client.post("/v1/verify", url=upload(client, name), voiceprint=voiceprint)))
        for person, name in PROBES.items()
    }


def test_segments_of_a_long_recording_give_the_voice_that_speaks_in_them(
    client: Client, meeting: tuple[str, dict[str, list[Json]], float]
) -> None:
    url, turns, seconds = meeting
    assert seconds > 120
    wanted = [turns[OTHER][0], *turns[OTHER][-3:]]
    output = done(client, ok(client.post("/v1/voiceprint", url=url, segments=wanted)))
    verified = compared(client, output["voiceprint"])
    assert verified[OTHER]["confidence"] > 90 > 10 > verified[DOMINANT]["confidence"]
    assert output["audioSeconds"] == pytest.approx(seconds, abs=0.01)
    assert output["netSpeechSeconds"] == output["speechSeconds"]
    assert 6 < output["netSpeechSeconds"] <= sum(one["end"] - one["start"] for one in wanted)
    for found in output["segments"]:
        assert [one for one in wanted if one["start"] <= found["start"] and found["end"] <= one["end"]]
    assert {one["start"] for one in wanted} == {
        one["start"] for one in wanted for found in output["segments"] if one["start"] <= found["start"] < one["end"]
    }
    assert output["quality"]["speakerCount"] == output["quality"]["dominantShare"] == 1
    assert "warning" not in output


def test_segments_of_two_people_are_warned_of(client: Client) -> None:
    clips = [read(DATA / name) for name in (HEARD[DOMINANT], "2609-156975-0000.flac")]
    both = join(clips)
    segments = [
        {"start": 0, "end": clips[0].duration_seconds},
        {"start": both.duration_seconds - clips[1].duration_seconds, "end": both.duration_seconds},
    ]
    url = client.upload("both.flac", encode(both, "flac"))
    output = done(client, ok(client.post("/v1/voiceprint", url=url, segments=segments)))
    assert "do not sound much alike" in output["warning"]


def test_a_speaker_is_chosen_by_the_label_of_the_job_before(client: Client) -> None:
    url = upload(client, "conversation.flac")
    before = done(client, ok(client.post("/v1/voiceprint", url=url)))
    (other,) = {one["speaker"] for one in before["speakers"]} - {before["dominantSpeaker"]}
    output = done(client, ok(client.post("/v1/voiceprint", url=url, speaker=other)))
    assert (output["speaker"], output["dominantSpeaker"]) == (other, before["dominantSpeaker"])
    assert before["speaker"] == before["dominantSpeaker"]
    assert output["diarization"] == before["diarization"]
    assert output["segments"] == [
        {"start": one["start"], "end": one["end"]} for one in output["diarization"] if one["speaker"] == other
    ]
    assert output["quality"]["dominantShare"] + before["quality"]["dominantShare"] == pytest.approx(1, abs=0.01)
    assert "nearly the same time" not in output.get("warning", "")
    verified = compared(client, output["voiceprint"])
    assert verified[OTHER]["confidence"] > 90 > 10 > verified[DOMINANT]["confidence"]


def test_whoever_is_not_there_is_named_and_so_are_those_who_are(client: Client) -> None:
    url = upload(client, "conversation.flac")
    job = client.run(url, speaker="SPEAKER_07")
    failure(job, "speaker_not_found", "SPEAKER_07", "SPEAKER_00", "SPEAKER_01")
    failure(client.run(url, segments=[{"start": 1, "end": 2}, {"start": 40, "end": 41}]), "segments_outside", "40.0")
    failure(client.run(url, segments=[{"start": 0.0, "end": 0.01}]), "no_speech", "segments")
    failure(client.run(url, segments=[{"start": 1.0, "end": 1.5}]), "too_little_speech", "In the segments")
