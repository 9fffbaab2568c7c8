"""Test of `tests.eval.confidences` on a manifest of the tests' own recordings."""

import csv
import re
from pathlib import Path

from click.testing import CliRunner

from tests.eval import confidences
from tests.support.manifests import COLUMNS
from tests.support.speech import DATA


def test_the_table_of_confidences_tells_people_apart_and_keeps_voiceprints(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    with (DATA / "manifest.csv").open(newline="") as file:
        names = [(DATA / row["file"], row["speaker"]) for row in csv.DictReader(file)]
    acted = [(*name, "short", "single", f"emotion=0{1 + i % 2 * 4}") for i, name in enumerate(names)]
    with path.open("w", newline="") as file:
        read = [(*name, "short", "single", "") for name in names]
        csv.writer(file).writerows([COLUMNS, *read, *acted])
    command = [str(path), "--dataset", "short", "--model", "ge2e", "--cache", str(tmp_path / "voices")]
    done, again = (CliRunner().invoke(confidences.main, command) for _ in range(2))
    assert done.exit_code == 0, done.output
    table = done.stdout
    assert again.stdout == table
    same, others, cost = re.search(r"^clean / clean +(\d+) \+ +(\d+) +([\d.]+)", table, re.MULTILINE).groups()
    assert (int(same), int(others)) == (6, 24)
    assert float(cost) < 0.3
    assert "babble 10 dB / babble 10 dB" in table
    assert "acted, telephone: calm / other emotions" in table
    assert re.search(r"^mean Cllr, .*\(3 speakers\)$", table, re.MULTILINE)
