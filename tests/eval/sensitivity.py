"""`python -m tests.eval.sensitivity MANIFEST`: error rates of the sensitivities of voice biometrics users.

Each trial compares one recording, enrolled clean or by telephone, with another one, clean or by telephone. They go
through the worker's conditioning and speech detector, and the default model.
"""

from pathlib import Path

import click
import numpy as np

from models import registry
from models.calibration.channels import through
from models.vad import SileroVad
from shared.dialects.voisentry import confidence, least_llr
from tests.eval.recordings import Heard, listen, read_manifest
from tests.eval.verification import read_trials
from tests.support.sounds import read_unconditioned
from worker.voices.voiceprint import Nets

SENSITIVITIES = (-2.0, 0.0, 2.0, 10.0)
#: Channels of enrolment and of the recording that is verified.
CHANNELS = (("clean", "clean"), ("clean", "telephone"), ("telephone", "telephone"))
Trial = tuple[str, str, bool, str]


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--weights-dir", type=click.Path(path_type=Path), default=registry.WEIGHTS_DIR)
@click.option("--threads", default=1, show_default=True)
def main(manifest: Path, weights_dir: Path, threads: int) -> None:
    """Print the rates of MANIFEST's trials."""
    card = registry.default_card(weights_dir)
    nets = Nets(SileroVad(), registry.load(card, weights_dir, threads=threads))
    trials = read_trials(manifest, read_manifest(manifest))
    datasets = [name for name in dict.fromkeys(trial[3] for trial in trials) if _has_both(name, trials)]
    heard = _heard(manifest, nets, {file for *files, _, name in trials if name in datasets for file in files})
    shown = [f"false rejects, accepts at {one:g}" for one in SENSITIVITIES]
    print("| dataset | enrolled, verified | same, different |", *(f"{one} |" for one in shown))
    print("|---" * (3 + len(shown)) + "|")
    for dataset in datasets:
        for enrolled, verified in CHANNELS:
            pairs = [
                (heard[enrolled, one], heard[verified, other], same)
                for one, other, same, name in trials
                if name == dataset and heard[enrolled, one] and heard[verified, other]
            ]
            llrs = np.array([card.calibration.llr(one.voiceprint, other.voiceprint) for one, other, _ in pairs])
            same = np.array([one[2] for one in pairs], bool)
            cells = [_rates(llrs, same, one) for one in SENSITIVITIES]
            counts = f"{same.sum()}, {(~same).sum()}"
            print(f"| {dataset} | {enrolled}, {verified} | {counts} |", *(f"{cell} |" for cell in cells), flush=True)


def _has_both(dataset: str, trials: list[Trial]) -> bool:
    return len({same for *_, same, name in trials if name == dataset}) == 2


def _heard(manifest: Path, nets: Nets, files: set[str]) -> dict[tuple[str, str], Heard | None]:
    found: dict[tuple[str, str], Heard | None] = {}
    for row in read_manifest(manifest):
        if row.file in files:
            samples = read_unconditioned(row.path)
            for channel in ("clean", "telephone"):
                found[channel, row.file] = listen(row.speaker, through(channel, samples), nets)
    return found


def _rates(llrs: np.ndarray, same: np.ndarray, sensitivity: float) -> str:
    least = least_llr(sensitivity)
    verified = np.array([confidence(llr, least) >= 1.0 for llr in llrs])
    return f"{(~verified[same]).mean():.1%}, {verified[~same].mean():.1%}"


if __name__ == "__main__":
    main()
