"""`python -m tests.eval.copies --manifest MANIFEST`: count copies of recordings that are found, and false finds.

The copies are those of the manifest, and others that are made here. A worker's decoder reads them. False finds are
looked for among all pairs of different recordings. The last lines give processor time and size.
"""

import csv
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import BinaryIO

import click
import numpy as np

from models.vad import SileroVad
from shared.domain.audio import SAMPLE_RATE_HZ, Segment, Waveform
from shared.domain.fingerprints import Fingerprint, find_copy
from tests.eval.recordings import Row, read_manifest
from tests.support.copies import COPIES
from tests.support.sounds import read_unconditioned
from worker.recordings.decoder import ProcessDecoder
from worker.voices.fingerprint import fingerprint

#: Kinds of the manifest that hold one recording each, all different.
_ORIGINALS = ("single", "spoof")
_MOST_S = 600.0
#: Recordings that are searched, for the times; each lasts 30 s.
_KNOWN = (1, 100, 1_000)
_KNOWN_WORDS = 1_875


@dataclass
class Tally:
    """Copies of one kind."""

    files: int = 0
    found: int = 0
    wrong: int = 0
    error_rates: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        rates = f"{np.median(self.error_rates):.3f}  {max(self.error_rates):.3f}" if self.error_rates else ""
        return f"{self.files:5} {100 * self.found / self.files:7.1f} {self.wrong:6}  {rates}"


class Ear:
    """Fingerprints of files, as a worker makes them."""

    def __init__(self) -> None:
        self._decoder = ProcessDecoder()
        self._vad = SileroVad(threads=2)

    def hear(self, file: BinaryIO) -> Fingerprint:
        waveform = self._decoder.decode(file, _MOST_S)
        return fingerprint(waveform, self._vad.speech_segments(waveform.samples))

    def hear_path(self, path: Path) -> Fingerprint:
        with path.open("rb") as file:
            return self.hear(file)

    def hear_bytes(self, content: bytes) -> Fingerprint:
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.seek(0)
            return self.hear(file)

    def stop(self) -> None:
        self._decoder.stop()


@click.command()
@click.option("--manifest", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--copied", default=60, show_default=True, help="How many recordings to copy.")
@click.option("--least-s", default=3.0, show_default=True, help="Least speech of a recording that is copied, seconds.")
def main(manifest: Path, copied: int, least_s: float) -> None:
    """Search for the copies of the recordings of MANIFEST."""
    rows = {row.file: row for row in read_manifest(manifest) if row.kind in _ORIGINALS}
    ear = Ear()
    print(f"Listening to {len(rows)} recordings ...", file=sys.stderr)
    heard = {name: ear.hear_path(row.path) for name, row in rows.items()}
    print("Looking for copies ...", file=sys.stderr)
    long = [row for row in rows.values() if row.kind == "single" and heard[row.file].speech_s >= least_s]
    chosen = [long[i] for i in np.random.default_rng(0).permutation(len(long))[:copied]]
    print(f"{'copies':24} files  found %  wrong  bits that differ: median, most")
    for kind, tally in _tallies(manifest, chosen, heard, ear).items():
        print(f"{kind:24} {tally}")
    ear.stop()
    print("\n".join(_false_finds(rows, heard)))
    print("\n".join(_costs(list(heard.values()))))


def _tallies(manifest: Path, chosen: list[Row], heard: dict[str, Fingerprint], ear: Ear) -> dict[str, Tally]:
    tallies: dict[str, Tally] = defaultdict(Tally)
    names = list(heard)
    for kind, original, probe in _copies(manifest, chosen, ear):
        copy = find_copy(probe, list(heard.values()))
        right = copy is not None and names[copy.index] == original
        tallies[kind].files += 1
        tallies[kind].found += right
        tallies[kind].wrong += copy is not None and not right
        tallies[kind].error_rates += [copy.bit_error_rate] if copy else []
    return tallies


def _copies(manifest: Path, chosen: list[Row], ear: Ear) -> Iterator[tuple[str, str, Fingerprint]]:
    """Yield the kind of each copy, the file it is a copy of, and its fingerprint."""
    with manifest.open(newline="") as file:
        for line in csv.DictReader(file):
            if line.get("kind") == "duplicate":
                kind = "given: " + line["file"].partition("__")[2]
                yield kind, line["note"].removeprefix("copy of "), ear.hear_path(manifest.parent / line["file"])
    for row in chosen:
        samples = read_unconditioned(row.path)
        for kind, make in COPIES.items():
            yield kind, row.file, ear.hear_bytes(make(samples))


def _false_finds(rows: dict[str, Row], heard: dict[str, Fingerprint]) -> Iterator[str]:
    """Yield what is found among all pairs of different recordings of people, and among those of synthetic speech."""
    for kind in _ORIGINALS:
        pairs = [(name, other) for name, other in permutations(heard, 2) if rows[name].kind == rows[other].kind == kind]
        num_same = sum((rows[a].dataset, rows[a].speaker) == (rows[b].dataset, rows[b].speaker) for a, b in pairs)
        found = [(name, other, copy) for name, other in pairs if (copy := find_copy(heard[name], [heard[other]]))]
        yield f"pairs of different recordings, {kind}: {len(pairs)}, {num_same} of one voice; found: {len(found)}"
        yield from (f"    {name} in {other}, {copy.bit_error_rate:.3f}" for name, other, copy in found)


def _costs(heard: list[Fingerprint]) -> Iterator[str]:
    noise = np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE_HZ).astype(np.float32) / 10
    start = time.process_time()
    minute = fingerprint(Waveform(noise, SAMPLE_RATE_HZ), [Segment(0.0, 60.0)])
    yield f"a minute of sound: {1e3 * (time.process_time() - start):.0f} ms, {len(minute.to_bytes())} bytes"
    words = np.concatenate([one.words for one in heard])
    probe = Fingerprint(words[-_KNOWN_WORDS:])
    words = np.resize(words[:-_KNOWN_WORDS], (max(_KNOWN), _KNOWN_WORDS))
    known = [Fingerprint(row) for row in words]
    for num_known in _KNOWN:
        start = time.process_time()
        find_copy(probe, known[:num_known])
        yield f"{num_known} known recordings of 30 s: {1e3 * (time.process_time() - start):.0f} ms for one of 30 s"


if __name__ == "__main__":
    main()
