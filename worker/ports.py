"""What the work needs of neural networks and of the outside; `worker/bootstrap.py` supplies it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Piece, Samples, Segment, Stream, Waveform
from shared.domain.limits import Limits
from shared.domain.models import ModelCard

#: Frame features of a recording, whatever shape their model gives them; one frame per 10 ms.
Frames = NDArray[np.float32]


class SpeechDetector(Protocol):
    """Voice activity detection."""

    def speech_segments(self, samples: Samples, *, threshold: float = ..., pad_s: float = ...) -> list[Segment]:
        """Return where somebody speaks in 16 kHz samples (num_samples,)."""

    def listen(self) -> "SpeechStream":
        """Begin to listen to a recording that comes in blocks."""


class SpeechStream(Protocol):
    """Voice activity detection in a recording that comes in blocks."""

    def hear(self, samples: Samples) -> list[Piece]:
        """Take the next block (num_samples,) at 16 kHz; returns the pieces that it completes."""

    def end(self) -> Piece:
        """Return the last piece."""


class Embedder(Protocol):
    """A speaker embedding network."""

    @property
    def card(self) -> ModelCard:
        """What the manifest says of it."""

    def encode(self, samples: Samples) -> Frames:
        """Return the frame features of samples (num_samples,) at the card's rate."""

    def pool(self, frames: Frames, spans: Sequence[Segment]) -> NDArray[np.float32]:
        """Return one embedding of L2 norm 1 per span, (num_spans, dimension); spans in seconds of what was encoded."""

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """Return the embedding (dimension,) of all samples: `pool(encode(samples), [whole])[0]`."""


class Fetcher(Protocol):
    """Gets recordings."""

    def fetch(self, client_id: str, url: str, limits: Limits) -> BinaryIO:
        """Return the recording as an open file; raises a JobFailure."""


class Decoder(Protocol):
    """Makes sound of files."""

    def decode(self, file: BinaryIO, max_s: float) -> Waveform:
        """Return mono 16 kHz sound; raises a JobFailure."""

    def stream(self, file: BinaryIO, max_s: float) -> AbstractContextManager[Stream]:
        """Open mono 16 kHz sound, decoded as it is taken; raises a JobFailure, and so do the blocks."""
