"""Who speaks when, and who of those who are known is it?"""

from typing import Any

import numpy as np
import pytest

from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint
from tests.support.answers import UNREACHABLE, failure, fields, refused
from tests.support.client import Client, Json
from tests.support.sounds import DATA, DOMINANT, OTHER, PAUSE, encode


def labelled(voiceprints: dict[str, str]) -> list[dict[str, str]]:
    return [{"label": label, "voiceprint": voiceprint} for label, voiceprint in voiceprints.items()]


def run(client: Client, path: str, **options: Any) -> Json:
    url = client.upload("conversation.flac", (DATA / "conversation.flac").read_bytes())
    answer = client.post(path, **{"url": url} | options)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"jobId", "status"}
    return client.wait(answer.json()["jobId"])


def test_a_diarization_has_what_was_asked_for_and_nothing_else(client: Client) -> None:
    output = run(client, "/v1/diarize")["output"]
    assert set(output) == {"diarization", "audioSeconds", "speechSeconds", "speakers", "channels", "timings"}
    assert all(set(turn) == {"speaker", "start", "end"} for turn in output["diarization"])
    more = run(client, "/v1/diarize", turnLevelConfidence=True, confidence=True, exclusive=True)["output"]
    assert set(more) - set(output) == {"exclusiveDiarization", "confidence"}
    assert more["confidence"]["resolution"] == 0.02
    assert len(more["confidence"]["score"]) == pytest.approx(output["audioSeconds"] / 0.02, abs=2)
    assert all(0 <= score <= 100 for score in more["confidence"]["score"])
    for turn in more["diarization"]:
        assert set(turn["confidence"]) == {"SPEAKER_00", "SPEAKER_01"}
        assert max(turn["confidence"], key=turn["confidence"].__getitem__) == turn["speaker"]


@pytest.mark.parametrize(
    ("hints", "count"),
    [({"numSpeakers": 1.0}, 1), ({"maxSpeakers": 1}, 1), ({"minSpeakers": 3}, 3), ({"maxSpeakers": 1e308}, 2)],
)
def test_the_number_of_speakers_is_as_the_client_knows_it(client: Client, hints: dict[str, float], count: int) -> None:
    assert len(run(client, "/v1/diarize", **hints)["output"]["speakers"]) == count


@pytest.mark.parametrize(
    ("hints", "field"),
    [
        ({"minSpeakers": 3, "maxSpeakers": 2}, "minSpeakers"),
        ({"numSpeakers": 3, "maxSpeakers": 2}, "numSpeakers"),
        ({"numSpeakers": 0}, "numSpeakers"),
        ({"numSpeakers": 1.5}, "numSpeakers"),
        ({"numSpeakers": "two"}, "numSpeakers"),
        ({"numSpeakers": True}, "numSpeakers"),
        ({"confidence": "perhaps"}, "confidence"),
    ],
)
def test_hints_that_cannot_be_meant_are_refused(client: Client, hints: dict[str, Any], field: str) -> None:
    assert fields(client.post("/v1/diarize", url=UNREACHABLE, **hints)) == [field]


def test_a_recording_in_which_nobody_speaks_has_an_empty_diarization(client: Client) -> None:
    silence = encode(PAUSE * 3, "wav")
    output = run(client, "/v1/diarize", url=client.upload("silence.wav", silence))["output"]
    assert (output["diarization"], output["speakers"], output["speechSeconds"]) == ([], [], 0.0)


def test_speakers_get_the_names_of_their_voiceprints(client: Client, enrolled: dict[str, str]) -> None:
    output = run(client, "/v1/identify", voiceprints=labelled(enrolled), turnLevelConfidence=True)["output"]
    assert [voice["match"] for voice in output["voiceprints"]] == [OTHER, DOMINANT]
    for voice in output["voiceprints"]:
        assert voice["confidence"][voice["match"]] > 90 > 10 > min(voice["confidence"].values())
    for turn, named in zip(output["diarization"], output["identification"], strict=True):
        assert named == turn | {
            "speaker": named["match"],
            "diarizationSpeaker": turn["speaker"],
            "match": named["match"],
        }
    assert output["calibrated"]


def test_without_exclusive_matching_two_speakers_may_have_one_name(client: Client, enrolled: dict[str, str]) -> None:
    one = labelled({"somebody": enrolled[OTHER]})
    exclusive = run(client, "/v1/identify", voiceprints=one)["output"]
    shared = run(client, "/v1/identify", voiceprints=one, matching={"exclusive": False})["output"]
    assert [voice["match"] for voice in exclusive["voiceprints"]] == ["somebody", None]
    assert [voice["match"] for voice in shared["voiceprints"]] == ["somebody", "somebody"]


def test_nulls_ask_for_nothing(client: Client, enrolled: dict[str, str]) -> None:
    names = ("model", "numSpeakers", "minSpeakers", "maxSpeakers", "turnLevelConfidence", "confidence", "matching")
    output = run(client, "/v1/identify", voiceprints=labelled(enrolled), **dict.fromkeys(names))["output"]
    assert [voice["match"] for voice in output["voiceprints"]] == [OTHER, DOMINANT]


def named(client: Client, voiceprints: Any, **options: Any) -> list[dict[str, str]]:
    """Return the errors of a refused request to identify."""
    answer = client.post("/v1/identify", url=UNREACHABLE, voiceprints=voiceprints, **options)
    errors: list[dict[str, str]] = refused(answer, 400, "invalid_request")["errors"]
    return errors


@pytest.mark.parametrize("label", ["SPEAKER_00", "speaker_x", "Speaker_", "", "x" * 101, None, 7])
def test_a_label_that_strangers_have_or_that_is_none_is_refused(client: Client, label: Any, enrolled: Json) -> None:
    (error,) = named(client, [{"label": label, "voiceprint": enrolled[OTHER]}])
    assert error["field"] == "voiceprints.0.label"


def test_a_bad_voiceprint_is_named_by_its_label(client: Client, enrolled: dict[str, str]) -> None:
    capture = Capture(net_speech_s=10.0, snr_db=30.0, narrowband=False)
    foreign = Voiceprint("titanet_large@1", Voiceprint.decode(enrolled[OTHER]).vector, capture).encode()
    forged = Voiceprint(Voiceprint.decode(enrolled[OTHER]).model_id, np.ones(1, np.float32), capture).encode()
    for bad in (enrolled[OTHER][:-8], "U29tZUJhc2U2NERhdGE=", foreign, forged):
        good = labelled({"Ann": enrolled[OTHER]})
        (error,) = named(client, good + labelled({"Bob": bad}))
        assert error["field"] == "voiceprints.1.voiceprint"
        assert error["message"].startswith("Label 'Bob': ")


def test_one_label_twice_is_refused(client: Client, enrolled: dict[str, str]) -> None:
    errors = named(client, labelled({"Ann": enrolled[OTHER]}) * 2)
    assert [error["field"] for error in errors] == ["voiceprints.0.label", "voiceprints.1.label"]


@pytest.mark.parametrize("count", [0, 51])
def test_there_are_1_to_50_voiceprints(client: Client, count: int, enrolled: dict[str, str]) -> None:
    (error,) = named(client, labelled({f"label {i}": enrolled[OTHER] for i in range(count)}))
    assert error["field"] == "voiceprints"


def test_of_very_many_voiceprints_not_each_one_is_judged(client: Client) -> None:
    (error,) = named(client, [{}] * 200_000)
    assert error["field"] == "voiceprints"


def test_fifty_long_voiceprints_are_read(client: Client, enrolled: dict[str, str]) -> None:
    fifty = labelled({f"{i:100}": enrolled[DOMINANT if i == 7 else OTHER] for i in range(50)})
    answer = client.post("/v1/identify", url=UNREACHABLE, voiceprints=fifty, filler="x" * 800_000)
    assert answer.status_code == 200
    answer = client.post("/v1/identify", url=UNREACHABLE, voiceprints=fifty, filler="x" * 1_200_000)
    refused(answer, 413, "request_too_large")


@pytest.mark.parametrize("threshold", [-1, 101, "high"])
def test_a_threshold_is_a_confidence(client: Client, threshold: Any, enrolled: dict[str, str]) -> None:
    (error,) = named(client, labelled({"Ann": enrolled[OTHER]}), matching={"threshold": threshold})
    assert error["field"] == "matching.threshold"


def test_what_fails_in_a_voiceprint_job_fails_here(client: Client) -> None:
    answer = client.post("/v1/diarize", url=client.upload("nothing.wav", b""))
    failure(client.wait(answer.json()["jobId"]), "not_audio")
