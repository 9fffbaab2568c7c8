"""Tests of the count of phrases that are refused or accepted, on the tests' own recordings."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.eval.digits import aligned, read_out
from tests.eval.phrases import main
from tests.support.manifests import COLUMNS
from tests.support.speech import DATA


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Manifest of three recordings of LibriSpeech."""
    path = tmp_path / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for name in ("1688-142285-0005", "2609-156975-0000", "3080-5032-0000"):
            writer.writerow({"file": DATA / f"{name}.flac", "speaker": name[:4], "dataset": "ls_x", "kind": "single"})
    return path


def shares(output: str, kind: str) -> list[float]:
    """Return the accepted ones in percent, of the rows of a kind, at the limit 0.3."""
    return [float(line.split()[-3]) for line in output.splitlines() if line.startswith(kind)]


def test_right_phrases_are_accepted_and_other_texts_are_not(manifest: Path) -> None:
    result = CliRunner().invoke(main, [str(manifest), "--part", "read"], catch_exceptions=False)
    assert result.exit_code == 0
    assert min(shares(result.output, "right, read")) >= 60
    assert max(shares(result.output, "wrong, another text")) <= 40


def test_models_find_where_each_digit_begins() -> None:
    rng = np.random.default_rng(0)
    sounds = rng.normal(0, 1, (10, 26))
    lengths = [rng.integers(20, 60, 20) for _ in range(6)]
    # No digit follows itself: sounds that do not change have no beginning there.
    said = [np.tile(rng.permutation(10), 2) for _ in range(6)]
    frames = [
        np.repeat(sounds[labels], lengths[i], axis=0) + rng.normal(0, 0.1, (lengths[i].sum(), 26))
        for i, labels in enumerate(said)
    ]
    for path, own in zip(aligned(frames, said), lengths, strict=True):
        begins = np.searchsorted(path, np.arange(20) * 7)
        assert np.abs(begins - np.append(0, np.cumsum(own)[:-1])).max() <= 5


def test_clips_are_read_out_with_pauses() -> None:
    clips = [np.ones(1600, np.float32)] * 3
    seconds = (len(read_out(clips, np.random.default_rng(0))) - 4800) / 16_000
    assert 4 * 0.3 <= seconds <= 4 * 0.5
