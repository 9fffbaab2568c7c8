"""`python -m tests.eval.simulate MANIFEST OUT --dataset NAME`: make conversations for tuning, of a dataset's speakers.

Speakers of the mixtures of MANIFEST are left out, because those are for testing. `--half` takes every other speaker, so
that thresholds can be tuned on one half and judged on the other. Turns last 1 to 6 s, and a fifth of
the changes of speaker overlap. Half of the conversations are clean, the rest noisy or telephone.
"""

import csv
from collections import defaultdict
from pathlib import Path

import click
import numpy as np
import soundfile

from models.calibration.channels import CHANNELS
from models.vad import SileroVad
from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Waveform
from tests.eval.recordings import Row, read_manifest
from tests.support.sounds import read_unconditioned

#: Share of the speech of each speaker, the dominant one first.
_PLANS = ((0.65, 0.35), (0.55, 0.45), (0.50, 0.28, 0.22), (1.0,))
_CONDITIONS = ("clean", "telephone", "clean", "noise 10 dB")
_SECONDS = 29.0
#: Least speech of a speaker; with less the conversation would be short.
_LEAST_S = 10.0
_TURN_S = (1.0, 6.0)
_OVERLAP_S = (0.3, 1.0)
_PAUSE_S = (0.1, 0.8)
#: Share of the changes of speaker that overlap.
_OVERLAPS = 0.2


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--dataset", required=True)
@click.option("--count", default=64, show_default=True)
@click.option("--also-tested", is_flag=True, help="Do not leave out the speakers of the mixtures.")
@click.option("--half", type=click.IntRange(1, 2), help="Every other speaker: 1 to tune on, 2 to judge by.")
def main(manifest: Path, out: Path, dataset: str, count: int, also_tested: bool, half: int | None) -> None:
    """Write conversations, their RTTM files and a manifest to the folder OUT."""
    rows = read_manifest(manifest)
    tested = {speaker for row in rows if row.kind == "mixture" for speaker in row.speaker.split(";")}
    left_out = set() if also_tested else tested
    singles = [row for row in rows if row.kind == "single" and row.dataset == dataset and row.speaker not in left_out]
    if half:
        chosen = half_of({row.speaker for row in singles}, half)
        singles = [row for row in singles if row.speaker in chosen]
    voices = _voices(singles)
    rng = np.random.default_rng(half or 0)
    plans = [plan for plan in _PLANS if len(plan) <= len(voices)]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "speaker", "dataset", "kind", "note"))
        table.writerows((row.path.resolve(), row.speaker, dataset, "single", "") for row in singles)
        for i in range(count):
            plan = plans[i % len(plans)]
            condition = _CONDITIONS[i // len(plans) % len(_CONDITIONS)]
            speakers = [str(name) for name in rng.permutation(sorted(voices))[: len(plan)]]
            samples, turns = _talk(speakers, plan, voices, rng)
            soundfile.write(out / f"{i:03d}.flac", CHANNELS[condition](samples), SAMPLE_RATE_HZ)
            (out / f"{i:03d}.rttm").write_text("".join(f"SPEAKER {i:03d} 1 {turn}\n" for turn in turns))
            kind = "mixture" if len(plan) > 1 else "single-30s"
            note = f"dominant={speakers[0]} cond={condition.split()[0]}"
            table.writerow((f"{i:03d}.flac", ";".join(speakers), "simulated", kind, note))


def half_of(speakers: set[str], half: int) -> set[str]:
    """Return the first or the second half of the speakers: every other one, by name."""
    return set(sorted(speakers)[half - 1 :: 2])


def _voices(rows: list[Row]) -> dict[str, Samples]:
    """Return the joined speech of each speaker who has enough of it."""
    vad = SileroVad()
    speech = defaultdict(list)
    for row in rows:
        samples = read_unconditioned(row.path)
        speech[row.speaker] += [
            Waveform(samples, SAMPLE_RATE_HZ).crop(s) for s in vad.speech_segments(samples, threshold=0.5)
        ]
    joined = {speaker: np.concatenate(stretches) for speaker, stretches in speech.items() if stretches}
    return {speaker: samples for speaker, samples in joined.items() if len(samples) >= _LEAST_S * SAMPLE_RATE_HZ}


def _talk(
    speakers: list[str], plan: tuple[float, ...], voices: dict[str, Samples], rng: np.random.Generator
) -> tuple[Samples, list[str]]:
    # Limited by the speaker who runs out of speech first at these shares.
    seconds = min(_SECONDS, *(len(voices[s]) / SAMPLE_RATE_HZ / share for s, share in zip(speakers, plan, strict=True)))
    left = {s: voices[s][: int(seconds * share * SAMPLE_RATE_HZ)] for s, share in zip(speakers, plan, strict=True)}
    mixed = np.zeros(int(2 * seconds * SAMPLE_RATE_HZ), np.float32)
    turns = []
    end = 0
    last = ""
    while any(len(rest) for rest in left.values()):
        waiting = [s for s, rest in left.items() if len(rest)]
        speaker = str(rng.choice([s for s in waiting if s != last] or waiting))
        take = int(rng.uniform(*_TURN_S) * SAMPLE_RATE_HZ)
        # A rest that is too short for a turn is added to this one.
        turn = left[speaker] if len(left[speaker]) - take < _TURN_S[0] * SAMPLE_RATE_HZ else left[speaker][:take]
        left[speaker] = left[speaker][len(turn) :]
        overlaps = last not in ("", speaker) and rng.random() < _OVERLAPS
        gap_s = -rng.uniform(*_OVERLAP_S) if overlaps else rng.uniform(*_PAUSE_S)
        start = max(0, end + int(gap_s * SAMPLE_RATE_HZ))
        mixed[start : start + len(turn)] += turn / max(float(np.sqrt(np.mean(np.square(turn)))), 1e-6) * 0.05
        turns.append(f"{start / SAMPLE_RATE_HZ:.3f} {len(turn) / SAMPLE_RATE_HZ:.3f} <NA> <NA> {speaker} <NA> <NA>")
        end = max(end, start + len(turn))
        last = speaker
    return np.clip(mixed[: end + SAMPLE_RATE_HZ // 2], -1, 1), turns


if __name__ == "__main__":
    main()
