"""Evaluation on conversations: the dominant speaker's voiceprint, and the diarization."""

import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from shared.domain.audio import Segment, Waveform, total_s
from shared.domain.diarization import Diarization
from shared.domain.errors import JobFailure
from shared.sound.level import evened
from tests.eval.recordings import Heard, Row
from tests.support.sounds import read_waveform
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint

_MAX_S = 30.0
_CONVERSATIONS = ("mixture", "single-30s", "diarization")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one recording; times in seconds, None where a figure does not apply."""

    file: str
    kind: str
    condition: str
    #: Error code of its job if it failed; all speech counts as missed then.
    failure: str | None = None
    #: Diarization error rate: share of reference speech that is missed, false alarm or confused.
    der: float | None = None
    #: The same with a collar of 0.25 s on each side of the reference's edges.
    der_collar: float | None = None
    #: Reference speech outside the collars.
    scored_s: float = 0.0
    #: Whether the voiceprint is nearest to the enrolment of the true dominant speaker, among all speakers.
    right: bool | None
    #: Share of the true dominant speaker in the speech that the voiceprint was made from.
    purity: float | None = None
    #: Length of that speech.
    used_s: float = 0.0
    num_speakers: int = 0
    #: Cosine to the voiceprint of all speech, for recordings of one speaker.
    to_undivided: float | None = None


def evaluate(rows: list[Row], heard: dict[str, Heard], nets: Nets) -> list[Outcome]:
    """Make the voiceprints of all mixtures, diarization files, and one-speaker files of 5 s and more."""
    enrolments = _enrolments(heard)
    chosen = [row for row in rows if row.kind in _CONVERSATIONS or (row.kind == "single" and _is_long(row, heard))]
    return [_outcome(row, enrolments, nets) for row in chosen]


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
    # The service's limit; recordings of the set are a little longer.
    most = round(_MAX_S * whole.sample_rate_hz)
    waveform = Waveform(whole.samples[:most], whole.sample_rate_hz, whole.track)
    reference = _reference(row.path.with_suffix(".rttm"), waveform.duration_s)
    dominant = row.note.get("dominant", row.speaker)
    among = {s: enrolments[s] / np.linalg.norm(enrolments[s]) for s in row.speaker.split(";") if s in enrolments}
    judged = len(among) > 1 and dominant in among
    nobody = Outcome(
        file=row.file,
        kind=row.kind,
        condition=row.note.get("cond", ""),
        right=False if judged else None,
        **_errors(reference, Diarization([]), waveform),
    )
    try:
        result = make_voiceprint(waveform, nets, Steps())
    except JobFailure as failure:
        return replace(nobody, failure=failure.code)
    used = result.segments
    return replace(
        nobody,
        right=_nearest(result.voiceprint.vector, among) == dominant if judged else None,
        purity=_purity(reference, dominant, used) if dominant in {s for _, s in reference} else None,
        used_s=total_s(used),
        num_speakers=result.quality.num_speakers,
        to_undivided=_to_undivided(waveform, result.voiceprint.vector, nets) if _is_alone(row) else None,
        **_errors(reference, result.diarization, waveform),
    )


def _is_alone(recording: Row | Outcome) -> bool:
    return recording.kind.startswith("single")


def _nearest(vector: np.ndarray, among: dict[str, np.ndarray]) -> str:
    return max(among, key=lambda speaker: float(among[speaker] @ vector))


def _reference(path: Path, end_s: float) -> list[tuple[Segment, str]]:
    if not path.exists():
        return []
    turns = [line.split() for line in path.read_text().splitlines() if line.startswith("SPEAKER")]
    cut = [(Segment(float(t[3]), min(end_s, float(t[3]) + float(t[4]))), t[7]) for t in turns]
    return [(segment, speaker) for segment, speaker in cut if segment]


def _errors(reference: list[tuple[Segment, str]], found: Diarization, waveform: Waveform) -> dict[str, float]:
    """Return an outcome's diarization errors; an empty mapping without a reference."""
    if not reference:
        return {}
    der, _ = _der(reference, found, waveform, 0.0)
    der_collar, scored_s = _der(reference, found, waveform, 0.25)
    return {"der": der, "der_collar": der_collar, "scored_s": scored_s}


def _der(
    reference: list[tuple[Segment, str]], found: Diarization, waveform: Waveform, collar_s: float
) -> tuple[float, float]:
    """Return the diarization error rate, and the seconds of reference speech that were scored."""
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
    uem = Timeline([Span(0, waveform.duration_s)])
    detail = metric(annotation(reference), hypothesis, uem=uem, detailed=True)
    return float(detail[metric.name]), float(detail["total"])


def _purity(reference: list[tuple[Segment, str]], dominant: str, used: list[Segment]) -> float:
    step = 0.01
    times = np.concatenate([np.arange(s.start_s, s.end_s, step) for s in used])
    speaking = np.array([[s.start_s <= t < s.end_s for t in times] for s, _ in reference])
    own = speaking[[speaker == dominant for _, speaker in reference]].any(axis=0)
    others = speaking[[speaker != dominant for _, speaker in reference]].any(axis=0) if len(reference) else ~own
    return float(own.sum() / max(1, (own | others).sum()))


def _to_undivided(waveform: Waveform, vector: np.ndarray, nets: Nets) -> float:
    speech = nets.vad.speech_segments(waveform.samples)
    return float(nets.embedder.embed(evened(waveform.join(speech))) @ vector)


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    """Return the figures of each kind of recording; a failed job counts as wrong, and its speech as missed."""
    found: dict[str, object] = {"recordings": len(outcomes), "failed": _num_failed(outcomes)}
    found["failures"] = {o.file: o.failure for o in outcomes if o.failure}
    if mixtures := [o for o in outcomes if o.kind == "mixture"]:
        found |= _of_mixtures(mixtures)
    if alone := [o for o in outcomes if _is_alone(o)]:
        found["one_speaker_within_0.02_of_undivided"] = _within(alone)
    for kind in ("single-30s", "single"):
        if files := [o for o in alone if o.kind == kind]:
            split = _mean([o.num_speakers > 1 for o in files])
            found[kind] = {"files": len(files), "split": split, "within_0.02_of_undivided": _within(files)}
    if real := [o for o in outcomes if o.kind == "diarization"]:
        each = {o.file: {"der": o.der, "der_collar_0.25": o.der_collar} for o in real}
        found["diarization"] = {"files": len(real), "failed": _num_failed(real)} | _mean_errors(real) | each
    return found | {"files": [asdict(o) for o in outcomes]}


def _of_mixtures(mixtures: list[Outcome]) -> dict[str, object]:
    judged = [o.right for o in mixtures if o.right is not None]
    return {
        "mixtures": len(mixtures),
        "mixtures_failed": _num_failed(mixtures),
        "dominant_right": _mean(judged),
        "dominant_right_count": sum(judged),
        "dominant_judged": len(judged),
        **_mean_errors(mixtures),
        "purity": _mean([o.purity for o in mixtures]),
        "used_s": _mean([o.used_s for o in mixtures]),
    }


def _mean_errors(outcomes: list[Outcome]) -> dict[str, float | None]:
    """Return the mean error over recordings, and the mean over all their speech."""
    known = [o for o in outcomes if o.der_collar is not None and o.scored_s]
    pooled = np.average([o.der_collar for o in known], weights=[o.scored_s for o in known]) if known else None
    return {
        "der": _mean([o.der for o in outcomes]),
        "der_collar_0.25": _mean([o.der_collar for o in outcomes]),
        "der_collar_0.25_of_all_speech": None if pooled is None else float(pooled),
    }


def _num_failed(outcomes: list[Outcome]) -> int:
    return sum(o.failure is not None for o in outcomes)


def _within(outcomes: list[Outcome]) -> float | None:
    return _mean([o.to_undivided is not None and o.to_undivided >= 0.98 for o in outcomes])


def _mean(values: list) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
