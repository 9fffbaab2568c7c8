"""Speaker networks in ONNX that others exported: features once per recording, the network once per segment.

WeSpeaker, 3D-Speaker (CAM++, ERes2Net) and ReDimNet export whole networks, from features or samples to the embedding.
So nothing is shared between windows that overlap, as it is with TitaNet.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.fbank import WINDOW, kaldi_fbank
from models.features import FRAME_RATE_HZ, HOP, NemoMel, nemo_log_mel, standardised, unit
from models.runtime import open_session
from shared.domain.audio import Samples, Segment
from shared.domain.models import ModelCard
from shared.networks import Embedder, Frames

NETWORK_FILE = "network.onnx"
#: Kinds of features.
WAVEFORM = "waveform"
FBANK = "fbank"
NEMO_MEL = "nemo_mel"
#: Orders of the axes behind the batch.
TIME_MELS = "time,mels"
MELS_TIME = "mels,time"
#: Windows of one call; more would take memory, and no less time.
_BATCH = 8
#: Longest part that the network hears at once, one minute: each of a ResNet34's first maps takes 1 MB a second.
_MOST_FRAMES = 60 * FRAME_RATE_HZ
#: Least that it hears, half a second; `models.installation.sanity` tries it. Shorter segments are repeated: in some
#: networks the deviation over a few frames is no number.
LEAST_FRAMES = FRAME_RATE_HZ // 2
#: Frames that a window of fbank reaches beyond its own: 400 samples are two and a half hops.
_FBANK_OVERHANG = (WINDOW - 1) // HOP


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Facts about a network file that its wrapper needs, as they are in the model's record."""

    features: str
    layout: str
    mels: int
    window: str | None
    scale: float
    mean: str
    input: str
    length: str | None
    output: str
    #: Axes of the input: 2 or 3.
    rank: int
    #: Whether several windows may go in one call.
    batched: bool


class OnnxEmbedder(Embedder):
    """Speaker network in one ONNX file; frames have the shape (num_frames, 160) of samples, or (num_frames, mels)."""

    def __init__(self, card: ModelCard, path: Path, wiring: Wiring, threads: int = 1, device: str = "cpu") -> None:
        super().__init__(card)
        self._session = open_session(path, threads, device)
        self._wiring = wiring

    def encode(self, samples: Samples) -> Frames:
        """Return the recording's features before anything that depends on a segment, or its samples by 10 ms."""
        if len(samples) < HOP:
            raise ValueError(f"At least {HOP} samples are needed for a frame, not {len(samples)}")
        scaled = samples * np.float32(self._wiring.scale)
        if self._wiring.features == WAVEFORM:
            return scaled[: len(samples) // HOP * HOP].reshape(-1, HOP)
        if self._wiring.features == NEMO_MEL:
            return nemo_log_mel(scaled, NemoMel(num_mels=self._wiring.mels)).T
        short = max(0, WINDOW - len(scaled))
        return kaldi_fbank(np.pad(scaled, (0, short)), self._wiring.mels, self._wiring.window or "povey")

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> NDArray[np.float32]:
        """Return the network's embedding of each segment, as if it were cut out of the recording.

        Segments of one length go through the network together. One beyond a minute is heard in equal parts, and its
        embedding is the mean of theirs.
        """
        by_length: dict[int, list[tuple[int, slice]]] = defaultdict(list)
        for owner, segment in enumerate(segments):
            for part in self._parts(segment, len(frames)):
                by_length[part.stop - part.start].append((owner, part))
        sums = np.zeros((len(segments), self.card.dimension), np.float32)
        most = _BATCH if self._wiring.batched else 1
        for parts in by_length.values():
            for batch in (parts[i : i + most] for i in range(0, len(parts), most)):
                embeddings = self.embed_batch(np.stack([_long_enough(frames[part]) for _, part in batch]))
                np.add.at(sums, [owner for owner, _ in batch], unit(embeddings))
        return unit(sums)

    def embed_batch(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's own embeddings (batch, dimension) of frames (batch, num_frames, width)."""
        prepared = np.stack([self._prepared(frames) for frames in batch])
        inputs: dict[str, Any] = {self._wiring.input: prepared}
        if self._wiring.length:
            steps = prepared.shape[-1 if self._wiring.layout == MELS_TIME else 1]
            inputs[self._wiring.length] = np.full(len(batch), steps, np.int64)
        return self._session.run([self._wiring.output], inputs)[0].reshape(len(batch), -1)

    def _prepared(self, frames: Frames) -> NDArray[np.float32]:
        if self._wiring.features == WAVEFORM:
            return frames.reshape(-1) if self._wiring.rank == 2 else frames.reshape(1, -1)
        if self._wiring.mean == "time":
            # NeMo divides by the deviation, too.
            nemo = self._wiring.features == NEMO_MEL
            frames = standardised(frames.T).T if nemo else frames - frames.mean(axis=0, keepdims=True)
        return np.ascontiguousarray(frames.T if self._wiring.layout == MELS_TIME else frames)

    def _parts(self, segment: Segment, num_frames: int) -> Iterator[slice]:
        """Yield the frames of a segment, in parts of a minute at most whose lengths differ by a frame."""
        first = min(round(segment.start_s * FRAME_RATE_HZ), num_frames - 1)
        length = round(segment.duration_s * FRAME_RATE_HZ)
        # A segment that is cut out of the recording has no windows that reach beyond its end.
        length -= _FBANK_OVERHANG if self._wiring.features == FBANK else 0
        end = min(first + max(1, length), num_frames)
        count = -((first - end) // _MOST_FRAMES)
        edges = [first + (end - first) * i // count for i in range(count + 1)]
        yield from (slice(*edge) for edge in pairwise(edges))


def _long_enough(frames: Frames) -> Frames:
    return frames if len(frames) >= LEAST_FRAMES else np.resize(frames, (LEAST_FRAMES, frames.shape[1]))
