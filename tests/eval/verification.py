"""Verification trials, scored by duration and by channel."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from models.calibration.channels import CHANNELS, through
from models.calibration.listening import first
from models.calibration.metrics import eer
from shared.domain.audio import total_s
from shared.domain.calibration import Calibration
from tests.eval import metrics
from tests.eval.recordings import Heard, Row, hear
from tests.support.sounds import read_unconditioned
from worker.voices.voiceprint import Nets

DURATIONS_S = (10.0, 5.0, 3.0, 1.6)
#: Least share of a duration's speech; a recording with less is left out of that duration.
_LEAST_SHARE = 0.9


@dataclass(frozen=True, eq=False)
class Scored:
    """Scored trials of one condition; `same` marks the targets."""

    name: str
    #: Trials of the dataset without a score, because one of the two recordings has too little speech.
    left_out: int
    scores: np.ndarray
    same: np.ndarray
    speakers: list[tuple[str, str]]

    def summary(self) -> dict[str, object]:
        return {
            "condition": self.name,
            "targets": int(self.same.sum()),
            "nontargets": int((~self.same).sum()),
            "left_out": self.left_out,
            "eer": eer(self.scores, self.same),
            "eer_95": metrics.interval(eer, self.scores, self.same, self.speakers),
            "min_dcf_0.01": metrics.min_dcf(self.scores, self.same),
            "min_dcf_95": metrics.interval(metrics.min_dcf, self.scores, self.same, self.speakers),
        }


def read_trials(manifest: Path, rows: list[Row]) -> list[tuple[str, str, bool, str]]:
    """Return (enrol, test, same, dataset) of `trials.csv`; without that file, all pairs within each dataset."""
    path = manifest.with_name("trials.csv")
    if path.exists():
        with path.open(newline="") as file:
            return [(r["enrol"], r["test"], r["same"] == "1", r["dataset"]) for r in csv.DictReader(file)]
    singles = [row for row in rows if row.kind == "single"]
    return [
        (a.file, b.file, a.speaker == b.speaker, a.dataset)
        for a, b in combinations(singles, 2)
        if a.dataset == b.dataset
    ]


def hear_all(rows: list[Row], nets: Nets) -> dict[str, dict[str, Heard]]:
    """Return the voiceprint of each file, by condition and file; durations are of clean speech."""
    heard: dict[str, dict[str, Heard]] = {name: {} for name in [*CHANNELS, *(f"{s:g} s" for s in DURATIONS_S)]}
    for row in rows:
        samples = read_unconditioned(row.path)
        for name in CHANNELS:
            waveform = through(name, samples)
            speech = nets.vad.speech_segments(waveform.samples)
            limits = {name: np.inf} | (_durations(total_s(speech)) if name == "clean" else {})
            for condition, most_s in limits.items():
                if found := hear(row.speaker, waveform, first(speech, most_s), nets):
                    heard[condition][row.file] = found
    return heard


def _durations(speech_s: float) -> dict[str, float]:
    """Return the durations, by condition, for which `speech_s` is enough."""
    return {f"{s:g} s": s for s in DURATIONS_S if speech_s >= _LEAST_SHARE * s}


def score_all(
    trials: list[tuple[str, str, bool, str]],
    heard: Mapping[str, Mapping[str, Heard]],
    score: Callable[[Heard, Heard], float],
) -> list[Scored]:
    """Score each dataset by condition: the enrolment is the whole clean file, the test has the condition."""
    found = []
    for dataset in dict.fromkeys(trial[3] for trial in trials):
        its = [trial for trial in trials if trial[3] == dataset]
        for name, tests in heard.items():
            usable = [t for t in its if t[0] in heard["clean"] and t[1] in tests]
            same = np.array([t[2] for t in usable], bool)
            if same.any() and not same.all():
                pairs = [(heard["clean"][t[0]], tests[t[1]]) for t in usable]
                scores = np.array([score(a, b) for a, b in pairs])
                speakers = [(a.speaker, b.speaker) for a, b in pairs]
                found.append(Scored(f"{dataset}, {name}", len(its) - len(usable), scores, same, speakers))
    return found


def cosine(one: Heard, other: Heard) -> float:
    return one.voiceprint.score(other.voiceprint)


def matched_cosine(calibration: Calibration) -> Callable[[Heard, Heard], float]:
    """Return a function that scores the cosine of compensated vectors."""

    def score(one: Heard, other: Heard) -> float:
        a, b = (calibration.compensated(h.voiceprint) for h in (one, other))
        return float(a @ b)

    return score
