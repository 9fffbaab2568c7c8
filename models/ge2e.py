"""GE2E, the network that comes with the service: a three-layer LSTM over 1.6 s of mel frames.

Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), with the weights of Resemblyzer 0.1.4
and its way of averaging: partial utterances of 1.6 s, 1.3 of them a second, each embedded and normalised.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.embedder import FRAME_RATE_HZ, Embedder, Frames, unit
from models.features import HOP, SAMPLE_RATE_HZ, ge2e_features
from models.runtime import open_session
from shared.domain.audio import Samples, Segment
from shared.domain.models import ModelCard

#: Frames of a partial utterance: the length the network was trained on.
PARTIAL_FRAMES = 160
_PARTIALS_PER_S = 1.3
#: A last partial that is covered by less than this share of sound is left out.
_MIN_COVERAGE = 0.75
#: Recordings quieter than this are raised to it; louder ones stay.
_TARGET_DBFS = -30.0
#: The windows of this many frames after the last one of a recording still reach back into it.
_TAIL_FRAMES = 2
#: Partials that go through the network at a time; 32 take about 40 MB.
_BATCH = 32


class Ge2e(Embedder):
    """The GE2E network in onnxruntime; frames have the shape (num_frames, 40)."""

    def __init__(self, card: ModelCard, path: Path, threads: int = 1, device: str = "cpu") -> None:
        super().__init__(card)
        self._session = open_session(path, threads, device)

    def encode(self, samples: Samples) -> Frames:
        """Return power-mel frames of the recording, raised to -30 dBFS if it is quieter."""
        if len(samples) < HOP:
            raise ValueError(f"At least {HOP} samples are needed for a frame, not {len(samples)}")
        return ge2e_features(np.pad(raised_to(samples, _TARGET_DBFS), (0, _TAIL_FRAMES * HOP)))

    def pool(self, frames: Frames, spans: Sequence[Segment]) -> NDArray[np.float32]:
        """Return the normalised mean of the partial embeddings of each span; short spans are filled up with silence."""
        partials = [list(_partials(frames, span)) for span in spans]
        owners = np.repeat(np.arange(len(spans)), [len(of_span) for of_span in partials])
        embeddings = self._embed_partials([partial for of_span in partials for partial in of_span])
        sums = np.zeros((len(spans), self.card.dimension), np.float32)
        np.add.at(sums, owners, embeddings)
        return unit(sums)

    def _embed_partials(self, partials: list[Frames]) -> NDArray[np.float32]:
        batches = [np.stack(partials[i : i + _BATCH]) for i in range(0, len(partials), _BATCH)]
        embedded = [self._session.run(None, {"mels": batch})[0] for batch in batches]
        return np.concatenate([np.empty((0, self.card.dimension), np.float32), *embedded])


def raised_to(samples: Samples, target_dbfs: float) -> Samples:
    """Return `samples`, amplified to a root mean square of `target_dbfs` if they are quieter; silence stays silent."""
    rms = float(np.sqrt(np.mean(np.square(samples))))
    target = 10.0 ** (target_dbfs / 20.0)
    return samples if rms == 0.0 or rms >= target else samples * np.float32(target / rms)


def partial_starts(num_samples: int) -> list[int]:
    """Return the first frame of each partial utterance of a recording; there is always one."""
    num_frames = 1 + num_samples // HOP
    step = round(FRAME_RATE_HZ / _PARTIALS_PER_S)
    starts = list(range(0, max(1, num_frames - PARTIAL_FRAMES + step + 1), step))
    coverage = (num_samples / HOP - starts[-1]) / PARTIAL_FRAMES
    return starts[:-1] if coverage < _MIN_COVERAGE and len(starts) > 1 else starts


def _partials(frames: Frames, span: Segment) -> Iterator[Frames]:
    first = round(span.start_s * FRAME_RATE_HZ)
    num_samples = round(span.duration_s * SAMPLE_RATE_HZ)
    speech = frames[first : first + 1 + num_samples // HOP + _TAIL_FRAMES]
    for start in partial_starts(num_samples):
        partial = speech[start : start + PARTIAL_FRAMES]
        yield np.pad(partial, ((0, PARTIAL_FRAMES - len(partial)), (0, 0)))
