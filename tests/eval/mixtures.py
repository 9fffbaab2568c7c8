"""Conversations: is the voiceprint that of whoever speaks most, and who spoke when?"""

import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from shared.domain.audio import Segment, Waveform, total_s
from shared.domain.diarization import Diarization
from shared.domain.errors import JobFailure
from tests.eval.recordings import Heard, Row
from tests.sounds import read_waveform
from worker.pipelines.voiceprint import Nets, make_voiceprint
from worker.steps import Steps

_MAX_S = 30.0
_CONVERSATIONS = ("mixture", "single-30s", "diarization")


@dataclass(frozen=True)
class Outcome:
    """What became of one recording; times in seconds, None where it does not apply."""

    file: str
    kind: str
    condition: str
    #: Share of reference speech that is missed, invented or somebody else's: without collar, and +-0.25 s round turns.
    der: float | None
    der_collar: float | None
    #: Whether the voiceprint is nearest to the enrolment of the true dominant speaker, of all who speak.
    right: bool | None
    #: Share of the speech used that is the dominant speaker's, and its length.
    purity: float | None
    used_s: float
    num_speakers: int
    #: Cosine to the voiceprint of all speech, of recordings of one speaker.
    to_undivided: float | None


def evaluate(rows: list[Row], heard: dict[str, Heard], nets: Nets) -> list[Outcome]:
    """Run the whole recipe on every mixture and diarization file, and on one-speaker files of 5 s and more."""
    enrolments = _enrolments(heard)
    chosen = [row for row in rows if row.kind in _CONVERSATIONS or (row.kind == "single" and _is_long(row, heard))]
    outcomes = []
    for row in chosen:
        try:
            outcomes.append(_outcome(row, enrolments, nets))
        except JobFailure as failure:
            print(f"{row.file}: {failure.code}", file=sys.stderr)
    return outcomes


def _is_long(row: Row, heard: dict[str, Heard]) -> bool:
    return row.file in heard and heard[row.file].voiceprint.capture.net_speech_s >= 5.0


def _enrolments(heard: dict[str, Heard]) -> dict[str, np.ndarray]:
    by_speaker: dict[str, list[np.ndarray]] = {}
    for one in heard.values():
        weight = min(10.0, one.voiceprint.capture.net_speech_s)
        by_speaker.setdefault(one.speaker, []).append(weight * one.voiceprint.vector)
    return {speaker: np.sum(vectors, axis=0) for speaker, vectors in by_speaker.items()}


def _outcome(row: Row, enrolments: dict[str, np.ndarray], nets: Nets) -> Outcome:
    whole = read_waveform(row.path)
    # What the service takes: recordings of the set run a little over.
    waveform = Waveform(whole.samples[: round(_MAX_S * whole.sample_rate_hz)], whole.sample_rate_hz)
    result = make_voiceprint(waveform, nets, Steps())
    used = result.diarization.segments(result.dominant_speaker)
    reference = _reference(row.path.with_suffix(".rttm"), waveform.duration_s)
    dominant = row.note.get("dominant", row.speaker)
    alone = row.kind.startswith("single")
    unit = {s: enrolments[s] / np.linalg.norm(enrolments[s]) for s in row.speaker.split(";") if s in enrolments}
    nearest = max(unit, key=lambda s: float(unit[s] @ result.voiceprint.vector)) if len(unit) > 1 else None
    return Outcome(
        file=row.file,
        kind=row.kind,
        condition=row.note.get("cond", ""),
        der=_der(reference, result.diarization, waveform, 0.0) if reference else None,
        der_collar=_der(reference, result.diarization, waveform, 0.25) if reference else None,
        right=None if nearest is None else nearest == dominant,
        purity=_purity(reference, dominant, used) if dominant in {s for _, s in reference} else None,
        used_s=total_s(used),
        num_speakers=result.quality.num_speakers,
        to_undivided=_to_undivided(waveform, result.voiceprint.vector, nets) if alone else None,
    )


def _reference(path: Path, end_s: float) -> list[tuple[Segment, str]]:
    if not path.exists():
        return []
    turns = [line.split() for line in path.read_text().splitlines() if line.startswith("SPEAKER")]
    cut = [(Segment(float(t[3]), min(end_s, float(t[3]) + float(t[4]))), t[7]) for t in turns]
    return [(segment, speaker) for segment, speaker in cut if segment]


def _der(reference: list[tuple[Segment, str]], found: Diarization, waveform: Waveform, collar_s: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyannote.core import Annotation, Timeline
        from pyannote.core import Segment as Span
        from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(turns: list[tuple[Segment, str]]) -> Annotation:
        made = Annotation()
        for i, (segment, speaker) in enumerate(turns):
            made[Span(segment.start_s, segment.end_s), i] = speaker
        return made

    # pyannote's collar is the whole width.
    metric = DiarizationErrorRate(collar=2 * collar_s)
    hypothesis = annotation([(turn.segment, turn.speaker) for turn in found.turns])
    return float(metric(annotation(reference), hypothesis, uem=Timeline([Span(0, waveform.duration_s)])))


def _purity(reference: list[tuple[Segment, str]], dominant: str, used: list[Segment]) -> float:
    step = 0.01
    times = np.concatenate([np.arange(s.start_s, s.end_s, step) for s in used])
    speaking = np.array([[s.start_s <= t < s.end_s for t in times] for s, _ in reference])
    own = speaking[[speaker == dominant for _, speaker in reference]].any(axis=0)
    others = speaking[[speaker != dominant for _, speaker in reference]].any(axis=0) if len(reference) else ~own
    return float(own.sum() / max(1, (own | others).sum()))


def _to_undivided(waveform: Waveform, vector: np.ndarray, nets: Nets) -> float:
    speech = nets.vad.speech_segments(waveform.samples)
    return float(nets.embedder.embed(waveform.join(speech)) @ vector)


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    mixtures = [o for o in outcomes if o.kind == "mixture"]
    alone = [o for o in outcomes if o.to_undivided is not None]
    found: dict[str, object] = {}
    if mixtures:
        found |= {
            "mixtures": len(mixtures),
            "dominant_right": _mean([o.right for o in mixtures]),
            "dominant_right_count": sum(bool(o.right) for o in mixtures),
            "der": _mean([o.der for o in mixtures]),
            "der_collar_0.25": _mean([o.der_collar for o in mixtures]),
            "purity": _mean([o.purity for o in mixtures]),
            "used_s": _mean([o.used_s for o in mixtures]),
        }
    if alone:
        found["one_speaker_within_0.02_of_undivided"] = _mean([(o.to_undivided or 0) >= 0.98 for o in alone])
    for kind in ("single-30s", "single"):
        files = [o for o in alone if o.kind == kind]
        if files:
            found[kind] = {
                "files": len(files),
                "split": _mean([o.num_speakers > 1 for o in files]),
                "within_0.02_of_undivided": _mean([(o.to_undivided or 0) >= 0.98 for o in files]),
            }
    real = {o.file: {"der": o.der, "der_collar_0.25": o.der_collar} for o in outcomes if o.kind == "diarization"}
    return found | ({"diarization": real} if real else {}) | {"files": [asdict(o) for o in outcomes]}


def _mean(values: list) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
