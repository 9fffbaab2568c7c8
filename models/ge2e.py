"""GE2E, the bundled embedding network: a three-layer LSTM over 1.6 s of mel frames.

Wan et al., "Generalized end-to-end loss for speaker verification" (ICASSP 2018), with the weights of Resemblyzer 0.1.4.
As in Resemblyzer, an embedding is the mean over partial utterances of 1.6 s, 1.3 of them a second.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.features import FRAME_RATE_HZ, HOP, ge2e_features, unit
from models.runtime import open_session
from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Segment
from shared.domain.models import ModelCard
from shared.networks import Embedder, Frames

#: Frames of a partial utterance: the length the network was trained on.
PARTIAL_FRAMES = 160
_PARTIALS_PER_S = 1.3
#: Least share of sound in the last partial; with less the partial is left out.
_MIN_COVERAGE = 0.75
#: Least loudness; quieter recordings are amplified to it.
_TARGET_DBFS = -30.0
#: Frames after the end of a recording whose analysis windows still contain some of it.
_TAIL_FRAMES = 2
#: Partials per call of the network; 16 take about 20 MB.
_BATCH = 16


class Ge2e(Embedder):
    """The GE2E network in onnxruntime; frames have the shape (num_frames, 40)."""

    def __init__(self, card: ModelCard, path: Path, threads: int = 1, device: str = "cpu") -> None:
        super().__init__(card)
        self._session = open_session(path, threads, device)

    def encode(self, samples: Samples) -> Frames:
        """Return power-mel frames of the recording, amplified to -30 dBFS if it is quieter."""
        if len(samples) < HOP:
            raise ValueError(f"At least {HOP} samples are needed for a frame, not {len(samples)}")
        return ge2e_features(np.pad(raised_to(samples, _TARGET_DBFS), (0, _TAIL_FRAMES * HOP)))

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> NDArray[np.float32]:
        """Return the normalised mean of the partial embeddings of each segment; up to 1.6 s it is one partial.

        Segments that start together share one pass of the network, which costs 4 ms of a core.
        """
        readers: dict[Partial, list[tuple[int, int]]] = defaultdict(list)
        for owner, segment in enumerate(segments):
            for partial, last_frame in _partials(segment):
                readers[partial].append((last_frame, owner))
        sums = np.zeros((len(segments), self.card.dimension), np.float32)
        waiting = list(readers)
        for batch in (waiting[i : i + _BATCH] for i in range(0, len(waiting), _BATCH)):
            ends = [(last_frame, place) for place, partial in enumerate(batch) for last_frame, _ in readers[partial]]
            owners = [owner for partial in batch for _, owner in readers[partial]]
            np.add.at(sums, owners, self._embed(np.stack([partial.of(frames) for partial in batch]), ends))
        return unit(sums)

    def _embed(self, mels: NDArray[np.float32], ends: list[tuple[int, int]]) -> NDArray[np.float32]:
        return self._session.run(None, {"mels": mels, "ends": np.array(ends)})[0]


class Partial(NamedTuple):
    """Input of one pass of the network: `num_frames` frames of sound from `start` on, then silence."""

    start: int
    num_frames: int

    def of(self, frames: Frames) -> Frames:
        """Return the partial's frames, (160, 40)."""
        sound = frames[self.start : self.start + self.num_frames]
        return np.pad(sound, ((0, PARTIAL_FRAMES - len(sound)), (0, 0)))


def raised_to(samples: Samples, target_dbfs: float) -> Samples:
    """Return `samples`, amplified to a root mean square of `target_dbfs` if they are quieter; silence is unchanged."""
    rms = float(np.sqrt(np.mean(np.square(samples))))
    target = 10.0 ** (target_dbfs / 20.0)
    return samples if rms == 0.0 or rms >= target else samples * np.float32(target / rms)


def partial_starts(num_samples: int) -> list[int]:
    """Return the first frame of each partial utterance of a recording, one at least."""
    num_frames = 1 + num_samples // HOP
    step = round(FRAME_RATE_HZ / _PARTIALS_PER_S)
    starts = list(range(0, max(1, num_frames - PARTIAL_FRAMES + step + 1), step))
    coverage = (num_samples / HOP - starts[-1]) / PARTIAL_FRAMES
    return starts[:-1] if coverage < _MIN_COVERAGE and len(starts) > 1 else starts


def _partials(segment: Segment) -> Iterator[tuple[Partial, int]]:
    """Yield each partial of a segment, and the index of its frame at which the embedding is read."""
    first, length = (round(seconds * FRAME_RATE_HZ) for seconds in (segment.start_s, segment.duration_s))
    if length <= PARTIAL_FRAMES:
        # The pass goes on after the segment's end, for longer segments with the same start.
        yield Partial(first, PARTIAL_FRAMES), max(length, 1) - 1
        return
    num_samples = round(segment.duration_s * SAMPLE_RATE_HZ)
    num_frames = 1 + num_samples // HOP + _TAIL_FRAMES
    for start in partial_starts(num_samples):
        yield Partial(first + start, min(PARTIAL_FRAMES, num_frames - start)), PARTIAL_FRAMES - 1
