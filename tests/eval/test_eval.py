"""Tests of `make eval` on a manifest of the tests' own recordings."""

import csv
import json
import re
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner

from shared.domain.audio import Segment
from tests.eval import simulate
from tests.eval.__main__ import main
from tests.eval.overlap import Reference
from tests.eval.recordings import read_manifest
from tests.support.manifests import COLUMNS, talk
from tests.support.speech import DATA, Clip, read_clips


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Manifest of six recordings of three people with 3 to 4 s of speech, three longer ones, and two conversations."""
    path = tmp_path / "manifest.csv"
    clips = read_clips()
    speakers = dict.fromkeys(clip.speaker for clip in clips)
    for speaker in speakers:
        talk(tmp_path / speaker, [clip for clip in clips if clip.speaker == speaker])
    talk(tmp_path / "talk", clips[:3])
    talk(tmp_path / "alone", clips[:2])
    with (DATA / "manifest.csv").open(newline="") as file:
        singles = [(DATA / row["file"], row["speaker"], "clips", "single", "") for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([COLUMNS, *singles])
        rows.writerows((f"{speaker}.flac", speaker, "clips", "single", "") for speaker in speakers)
        rows.writerow(("talk.flac", "1688;2609", "talks", "mixture", "dominant=1688"))
        rows.writerow(("alone.flac", "1688", "talks", "single-30s", ""))
    return path


@pytest.fixture
def with_a_failure(manifest: Path) -> Path:
    """The same manifest with a conversation of one word, whose job fails."""
    word = read_clips()[0]
    talk(manifest.with_name("word"), [Clip(word.name, word.speaker, word.samples[32_000:52_000])])
    with manifest.open("a", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("word.flac", "1688;2609", "talks", "mixture", "dominant=1688"))
        rows.writerow(("word.flac", "1688", "talks", "diarization", ""))
    return manifest


@pytest.mark.nemo
@pytest.mark.filterwarnings("ignore")
def test_eval_scores_trials_and_conversations(manifest: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(manifest), "--model", "ge2e", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "report.json", "report.txt", "det.png", "scores.png",
    }  # fmt: skip
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rates = {row["condition"]: row["eer"] for row in report["verification"]}
    assert rates["clips, clean"] == 0.0
    assert len(rates) == 9, "nobody speaks for 10 s"
    assert report["conversations"]["dominant_right_count"] == report["conversations"]["mixtures"] == 1
    assert report["conversations"]["der_collar_0.25"] < 0.1
    assert report["conversations"]["single-30s"]["within_0.02_of_undivided"] == 1.0
    # Of 36 pairs those 15 are left out whose test has too little speech.
    found = next(line for line in done.output.splitlines() if line.startswith("clips, 5 s "))
    assert re.search(r" 6/15 +15 +0.00  \[ 0.00,  0.00\]  0.000   \[0.000, 0.000\]$", found)


@pytest.mark.nemo
@pytest.mark.filterwarnings("ignore")
def test_a_job_that_fails_counts_as_wrong_and_its_speech_as_missed(with_a_failure: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(with_a_failure), "--model", "ge2e", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "report.json").read_text())["conversations"]
    assert found["failures"] == {"word.flac": "too_little_speech"}
    assert (found["mixtures"], found["mixtures_failed"]) == (2, 1)
    assert (found["dominant_right_count"], found["dominant_judged"], found["dominant_right"]) == (1, 2, 0.5)
    assert 0.5 <= found["der_collar_0.25"] < 0.55
    assert found["der_collar_0.25_of_all_speech"] < 0.15
    assert (found["diarization"]["failed"], found["diarization"]["der"]) == (1, 1.0)
    assert re.search(r"^failed +2$", done.output, re.MULTILINE)
    assert re.search(r"^  word.flac +too_little_speech$", done.output, re.MULTILINE)


def test_conversations_to_tune_on_are_made_of_people_who_are_not_tested(tmp_path: Path) -> None:
    clips = read_clips()
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([COLUMNS, ("talk.flac", "1688;9999", "talks", "mixture", "")])
        for speaker in sorted({clip.speaker for clip in clips}):
            talk(tmp_path / speaker, [clip for clip in clips if clip.speaker == speaker] * 2)
            rows.writerow((f"{speaker}.flac", speaker, "long", "single", ""))
    out = tmp_path / "out"
    command = [str(tmp_path / "manifest.csv"), str(out), "--dataset", "long", "--count", "3"]
    done = CliRunner().invoke(simulate.main, command)
    assert done.exit_code == 0, done.output
    made = [row for row in read_manifest(out / "manifest.csv") if row.dataset == "simulated"]
    assert [row.kind for row in made] == ["mixture", "mixture", "single-30s"]
    assert {speaker for row in made for speaker in row.speaker.split(";")} == {"2609", "3080"}
    for row in made:
        turns = [line.split() for line in row.path.with_suffix(".rttm").read_text().splitlines()]
        assert {turn[7] for turn in turns} == set(row.speaker.split(";"))
        assert float(turns[-1][3]) < soundfile.info(row.path).duration


def test_the_halves_of_the_speakers_share_nobody() -> None:
    speakers = {f"ls:{i}" for i in range(7)}
    first, second = simulate.half_of(speakers, 1), simulate.half_of(speakers, 2)
    assert first | second == speakers
    assert not first & second
    assert (len(first), len(second)) == (4, 3)


def test_a_detector_that_is_never_wrong_reads_where_people_overlap(tmp_path: Path) -> None:
    turns = [(0.0, 4.0, "A"), (3.0, 2.5, "B"), (5.0, 1.0, "C"), (6.0, 1.0, "A")]
    path = tmp_path / "talk.rttm"
    path.write_text(
        "".join(f"SPEAKER talk 1 {start} {length} <NA> <NA> {who} <NA> <NA>\n" for start, length, who in turns)
    )
    assert Reference(path).overlaps(read_clips()[0].samples) == [Segment(3.0, 4.0), Segment(5.0, 5.5)]
