"""Turns of real jobs, exported: what other programs read is what the job's output says."""

import pytest

from tests.support.answers import refused
from tests.support.client import Client, Json
from tests.support.jobs import done, ok, upload
from tests.support.sounds import DOMINANT, OTHER
from tests.support.turn_readers import Read, read_csv, read_rttm, read_srt, read_vtt


@pytest.fixture(scope="module")
def conversation(client: Client) -> str:
    return upload(client, "conversation.flac")


def exported(client: Client, job_id: str, form: str, **names: str) -> str:
    query = {"format": form, "name": [f"{label}:{name}" for label, name in names.items()]}
    answer = client.send("GET", f"/v1/jobs/{job_id}/turns", params=query)
    assert answer.status_code == 200, answer.text
    return answer.content.decode()


def as_read(turns: list[Json], names: dict[str, str]) -> Read:
    """Return turns of an output as readers give them."""
    return [(one["start"], one["end"], names.get(one["speaker"], one["speaker"]), one.get("text", "")) for one in turns]


def test_a_diarization_is_exported_with_words_and_names(client: Client, conversation: str) -> None:
    job_id = ok(client.post("/v1/diarize", url=conversation, transcription=True))["jobId"]
    output = done(client, {"jobId": job_id})
    names = {"SPEAKER_00": "Ann Lee", "SPEAKER_01": "=Bob"}
    found = read_rttm(exported(client, job_id, "rttm", **names), job_id)
    for (start, end, name, _), turn in zip(found, output["diarization"], strict=True):
        assert (start, end) == (pytest.approx(turn["start"]), pytest.approx(turn["end"]))
        assert name == names[turn["speaker"]].replace(" ", "_")
    words = as_read(output["turnLevelTranscription"], names)
    assert len(words) > 1
    assert read_srt(exported(client, job_id, "srt", **names)) == words
    assert read_vtt(exported(client, job_id, "vtt", **names)) == words
    found, labels = read_csv(exported(client, job_id, "csv", **names))
    assert labels == [one["speaker"] for one in output["turnLevelTranscription"]]
    assert found == [(start, end, name.replace("=", "'="), text) for start, end, name, text in words]


def test_an_identification_is_exported_by_the_names_that_matched(
    client: Client, conversation: str, enrolled: dict[str, str]
) -> None:
    voices = [{"label": f"person {who}", "voiceprint": voiceprint} for who, voiceprint in enrolled.items()]
    job_id = ok(client.post("/v1/identify", url=conversation, voiceprints=voices))["jobId"]
    output = done(client, {"jobId": job_id})
    vtt = read_vtt(exported(client, job_id, "vtt"))
    assert [name for _, _, name, _ in vtt] == [one["speaker"] for one in output["identification"]]
    assert {name for _, _, name, _ in vtt} == {f"person {DOMINANT}", f"person {OTHER}"}
    first = output["identification"][0]["diarizationSpeaker"]
    assert read_srt(exported(client, job_id, "srt", **{first: "Eve"}))[0][2] == "Eve"


def test_a_voiceprint_has_turns_and_a_verification_none(
    client: Client, stranger: Client, conversation: str, enrolled: dict[str, str]
) -> None:
    job_id = client.submit(conversation)
    turns = client.wait(job_id)["output"]["diarization"]
    csv, _ = read_csv(exported(client, job_id, "csv"))
    assert csv == as_read(turns, {})
    verify = ok(client.post("/v1/verify", url=conversation, voiceprint=enrolled[DOMINANT]))
    done(client, verify)
    refused(client.send("GET", f"/v1/jobs/{verify['jobId']}/turns"), 404, "no_turns")
    refused(stranger.send("GET", f"/v1/jobs/{job_id}/turns"), 404, "not_found")
