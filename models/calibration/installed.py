"""Calibration of an installed model, as the last step of its installation or anew: stored and summarised."""

import sys
from pathlib import Path

from models import registry
from models.calibration import store
from models.calibration.calibrate import calibrate
from models.calibration.corpus import SHIPPED, read_corpus
from shared.domain.models import ModelCard

#: More take little less time for the short recordings of the corpus.
_THREADS = 2


def calibrate_or_say(card: ModelCard, weights_dir: Path, corpus: Path = SHIPPED, own: Path | None = None) -> None:
    """Calibrate a model that was just installed; if that fails, say so on stderr, for the model works without."""
    try:
        calibrate_installed(card, weights_dir, corpus, own)
    # Whatever stops it, be it the network's own fault or Ctrl-C: the installation stays.
    except (Exception, KeyboardInterrupt) as error:
        print(
            f"{card.handle} is installed, but it was not calibrated: {error or type(error).__name__}\n"
            "It works without confidences: the API says `calibrated: false`, and thresholds above 0 fail. "
            f"`make calibrate MODEL={card.handle}` tries again.",
            file=sys.stderr,
        )


def calibrate_installed(card: ModelCard, weights_dir: Path, corpus: Path = SHIPPED, own: Path | None = None) -> None:
    """Calibrate an installed model, store the result beside its weights, and print its figures.

    Raises
    ------
    CalibrationError, ModelInstallError, OSError
    """
    embedder = registry.load(card, weights_dir, threads=_THREADS)
    chosen = read_corpus(corpus, own)
    fitted = calibrate(embedder, chosen)
    path = registry.calibration_file(card, weights_dir)
    store.write(fitted, registry.weights_sha256(card, weights_dir), path)
    print(f"Calibrated {embedder.card.model_id}: {path}")
    print(f"  on {fitted.calibration.data}")
    found = fitted.held_out
    print(
        f"  {found.speakers} speakers, each judged by a fit on others: Cllr {found.cllr:.3f}, equal error rate "
        f"{100 * found.eer:.1f} %, {100 * found.false_accepts_at_90:.2f} % of strangers accepted at 90"
    )
    if short := len(chosen.recordings) - found.recordings:
        print(f"  {short} of {len(chosen.recordings)} recordings have less than 6 s of speech and were left out")
