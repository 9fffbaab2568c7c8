"""`python -m tests.eval MANIFEST [--model HANDLE] [--out FOLDER]`: write a table, a JSON file and plots."""

import json
import sys
from pathlib import Path

import click

from models import registry
from models.vad import SileroVad
from tests.eval import mixtures, pictures, verification
from tests.eval.recordings import read_manifest
from worker.voices.voiceprint import Nets


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="Handle of an installed model; the default one if left out.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("build/eval"), show_default=True)
@click.option("--weights-dir", type=click.Path(path_type=Path), default=registry.WEIGHTS_DIR)
@click.option("--threads", default=2, show_default=True)
def main(manifest: Path, model: str | None, out: Path, weights_dir: Path, threads: int) -> None:
    """Score the recordings of MANIFEST."""
    card = registry.installed_card(model, weights_dir) if model else registry.default_card(weights_dir)
    nets = Nets(SileroVad(), registry.load(card, weights_dir, threads=threads))
    out.mkdir(parents=True, exist_ok=True)
    rows = read_manifest(manifest)
    singles = [row for row in rows if row.kind == "single"]
    print(f"Listening to {len(singles)} recordings of one speaker ...", file=sys.stderr)
    heard = verification.hear_all(singles, nets)
    trials = verification.read_trials(manifest, rows)
    scored = verification.score_all(trials, heard, verification.cosine)
    report: dict[str, object] = {"model": card.model_id, "manifest": str(manifest)}
    report["verification"] = [one.summary() for one in scored]
    if card.calibration:
        matched = verification.score_all(trials, heard, verification.matched_cosine(card.calibration))
        report["verification_matched"] = [one.summary() for one in matched]
    print("Finding the dominant speakers ...", file=sys.stderr)
    report["conversations"] = mixtures.summary(mixtures.evaluate(rows, heard["clean"], nets))
    (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    if scored:
        pictures.det_curves(scored, out / "det.png")
        pictures.histograms(scored, out / "scores.png")
    table = "\n".join(_lines(report))
    (out / "report.txt").write_text(table + "\n")
    print(table)


def _lines(report: dict) -> list[str]:
    lines = [
        f"model {report['model']}",
        "",
        f"{'trials (clean enrolment)':44} same/diff   left out   EER %  [95 %]          minDCF  [95 %]",
    ]
    for part, mark in (("verification", ""), ("verification_matched", " (compensated)")):
        lines += [_rates(row, mark) for row in report.get(part, [])]
    lines.append("")
    for name, value in report["conversations"].items():
        if name != "files":
            lines += _described(name, value)
    return lines


def _rates(row: dict, mark: str) -> str:
    eer, low, high = (100 * rate for rate in (row["eer"], *row["eer_95"]))
    cost = row["min_dcf_0.01"]
    least, most = row["min_dcf_95"]
    return (
        f"{row['condition'] + mark:44} {row['targets']:4}/{row['nontargets']:<6} {row['left_out']:7}  "
        f"{eer:6.2f}  [{low:5.2f}, {high:5.2f}]  {cost:.3f}   [{least:.3f}, {most:.3f}]"
    )


def _described(name: str, value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}:"] + ["  " + line for key, inner in value.items() for line in _described(key, inner)]
    return [f"{name:30} {value:.3f}" if isinstance(value, float) else f"{name:30} {value}"]


if __name__ == "__main__":
    main()
