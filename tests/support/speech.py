"""The real speech that is kept with the tests: short LibriSpeech utterances, see tests/data/LICENSE."""

import csv
from dataclasses import dataclass
from pathlib import Path

import soundfile

from shared.domain.audio import Samples

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, eq=False)
class Clip:
    """One utterance, 16 kHz, shape (num_samples,), and who says it."""

    name: str
    speaker: str
    samples: Samples


def read_clips() -> list[Clip]:
    """Return the clips of tests/data/manifest.csv, in its order."""
    with (DATA / "manifest.csv").open(newline="") as manifest:
        return [
            Clip(Path(row["file"]).stem, row["speaker"], _read(DATA / row["file"])) for row in csv.DictReader(manifest)
        ]


def _read(path: Path) -> Samples:
    samples, sample_rate_hz = soundfile.read(path, dtype="float32")
    assert sample_rate_hz == 16_000, path
    return samples
