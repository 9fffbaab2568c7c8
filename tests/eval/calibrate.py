"""`python -m tests.eval.calibrate MANIFEST --fit DATASET --test DATASET`: fit a model's calibration, and store it.

Each recording of the datasets to fit is cut in two. The first half is enrolled, the second is the probe, both through
several channels. So one recording per speaker is enough. The test uses other datasets, with other speakers.
"""

import base64
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import click
import numpy as np
from scipy.optimize import minimize

from models import registry
from models.vad import SileroVad
from shared.domain.audio import total_s
from shared.domain.calibration import NUM_FEATURES, Calibration, confidence, features
from shared.domain.quality import Condition
from tests.eval import metrics
from tests.eval.recordings import CHANNELS, RATE_HZ, Heard, Row, first, listen, read_manifest, through
from tests.support.sounds import read_unconditioned
from worker.voices.voiceprint import Nets

#: Channels to fit on, clean first. Two levels of noise also cover those between and beyond; more would lower the weight
#: of the telephone.
_FITTED = ("clean", "telephone", "noise 15 dB", "noise 5 dB")
#: Weight of the penalty on large weights.
_RIDGE = 1e-4
#: Directions to remove. Fitted on one half of the speakers and tested on the other, 12 did better than 8 and 5.
_DIRECTIONS = 12
#: Lengths of speech of each half, in seconds.
_LIMITS_S = (np.inf, 3.0)
LEVELS = (50, 90, 95, 99)


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", help="Handle of an installed model; the default one if left out.")
@click.option("--fit", "fit_on", multiple=True, required=True, help="Dataset to fit on; may be given again.")
@click.option("--test", "test_on", multiple=True, required=True, help="Dataset to test on; may be given again.")
@click.option("--data", help="Name of the data in the manifest; the datasets fitted on if left out.")
@click.option("--dry-run", is_flag=True, help="Store nothing.")
@click.option("--weights-dir", type=click.Path(path_type=Path), default=registry.WEIGHTS_DIR)
def main(
    manifest: Path,
    model: str | None,
    fit_on: tuple[str, ...],
    test_on: tuple[str, ...],
    data: str | None,
    dry_run: bool,
    weights_dir: Path,
) -> None:
    """Fit the calibration of a model on the one-speaker recordings of MANIFEST."""
    card = registry.installed_card(model, weights_dir) if model else registry.default_card(weights_dir)
    nets = Nets(SileroVad(), registry.load(card, weights_dir, threads=2))
    rows = [row for row in read_manifest(manifest) if row.kind == "single"]
    print("Listening ...", file=sys.stderr)
    pairs = [_halves(row, nets) for row in rows if row.dataset in fit_on]
    calibration = fit([pair for pair in pairs if pair], data or ", ".join(fit_on))
    report(calibration, [row for row in rows if row.dataset in test_on], nets)
    fitted, tested = ({row.speaker for row in rows if row.dataset in chosen} for chosen in (fit_on, test_on))
    if both := fitted & tested:
        print(f"These figures flatter: fitted and tested on {', '.join(sorted(both))}.")
    if not dry_run:
        store(card.handle, calibration, registry.MANIFEST)
        print(f"Stored in {registry.MANIFEST.name}.")


Halves = tuple[dict[str, Heard], dict[str, Heard]]


def _halves(row: Row, nets: Nets) -> Halves | None:
    """Embed both halves of a recording through each channel to fit on; None if there is too little speech."""
    samples = read_unconditioned(row.path)
    speech = nets.vad.speech_segments(through("clean", samples).samples)
    if total_s(speech) < 6.0:
        return None
    middle = round(first(speech, total_s(speech) / 2)[-1].end_s * RATE_HZ)
    heard = ({}, {})
    for part, half in zip((samples[:middle], samples[middle:]), heard, strict=True):
        for name, limit_s in product(_FITTED, _LIMITS_S):
            if found := listen(row.speaker, through(name, part), nets, limit_s):
                half[f"{name} {limit_s}"] = found
    return heard


def fit(recordings: list[Halves], data: str) -> Calibration:
    """Fit means, nuisance directions and weights; targets and non-targets have the same total weight."""
    everything = [heard.voiceprint for halves in recordings for half in halves for heard in half.values()]
    means = {
        condition.value: np.mean([h.vector for h in everything if h.capture.condition == condition], axis=0)
        for condition in Condition
    }
    calibration = Calibration(
        model_id=everything[0].model_id,
        data=data,
        weights=np.zeros(NUM_FEATURES),
        means=means,
        nuisance=_nuisance(recordings),
    )
    rows, same = zip(*_trials(recordings, calibration), strict=True)
    return replace(calibration, weights=_logistic(np.array(rows), np.array(same)))


def _nuisance(recordings: list[Halves]) -> np.ndarray:
    """Return the main directions in which a channel moves different voices differently."""
    clean, *others = (f"{name} {np.inf}" for name in _FITTED)
    halves = [half for both in recordings for half in both]
    moves = []
    for other in others:
        pairs = [(half[clean].voiceprint, half[other].voiceprint) for half in halves if {clean, other} <= half.keys()]
        moved = np.stack([through.vector - direct.vector for direct, through in pairs])
        moves.append(moved - moved.mean(axis=0))
    return np.linalg.svd(np.concatenate(moves), full_matrices=False)[2][:_DIRECTIONS]


def _logistic(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    weights = np.where(targets, 0.5 / targets.sum(), 0.5 / (~targets).sum())
    signs = np.where(targets, -1.0, 1.0)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        exponents = signs * (inputs @ w)
        slope = weights * signs / (1 + np.exp(-exponents))
        return float(weights @ np.logaddexp(0, exponents) + _RIDGE * w @ w / 2), inputs.T @ slope + _RIDGE * w

    return minimize(loss, np.zeros(NUM_FEATURES), jac=True, method="L-BFGS-B").x


def _trials(recordings: list[Halves], calibration: Calibration) -> Iterator[tuple[np.ndarray, bool]]:
    def seen(half: dict[str, Heard]) -> list[tuple[Heard, np.ndarray]]:
        return [(h, calibration.compensated(h.voiceprint)) for h in half.values()]

    enrolled = [seen(halves[0]) for halves in recordings]
    tried = [seen(halves[1]) for halves in recordings]
    for one, other in product(enrolled, tried):
        for (a, its), (b, others) in product(one, other):
            yield features(float(its @ others), a.voiceprint.capture, b.voiceprint.capture), a.speaker == b.speaker


def report(calibration: Calibration, rows: list[Row], nets: Nets) -> None:
    """Print the error rates on unseen speakers: whole recordings, enrolled clean or through the same channel."""
    heard = {name: [_through(row, name, nets) for row in rows] for name in CHANNELS}
    print(f"{'enrolment / test':28} Cllr    EER %   " + "  ".join(f"FAR/FRR % at {level}" for level in LEVELS))
    costs = []
    for enrol, test in [("clean", name) for name in CHANNELS] + [(name, name) for name in CHANNELS if name != "clean"]:
        llrs, same = _scored(calibration, heard[enrol], heard[test])
        cost = metrics.cllr(llrs, same)
        costs += [cost] if enrol == "clean" else []
        confidences = np.array([confidence(llr) for llr in llrs])
        rates = "  ".join(_rates(confidences, same, level) for level in LEVELS)
        print(f"{enrol + ' / ' + test:28} {cost:.3f}  {100 * metrics.eer(llrs, same):5.2f}   {rates}")
    print(f"mean Cllr over all channels (clean enrolment): {np.mean(costs):.3f}")


def _through(row: Row, channel: str, nets: Nets) -> Heard | None:
    return listen(row.speaker, through(channel, read_unconditioned(row.path)), nets)


def _scored(calibration: Calibration, enrolled: list, tried: list) -> tuple[np.ndarray, np.ndarray]:
    llrs = []
    same = []
    for (i, a), (j, b) in product(enumerate(enrolled), enumerate(tried)):
        if i < j and a and b:
            llrs.append(calibration.llr(a.voiceprint, b.voiceprint))
            same.append(a.speaker == b.speaker)
    return np.array(llrs), np.array(same)


def _rates(confidences: np.ndarray, same: np.ndarray, level: int) -> str:
    """Return the false accepts and false rejects, in %, at the least confidence `level`."""
    accepted = confidences >= level
    return f"{100 * accepted[~same].mean():7.2f} / {100 * (~accepted[same]).mean():<6.1f}"


def store(handle: str, calibration: Calibration, manifest: Path) -> None:
    """Write the calibration into the model's entry of the manifest; it replaces an older one."""
    table = f"[{handle}.calibration]\nmodel = {json.dumps(calibration.model_id)}\n"
    table += f"data = {json.dumps(calibration.data)}\n"
    table += f"weights = {np.round(calibration.weights, 4).tolist()}\n"
    table += "nuisance = [\n" + "".join(f'    "{_text(row)}",\n' for row in calibration.nuisance) + "]\n"
    table += f"\n[{handle}.calibration.means]\n"
    for condition, mean in calibration.means.items():
        table += f'{condition} = "{_text(mean)}"\n'
    older = rf"\n*\[{handle}\.calibration\]\n.*?(?=\n\[(?!{handle}\.calibration)|\Z)"
    text = re.sub(older, "\n", manifest.read_text(), flags=re.DOTALL)
    clustering = re.search(rf"\[{handle}\.clustering\]\n(?:\w.*\n)+", text)
    assert clustering, f"the manifest has no clustering of {handle}"
    end = clustering.end()
    manifest.write_text((text[:end] + "\n" + table + text[end:]).rstrip("\n") + "\n")


def _text(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


if __name__ == "__main__":
    main()
