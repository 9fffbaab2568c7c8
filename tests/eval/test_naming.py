"""Test of `tests.eval.naming` on a manifest of the tests' own recordings."""

import csv
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.eval import naming
from tests.support.manifests import COLUMNS
from tests.support.speech import DATA


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Manifest of three people with several recordings each."""
    path = tmp_path / "manifest.csv"
    with (DATA / "manifest.csv").open(newline="") as file:
        singles = [(DATA / row["file"], row["speaker"], "ls_other", "single", "") for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *singles])
    return path


def test_the_evaluation_of_naming_counts_strangers_and_right_people(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "SIZES", (2,))
    monkeypatch.setattr(naming, "DRAWS", 3)
    done = CliRunner().invoke(naming.main, ["--manifest", str(manifest)])
    assert done.exit_code == 0, done.output
    assert done.output.count("3 of 3 people are heard") == 2
    clean = re.findall(r"^clean +2 +(\d+) +([\d.]+) / +([\d.]+) / +([\d.]+) \(", done.output, re.MULTILINE)
    assert len(clean) == 2
    for trials, strangers, right, wrong in clean:
        assert int(trials) >= 9
        assert (float(strangers), float(right), float(wrong)) == (0.0, 100.0, 0.0)
