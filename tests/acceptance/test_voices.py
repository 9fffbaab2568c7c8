"""The voiceprint is that of the right person."""

import csv
from itertools import combinations, pairwise

import pytest

from shared.domain.voiceprints import Voiceprint
from tests.support.client import Client, Json, voiceprint
from tests.support.sounds import DATA, DOMINANT, OTHER


def speakers() -> dict[str, str]:
    """Return whose voice each recording of the manifest holds."""
    with (DATA / "manifest.csv").open() as file:
        return {row["file"]: row["speaker"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def voices(client: Client) -> dict[str, Voiceprint]:
    """The voiceprints of the manifest's recordings, worked on side by side."""
    jobs = {name: client.submit(client.upload(name, (DATA / name).read_bytes())) for name in speakers()}
    return {name: voiceprint(client.wait(job_id)) for name, job_id in jobs.items()}


@pytest.fixture(scope="module")
def conversation(client: Client) -> Json:
    """The job of a recording in which `OTHER` speaks first and `DOMINANT` most."""
    return client.run(client.upload("conversation.flac", (DATA / "conversation.flac").read_bytes()))


def test_one_person_scores_higher_than_any_two_people(voices: dict[str, Voiceprint]) -> None:
    who = speakers()
    same, different = [], []
    for one, two in combinations(voices, 2):
        (same if who[one] == who[two] else different).append(voices[one].score(voices[two]))
    assert len(same) == len(set(who.values()))
    assert min(same) > max(different)


def test_every_clip_is_nearest_to_the_other_clip_of_its_speaker(voices: dict[str, Voiceprint]) -> None:
    who = speakers()
    for name, voice in voices.items():
        nearest = max(voices.keys() - {name}, key=lambda other: voice.score(voices[other]))
        assert who[nearest] == who[name]


def test_the_one_with_more_speech_wins_over_the_one_who_speaks_first(
    conversation: Json, voices: dict[str, Voiceprint]
) -> None:
    found = voiceprint(conversation)
    to = {
        speaker: [found.score(voices[name]) for name, its in speakers().items() if its == speaker]
        for speaker in (DOMINANT, OTHER)
    }
    assert min(to[DOMINANT]) > max(to[OTHER])


def test_two_speakers_are_told_apart_and_the_dominant_one_is_not_the_first(conversation: Json) -> None:
    output = conversation["output"]
    seconds = {entry["speaker"]: entry["seconds"] for entry in output["speakers"]}
    assert list(seconds) == ["SPEAKER_00", "SPEAKER_01"]
    assert output["dominantSpeaker"] == max(seconds, key=seconds.__getitem__) == "SPEAKER_01"
    assert output["diarization"][0]["speaker"] == "SPEAKER_00"


def test_the_speakers_seconds_are_those_that_were_recorded(conversation: Json) -> None:
    seconds = {entry["speaker"]: entry["seconds"] for entry in conversation["output"]["speakers"]}
    # Some 15 and 10 s with the pauses that voice activity detection takes out.
    assert 11 < seconds["SPEAKER_01"] < 16
    assert 6 < seconds["SPEAKER_00"] < 11


def test_the_output_says_how_the_voiceprint_came_about(conversation: Json) -> None:
    output = conversation["output"]
    assert set(output) == {
        "voiceprint", "model", "dimension", "audioSeconds", "speechSeconds", "netSpeechSeconds", "speaker",
        "dominantSpeaker", "segments", "speakers", "diarization", "timings", "quality", "channels", "calibrated",
    }  # fmt: skip
    found = Voiceprint.decode(output["voiceprint"])
    assert (found.model_id, len(found.vector)) == (output["model"], output["dimension"])
    assert output["audioSeconds"] == pytest.approx(26.58, abs=0.05)
    assert list(output["timings"]) == ["download", "decode", "vad", "encode", "diarize", "embed"]
    assert all(seconds >= 0 for seconds in output["timings"].values())


def test_turns_are_in_order_inside_the_recording_and_add_up(conversation: Json) -> None:
    output = conversation["output"]
    turns, dominant = output["diarization"], output["dominantSpeaker"]
    assert all(0 <= turn["start"] < turn["end"] <= output["audioSeconds"] for turn in turns)
    assert all(one["end"] <= two["start"] for one, two in pairwise(turns))
    own = [{"start": turn["start"], "end": turn["end"]} for turn in turns if turn["speaker"] == dominant]
    assert output["segments"] == own
    assert output["netSpeechSeconds"] == pytest.approx(sum(s["end"] - s["start"] for s in own), abs=0.02)
    assert output["speechSeconds"] == pytest.approx(sum(s["seconds"] for s in output["speakers"]), abs=0.02)


def test_the_same_recording_gives_the_same_voiceprint_again(client: Client, voices: dict[str, Voiceprint]) -> None:
    name, voice = next(iter(voices.items()))
    assert client.voiceprint(f"media://{name}").score(voice) > 0.9999
