"""The vendor's own SDK, unpatched but for its address, does its whole work here."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pyannoteai.sdk import Client as Vendor

from tests.support.client import Client
from tests.support.sounds import DATA, DOMINANT, OTHER

CONVERSATION = DATA / "conversation.flac"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Leave out what the SDK warns of: how long things are kept."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="pyannoteai")
        yield


@pytest.fixture(scope="module")
def sdk(client: Client) -> Vendor:
    class Ours(Vendor):
        API_URL = f"{client.url}/v1"

    return Ours(token=client.key)


def ended(sdk: Vendor, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = sdk.retrieve(job_id, every_seconds=1)
    assert job["status"] == "succeeded"
    output: dict[str, Any] = job["output"]
    return output


@pytest.fixture(scope="module")
def conversation(sdk: Vendor) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(sdk.upload(str(CONVERSATION)))


@pytest.fixture(scope="module")
def people(sdk: Vendor) -> dict[str, str]:
    """A voiceprint of each person, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = {f"person {speaker}": sorted(DATA.glob(f"{speaker}-*.flac"))[0] for speaker in (DOMINANT, OTHER)}
        jobs = {name: sdk.voiceprint(sdk.upload(str(file))) for name, file in files.items()}
        return {name: ended(sdk, job_id)["voiceprint"] for name, job_id in jobs.items()}


def test_it_names_the_right_people(sdk: Vendor, conversation: str, people: dict[str, str]) -> None:
    output = ended(sdk, sdk.identify(conversation, people, turn_level_confidence=True, confidence=True))
    seconds = dict.fromkeys(people, 0.0)
    for turn in output["identification"]:
        seconds[turn["speaker"]] += turn["end"] - turn["start"]
    # The other speaks first, the dominant one more.
    assert output["identification"][0]["speaker"] == f"person {OTHER}"
    assert 6 < seconds[f"person {OTHER}"] < 11 < seconds[f"person {DOMINANT}"] < 16
    assert {voice["match"] for voice in output["voiceprints"]} == set(people)
    assert all(voice["confidence"].keys() == people.keys() for voice in output["voiceprints"])


def test_a_threshold_keeps_strangers_nameless(sdk: Vendor, conversation: str, people: dict[str, str]) -> None:
    stranger = {"nobody here": people[f"person {OTHER}"]}
    output = ended(sdk, sdk.identify(conversation, stranger, matching_threshold=50.0))
    matches = {voice["speaker"]: voice["match"] for voice in output["voiceprints"]}
    assert matches == {"SPEAKER_00": "nobody here", "SPEAKER_01": None}
    assert {turn["speaker"] for turn in output["identification"]} == {"nobody here", "SPEAKER_01"}


def test_it_tells_two_speakers_apart(sdk: Vendor, conversation: str) -> None:
    output = ended(sdk, sdk.diarize(conversation, num_speakers=2, exclusive=True))
    assert {turn["speaker"] for turn in output["diarization"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert output["exclusiveDiarization"] == output["diarization"]


def test_it_is_told_who_says_what(sdk: Vendor, conversation: str) -> None:
    job_id = sdk.diarize(
        conversation, transcription=True, transcription_config={"model": "parakeet-tdt-0.6b-v3"}, num_speakers=2
    )
    found = ended(sdk, job_id)["turnLevelTranscription"]
    assert all(set(turn) == {"start", "end", "text", "speaker"} for turn in found)
    (turn,) = (turn for turn in found if "pleased that you have seen my lady" in turn["text"])
    assert turn["speaker"] == "SPEAKER_00"
    assert 15 < turn["start"] < turn["end"] < 25
    # Without the flag, of which the SDK always sends one value, there are no words.
    assert "turnLevelTranscription" not in ended(sdk, sdk.diarize(conversation))


def test_a_failed_job_says_why(sdk: Vendor) -> None:
    job_id = sdk.diarize("media://never-uploaded")
    with pytest.raises(Exception, match="Nothing is stored under"):
        sdk.retrieve(job_id, every_seconds=1)


def test_a_wrong_key_is_told_at_once(client: Client) -> None:
    class Ours(Vendor):
        API_URL = f"{client.url}/v1"

    with pytest.raises(requests.HTTPError):
        Ours(token="sk_wrong")
