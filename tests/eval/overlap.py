"""`python -m tests.eval.overlap MANIFEST`: what a segmentation model could gain at best.

Each conversation with an RTTM file is diarized twice: without a segmentation model, and with one that is never wrong.
That one reads where people overlap in the file.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

from models import registry
from models.vad import SileroVad
from shared.domain.audio import Samples, Segment
from tests.eval import mixtures
from tests.eval.recordings import Heard, Row, listen, read_manifest
from tests.support.sounds import read_waveform
from worker.tuning import read_rttm
from worker.voices.voiceprint import Nets

_FIGURES = (
    "dominant_right_count", "dominant_judged", "der", "der_collar_0.25", "der_collar_0.25_of_all_speech", "purity",
    "used_s",
)  # fmt: skip
_NO_SOUND = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Reference:
    """Detector of overlap that reads a recording's RTTM file."""

    path: Path

    def overlaps(self, samples: Samples) -> list[Segment]:
        """Return where two people or more speak at once, as the file says."""
        turns = [turn.segment for turn in read_rttm(self.path)]
        starts = [(turn.start_s, 1) for turn in turns]
        ends = [(turn.end_s, -1) for turn in turns]
        found: list[Segment] = []
        speaking = 0
        start_s = 0.0
        for at_s, change in sorted(starts + ends):
            if speaking >= 2 and at_s > start_s:
                found.append(Segment(start_s, at_s))
            speaking += change
            start_s = at_s
        return found


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="Handle of an installed model; the default one if left out.")
@click.option("--weights-dir", type=click.Path(path_type=Path), default=registry.WEIGHTS_DIR)
@click.option("--threads", default=1, show_default=True)
def main(manifest: Path, model: str | None, weights_dir: Path, threads: int) -> None:
    """Diarize the conversations of MANIFEST without a segmentation model, and with one that is never wrong."""
    card = registry.installed_card(model, weights_dir) if model else registry.default_card(weights_dir)
    nets = Nets(SileroVad(), registry.load(card, weights_dir, threads=threads))
    rows = read_manifest(manifest)
    talks = [row for row in rows if row.kind in ("mixture", "diarization") and row.path.with_suffix(".rttm").exists()]
    people = {speaker for row in talks for speaker in row.speaker.split(";")}
    print(f"Listening to {len(people)} people, and to {len(talks)} conversations ...", file=sys.stderr)
    heard = _heard([row for row in rows if row.kind == "single" and row.speaker in people], nets)
    report = {kind: _compared([row for row in talks if row.kind == kind], heard, nets) for kind in _kinds(talks)}
    print(json.dumps({"model": card.model_id} | report, indent=1))


def _kinds(rows: list[Row]) -> list[str]:
    return sorted({row.kind for row in rows})


def _heard(singles: list[Row], nets: Nets) -> dict[str, Heard]:
    found = {row.file: listen(row.speaker, read_waveform(row.path), nets) for row in singles}
    return {file: one for file, one in found.items() if one}


def _compared(rows: list[Row], heard: dict[str, Heard], nets: Nets) -> dict[str, object]:
    """Return the figures of conversations of one kind, without and with the overlaps of their references."""
    plain = mixtures.evaluate(rows, heard, nets)
    told = [
        outcome
        for row in rows
        for outcome in mixtures.evaluate([row], heard, replace(nets, segmentation=Reference(_rttm(row))))
    ]
    overlapped_s = sum(s.duration_s for row in rows for s in Reference(_rttm(row)).overlaps(_NO_SOUND))
    return {
        "conversations": len(rows),
        "overlapped_s": round(overlapped_s, 1),
        "without": _figures(mixtures.summary(plain)),
        "with": _figures(mixtures.summary(told)),
    }


def _rttm(row: Row) -> Path:
    return row.path.with_suffix(".rttm")


def _figures(summary: dict) -> dict[str, object]:
    found = summary.get("diarization", {}) | summary
    return {name: found[name] for name in _FIGURES if name in found}


if __name__ == "__main__":
    main()
