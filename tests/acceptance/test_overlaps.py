"""A service with an installed segmentation model: turns overlap where people do, and exclusive ones do not."""

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import soundfile

from models.install import main
from shared.local.stack import Stack
from tests.support.client import Client, Json
from tests.support.overlaps import RATE_HZ, Overlapped, overlapped
from tests.support.segmentation_onnx import with_pilot, write_powerset
from tests.support.speech import read_clips
from tests.support.stacks import first_client, logs, running

pytestmark = pytest.mark.nemo


@pytest.fixture(scope="module")
def made() -> Overlapped:
    clips = read_clips()
    return overlapped([(clips[0], 0.0, 1.0), (clips[2], 1.0, 1.0), (clips[1], 1.0, 1.0), (clips[3], 1.0, 1.0)])


@pytest.fixture(scope="module")
def recording(made: Overlapped) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, with_pilot(made.samples, made.overlaps), RATE_HZ, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("overlaps")
    write_powerset(folder / "segmentation.onnx")
    source = ["segmentation", "--from", str(folder / "segmentation.onnx"), "--weights-dir", str(folder / "weights")]
    assert main(source) == 0
    with running(folder / "data", weights_dir=folder / "weights") as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    return first_client(stack)


def diarize(client: Client, recording: bytes, **options: Any) -> Json:
    url = client.upload("overlapped.flac", recording)
    ended = client.wait(client.post("/v1/diarize", url=url, **options).json()["jobId"])
    assert ended["status"] == "succeeded", ended
    return ended["output"]


def test_turns_overlap_and_exclusive_ones_do_not(client: Client, recording: bytes, made: Overlapped) -> None:
    output = diarize(client, recording, exclusive=True, turnLevelConfidence=True)
    together = [(b["start"], a["end"]) for a, b in pairwise(output["diarization"]) if b["start"] < a["end"]]
    expected = [(overlap.start_s, overlap.end_s) for overlap in made.overlaps]
    assert np.array(together) == pytest.approx(np.array(expected), abs=0.05)
    exclusive = output["exclusiveDiarization"]
    assert all(a["end"] <= b["start"] for a, b in pairwise(exclusive))
    assert all(set(turn["confidence"]) == {"SPEAKER_00", "SPEAKER_01"} for turn in [*exclusive, *output["diarization"]])
    # A speaker's seconds are all of theirs, so that together they are more than there is speech.
    assert sum(speaker["seconds"] for speaker in output["speakers"]) > output["speechSeconds"] + 2.0
    assert "overlap" in output["timings"]


def test_exclusive_turns_are_left_out_unless_asked_for(client: Client, recording: bytes) -> None:
    output = diarize(client, recording)
    assert "exclusiveDiarization" not in output
    assert "confidence" not in output["diarization"][0]


def test_a_voiceprint_is_made_of_speech_outside_overlap(client: Client, recording: bytes, made: Overlapped) -> None:
    job_id = client.post("/v1/voiceprint", url=client.upload("overlapped.flac", recording)).json()["jobId"]
    output = client.wait(job_id)["output"]
    own = next(s["seconds"] for s in output["speakers"] if s["speaker"] == output["dominantSpeaker"])
    assert output["netSpeechSeconds"] < own - 2.0
    for overlap in made.overlaps:
        middle_s = (overlap.start_s + overlap.end_s) / 2
        assert not any(s["start"] <= middle_s < s["end"] for s in output["segments"])
    assert sum(s["end"] - s["start"] for s in output["segments"]) == pytest.approx(output["netSpeechSeconds"], abs=0.01)


def test_the_workers_log_names_the_model(client: Client, stack: Stack) -> None:
    ready = next(line for line in logs(stack, "worker.log").splitlines() if "worker ready" in line)
    assert "segmentation@" in ready
