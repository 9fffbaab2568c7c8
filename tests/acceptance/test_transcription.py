"""Who says what?"""

import re
from pathlib import Path
from typing import Any

import pytest

from shared.local.stack import Process
from tests.support.answers import UNREACHABLE, fields
from tests.support.client import Client, Json, eventually
from tests.support.processes import children_of
from tests.support.sounds import DATA, PAUSE, encode, read
from tests.support.stacks import LOOPBACK, first_client, running

#: Words of the conversation, without those that the recogniser hears otherwise: the speakers take turns.
SAID = [
    "the best on it is that i have a",
    "without telling us what he had been",
    "pleased that you have seen my lady",
    "afraid of showing him how much shocked i was",
]

#: Words that each sentence has once, and its number of words.
ONCE = [("best on it", 18), ("what he had been", 23), ("my lady", 11), ("shocked", 20)]
_TIMES = 10


def run(client: Client, path: str = "/v1/diarize", **options: Any) -> Json:
    url = client.upload("conversation.flac", (DATA / "conversation.flac").read_bytes())
    answer = client.post(path, **{"url": url} | options)
    assert answer.status_code == 200, answer.text
    output: Json = client.wait(answer.json()["jobId"], within_s=120)["output"]
    return output


def plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def said(output: Json, speaker: str) -> str:
    return plain(" ".join(turn["text"] for turn in output["turnLevelTranscription"] if turn["speaker"] == speaker))


@pytest.fixture(scope="module")
def output(client: Client) -> Json:
    return run(client, transcription=True)


def test_the_words_of_each_speaker_stand_in_their_turns(output: Json) -> None:
    for i, words in enumerate(SAID):
        assert words in said(output, f"SPEAKER_{i % 2:02d}")
        assert words not in said(output, f"SPEAKER_{1 - i % 2:02d}")


def test_each_entry_is_what_one_speaker_says_in_turn(output: Json) -> None:
    found = output["turnLevelTranscription"]
    assert all(set(turn) == {"start", "end", "text", "speaker"} for turn in found)
    assert [turn["speaker"] for turn in found] == ["SPEAKER_00", "SPEAKER_01"] * 2
    edges = [edge for turn in found for edge in (turn["start"], turn["end"])]
    assert edges == sorted(edges)
    assert {edges[0], edges[-1]} == {output["diarization"][0]["start"], output["diarization"][-1]["end"]}


def test_the_warning_names_the_recogniser_and_its_language(output: Json) -> None:
    assert output["warning"] == ("The words were recognised by moonshine_tiny_en@1, which takes all speech for 'en'.")
    assert output["timings"]["transcribe"] > 0


def test_a_transcription_changes_nothing_else(client: Client, output: Json) -> None:
    without = run(client, transcription=False, transcriptionConfig=None)
    assert set(output) - set(without) == {"turnLevelTranscription", "warning"}
    for name in ("diarization", "speakers", "speechSeconds", "audioSeconds", "channels"):
        assert output[name] == without[name]


def test_speakers_with_names_are_transcribed_too(client: Client, enrolled: dict[str, str]) -> None:
    voiceprints = [{"label": label, "voiceprint": voiceprint} for label, voiceprint in enrolled.items()]
    found = run(client, "/v1/identify", voiceprints=voiceprints, transcription=True)
    assert SAID[2] in said(found, "SPEAKER_00")
    assert {turn["speaker"] for turn in found["turnLevelTranscription"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert "turnLevelTranscription" not in run(client, "/v1/identify", voiceprints=voiceprints)


@pytest.mark.parametrize("asked", [None, False])
def test_null_and_false_ask_for_no_words(client: Client, asked: bool | None) -> None:
    assert "turnLevelTranscription" not in run(client, transcription=asked)


@pytest.mark.parametrize("model", ["parakeet-tdt-0.6b-v3", "faster-whisper-large-v3-turbo"])
def test_a_recogniser_of_another_vendor_is_accepted_with_a_warning(client: Client, model: str) -> None:
    answer = client.post("/v1/diarize", url=UNREACHABLE, transcription=True, transcriptionConfig={"model": model})
    assert answer.status_code == 200
    assert answer.json()["warning"].startswith(f"Speech recogniser {model} is not chosen:")
    for config in (None, {}, {"model": None}):
        assert "warning" not in client.post("/v1/diarize", url=UNREACHABLE, transcriptionConfig=config).json()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"transcription": "perhaps"}, "transcription"),
        ({"transcriptionConfig": "parakeet"}, "transcriptionConfig"),
        ({"transcriptionConfig": {"model": 7}}, "transcriptionConfig.model"),
        ({"transcriptionConfig": {"model": "a b"}}, "transcriptionConfig.model"),
    ],
)
def test_what_cannot_be_meant_is_refused(client: Client, options: dict[str, Any], field: str) -> None:
    assert fields(client.post("/v1/diarize", url=UNREACHABLE, **options)) == [field]


def test_silence_has_no_words(client: Client) -> None:
    output = run(client, url=client.upload("silence.wav", encode(PAUSE * 3, "wav")), transcription=True)
    assert output["turnLevelTranscription"] == []


@pytest.fixture(scope="module")
def repeated() -> bytes:
    """The conversation ten times over: four minutes, in several chunks."""
    return encode((read(DATA / "conversation.flac") + PAUSE) * _TIMES, "flac")


def test_a_job_is_canceled_while_it_is_transcribed(client: Client, repeated: bytes) -> None:
    url = client.upload("repeated.flac", repeated)
    job_id = client.post("/v1/diarize", url=url, transcription=True).json()["jobId"]
    eventually(lambda: client.job(job_id).get("step") == "transcribe", within_s=120)
    assert client.send("POST", f"/v1/jobs/{job_id}/cancel").status_code == 200
    assert client.wait(job_id)["status"] == "canceled"
    assert run(client)["diarization"]


def test_each_word_of_a_recording_of_several_chunks_is_told_once(client: Client, repeated: bytes) -> None:
    url = client.upload("repeated.flac", repeated)
    job_id = client.post("/v1/diarize", url=url, transcription=True).json()["jobId"]
    output = client.wait(job_id, within_s=300)["output"]
    assert output["audioSeconds"] > 240
    found = output["turnLevelTranscription"]
    assert [turn["speaker"] for turn in found] == ["SPEAKER_00", "SPEAKER_01"] * 2 * _TIMES
    for i, turn in enumerate(found):
        words, count = ONCE[i % len(ONCE)]
        assert plain(turn["text"]).count(words) == 1
        assert abs(len(turn["text"].split()) - count) <= 2


def resident_bytes(worker: Process) -> int:
    """Return the memory of a worker's one child process."""
    (child,) = children_of(worker.pid)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) * 1024


def test_only_a_worker_that_transcribes_has_a_recogniser_in_memory(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    with running(tmp_path, worker_processes=1, **LOOPBACK) as stack:
        client = first_client(stack)
        (worker,) = (process for process in stack.processes if process.name == "worker")
        run(client)
        before = resident_bytes(worker)
        run(client, transcription=True)
        # The files of the networks have 44 MB.
        assert resident_bytes(worker) - before > 40_000_000
