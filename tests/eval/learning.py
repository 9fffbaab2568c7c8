"""`python -m tests.eval.learning`: calibrations on few and many speakers, of GE2E and of models with other scales.

Each fifth of the corpus is judged by fits on some of the other speakers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import scipy.fft

from models import registry
from models.calibration.calibrate import bar, hear
from models.calibration.corpus import read_corpus
from models.calibration.fit import fit
from models.calibration.held_out import folds, rates, scored
from models.calibration.listening import FITTED, Halves
from models.features import nemo_features
from models.vad import SileroVad
from shared.domain.audio import Samples, Segment
from shared.networks import Embedder, Frames

#: Four fifths of the corpus are some 70 speakers.
_NUMBERS = (10, 20, 40, 70)
_CEPSTRA = 20
_DIMENSION = 16


class Projected(Embedder):
    """GE2E in 16 dimensions, moved off the middle: the cosines of strangers are high, too."""

    def __init__(self, inner: Embedder) -> None:
        super().__init__(replace(inner.card, handle="projected", dimension=_DIMENSION, fitted=None))
        rng = np.random.default_rng(0)
        self._inner = inner
        self._projection = rng.standard_normal((_DIMENSION, inner.card.dimension)) / _DIMENSION
        self._offset = 2 * rng.standard_normal(_DIMENSION)

    def encode(self, samples: Samples) -> Frames:
        return self._inner.encode(samples)

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> np.ndarray:
        return _normed(self._inner.pool(frames, segments) @ self._projection.T + self._offset)


class Cepstra(Embedder):
    """Mean and deviation of mel-frequency cepstra (MFCC): a model that hardly tells people apart."""

    def encode(self, samples: Samples) -> Frames:
        return scipy.fft.dct(nemo_features(samples), axis=0, norm="ortho")[:_CEPSTRA].astype(np.float32)

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> np.ndarray:
        spans = [frames[:, round(100 * one.start_s) : round(100 * one.end_s)] for one in segments]
        return _normed(np.stack([np.concatenate([span.mean(axis=1), span.std(axis=1)]) for span in spans]))


def _normed(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@click.command()
@click.option("--weights-dir", type=click.Path(path_type=Path), default=registry.WEIGHTS_DIR)
def main(weights_dir: Path) -> None:
    """Print cost (Cllr), equal error rate and false accepts at 90 by number of speakers."""
    ge2e = registry.load(registry.installed_card("ge2e", weights_dir), weights_dir)
    cepstra = Cepstra(replace(ge2e.card, handle="cepstra", dimension=2 * _CEPSTRA, fitted=None))
    for embedder in (ge2e, Projected(ge2e), cepstra):
        print(embedder.card.model_id)
        for line in learned(hear(embedder, bar(read_corpus().recordings), SileroVad())):
            print(line, flush=True)


def learned(recordings: Sequence[Halves]) -> Iterator[str]:
    """Yield a line for each number of speakers to fit on."""
    parts = folds(np.unique([halves.speaker for halves in recordings]))
    for number in _NUMBERS:
        by_fold = [list(_judged(recordings, parts, i, number)) for i in range(len(parts))]
        found = [rates(*map(np.concatenate, zip(*scores, strict=True))) for scores in zip(*by_fold, strict=True)]
        cost, equal, strict = np.mean(found, axis=0)
        yield f"{number:4} speakers: Cllr {cost:.3f}, EER {100 * equal:.2f} %, at 90 {100 * strict:.2f} % false"


def _judged(recordings: Sequence[Halves], parts: Sequence[np.ndarray], i: int, number: int) -> Iterator[tuple]:
    others = np.concatenate([part for j, part in enumerate(parts) if j != i])
    chosen = set(np.random.default_rng(i).permutation(others)[:number])
    calibration = fit([halves for halves in recordings if halves.speaker in chosen], "")
    return scored([halves for halves in recordings if halves.speaker in parts[i]], calibration, FITTED)


if __name__ == "__main__":
    main()
