"""The face every speaker-embedding network shows: encode a recording once, then pool any stretches of it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Samples, Segment
from shared.domain.models import ModelCard

#: What `encode` gives and `pool` takes: one column or row every 10 ms, meaning known to its network only.
Frames = NDArray[np.float32]

#: Frames per second of every `Frames`.
FRAME_RATE_HZ = 100


class Embedder(ABC):
    """A network that maps speech to a vector such that one speaker's vectors point the same way."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    @abstractmethod
    def encode(self, samples: Samples) -> Frames:
        """Return the frame features of a recording of shape (num_samples,) at `card.sample_rate_hz`.

        Raises ValueError when the recording is shorter than one frame (10 ms).
        """

    @abstractmethod
    def pool(self, frames: Frames, spans: Sequence[Segment]) -> NDArray[np.float32]:
        """Return one embedding per span, shape (num_spans, dimension), each of L2 norm 1.

        Spans are in seconds on the time axis of the encoded samples; what sticks out of the recording is cut off.
        """

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """Return the embedding of a whole recording, shape (dimension,), L2 norm 1."""
        whole = Segment(0.0, len(samples) / self.card.sample_rate_hz)
        return self.pool(self.encode(samples), [whole])[0]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row of `vectors`, shape (num_vectors, dimension), to L2 norm 1; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)
