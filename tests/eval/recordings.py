"""Recordings of a manifest, and their voiceprints."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.calibration import listening
from models.calibration.listening import first
from shared.domain.audio import Segment, Waveform
from shared.domain.voiceprints import Voiceprint
from worker.voices.voiceprint import Nets


@dataclass(frozen=True)
class Row:
    """One line of a manifest."""

    path: Path
    file: str
    speaker: str
    dataset: str
    kind: str
    note: dict[str, str]


@dataclass(frozen=True, eq=False)
class Heard:
    """Voiceprint of a recording of one speaker."""

    speaker: str
    voiceprint: Voiceprint


def read_manifest(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return [
            Row(path.parent / row["file"], row["file"], row["speaker"], row.get("dataset", ""),
                row.get("kind") or "single", dict(p.split("=", 1) for p in (row.get("note") or "").split() if "=" in p))
            for row in csv.DictReader(file)
        ]  # fmt: skip


def listen(speaker: str, waveform: Waveform, nets: Nets, most_s: float = np.inf) -> Heard | None:
    """Embed the first `most_s` seconds of a single speaker's speech; None if there is too little speech."""
    return hear(speaker, waveform, first(nets.vad.speech_segments(waveform.samples), most_s), nets)


def hear(speaker: str, waveform: Waveform, speech: list[Segment], nets: Nets) -> Heard | None:
    """Embed a single speaker's `speech`; None if there is too little of it."""
    voiceprint = listening.hear(waveform, speech, nets.embedder)
    return Heard(speaker, voiceprint) if voiceprint else None
