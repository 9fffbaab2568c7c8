"""TitaNet in onnxruntime: the convolutional encoder runs once per recording, attention pools any segment of it.

Koluguri, Park and Ginsburg, "TitaNet: Neural model for speaker representation with 1D depth-wise separable
convolutions and global context" (ICASSP 2022). `models.export` makes the two ONNX files from a .nemo file.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.features import FRAME_RATE_HZ, nemo_features, unit
from models.runtime import open_session
from shared.domain.audio import Samples, Segment
from shared.domain.models import ModelCard
from shared.networks import Embedder, Frames

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"


class TitaNet(Embedder):
    """A TitaNet of any size; frames have the shape (num_channels + num_attention_channels, num_frames)."""

    def __init__(self, card: ModelCard, folder: Path, threads: int = 1, device: str = "cpu") -> None:
        super().__init__(card)
        self._encoder = open_session(folder / ENCODER_FILE, threads, device)
        self._decoder = open_session(folder / DECODER_FILE, threads, device)

    def encode(self, samples: Samples) -> Frames:
        """Return the encoder's output for the whole recording, which may last ten minutes at most."""
        features = nemo_features(samples)
        return self._encoder.run(["frames"], {"features": features[np.newaxis]})[0][0]

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> NDArray[np.float32]:
        """Return the attentive statistics of each segment as an embedding.

        Segments are pooled one at a time. Batches are not faster (40 windows of 1.5 s: 0.65 s singly, 0.75 s in
        batches of eight). Batches of unequal lengths would need padding, which leaks into the statistics of the shorter
        segments.
        """
        inputs = [{"frames": frames[np.newaxis, :, _columns(segment, frames.shape[1])]} for segment in segments]
        pooled = [self._decoder.run(["embeddings"], each)[0][0] for each in inputs]
        return unit(np.array(pooled, np.float32).reshape(len(segments), self.card.dimension))


def _columns(segment: Segment, num_frames: int) -> slice:
    # The length is rounded on its own, so that windows of one duration always have the same number of frames.
    first = min(round(segment.start_s * FRAME_RATE_HZ), num_frames - 1)
    length = max(1, round(segment.duration_s * FRAME_RATE_HZ))
    return slice(first, min(first + length, num_frames))
