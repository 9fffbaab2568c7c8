"""Small corpora to calibrate on, of the speech that comes with Timbre."""

import csv
from pathlib import Path

from models.calibration.corpus import MANIFEST, SHIPPED, Recording, read_corpus

#: Options of an installation that is not calibrated, because there is no speech in that folder.
UNCALIBRATED = ("--corpus", str(Path(__file__).with_name("no corpus")))
#: Size of a recording with enough speech to be cut in halves.
_LONG_BYTES = 25_000


def long_recordings(count: int, skipped: int = 0) -> list[Recording]:
    """Return recordings of the corpus, each of another person, behind the first `skipped`."""
    found = [one for one in read_corpus(SHIPPED).recordings if one.path.stat().st_size > _LONG_BYTES]
    return found[skipped : skipped + count]


def write_corpus(folder: Path, speakers: int = 6) -> Path:
    """Write the manifest of a corpus of a few speakers, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MANIFEST).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "speaker", "licence", "source"))
        for one in long_recordings(speakers):
            table.writerow((one.path, one.path.stem.partition("-")[0], "CC BY 4.0", "few"))
    return folder
