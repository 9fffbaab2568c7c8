"""Test of `tests.eval.searching` on a manifest of the tests' own recordings."""

import csv
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.eval import searching
from tests.support.manifests import COLUMNS, talk
from tests.support.speech import DATA, read_clips


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Manifest of three people with two recordings each, and one to search with that is put together from them."""
    path = tmp_path / "manifest.csv"
    clips = read_clips()
    with (DATA / "manifest.csv").open(newline="") as file:
        singles = [(DATA / row["file"], row["speaker"], "ls_other", "single", "") for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([COLUMNS, *singles])
        for speaker in dict.fromkeys(clip.speaker for clip in clips):
            talk(tmp_path / speaker, [clip for clip in clips if clip.speaker == speaker])
            rows.writerow((f"{speaker}.flac", speaker, "ls_other", "single", ""))
    return path


def test_the_evaluation_of_search_counts_strangers_and_right_people(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SIZES", (2, 5))
    monkeypatch.setattr(searching, "DRAWS", 2)
    done = CliRunner().invoke(searching.main, ["--manifest", str(manifest)])
    assert done.exit_code == 0, done.output
    assert "3 of ls_other, 0 of ls_tc100" in done.output
    for size in (2, 5):
        assert re.search(
            rf"^read speech, clean +{size} +50 +0.0 of +6 +100.0 / +0.0 / +0.0 of +6 ", done.output, re.MULTILINE
        )
    assert re.search(r"^ls_other, 2, clean +0.0 +0.0 of +6 +100.0 +\d+", done.output, re.MULTILINE)
