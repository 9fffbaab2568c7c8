"""Calibration of a model from recordings: hear them, judge the fit on held-out speakers, fit on all."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import click

from models.calibration.corpus import Corpus, Recording
from models.calibration.fit import fit
from models.calibration.held_out import cross_validate
from models.calibration.listening import FITTED, Halves, hear_halves
from models.calibration.store import Fitted, HeldOut
from models.vad import SileroVad
from shared.domain.errors import CalibrationError
from shared.networks import Embedder, SpeechDetector

#: Held-out cost from which on a model is of no use: without any information it is 1.
_USELESS_CLLR = 0.9

Progress = Callable[[Sequence[Recording]], Iterable[Recording]]


def bar(recordings: Sequence[Recording]) -> Iterator[Recording]:
    """Yield the recordings, and show on stderr how far it is."""
    with click.progressbar(recordings, label="Calibrating", file=sys.stderr) as shown:
        yield from shown


def calibrate(embedder: Embedder, corpus: Corpus, progress: Progress = bar) -> Fitted:
    """Fit the calibration of a model on a corpus. GE2E takes some two minutes for the one that comes with Timbre.

    Raises
    ------
    CalibrationError
        A recording cannot be decoded, there are too few speakers, or the model cannot tell speakers apart.
    """
    recordings = hear(embedder, progress(corpus.recordings), SileroVad())
    held_out = cross_validate(recordings)
    require_useful(held_out, embedder.card.model_id)
    return Fitted(
        fit(recordings, f"{corpus.name}; heard clean, by simulated telephone, in noise of 15 and 5 dB"), held_out
    )


def require_useful(held_out: HeldOut, model_id: str) -> None:
    """Refuse a model whose confidences would say next to nothing; raises CalibrationError."""
    if not held_out.cllr < _USELESS_CLLR:
        raise CalibrationError(
            f"{model_id} cannot tell speakers apart: its cost on held-out speakers (Cllr) is {held_out.cllr:.2f}, "
            "and 1 is that of no information."
        )


def hear(
    embedder: Embedder, recordings: Iterable[Recording], vad: SpeechDetector, channels: Sequence[str] = FITTED
) -> list[Halves]:
    """Return the voiceprints of those recordings that have enough speech; raises CalibrationError."""
    found = (hear_halves(recording, vad, embedder, channels) for recording in recordings)
    return [halves for halves in found if halves]
