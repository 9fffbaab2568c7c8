"""Ports of the neural networks: what workers ask of them, and `models/` answers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Chunk, Samples, Segment
from shared.domain.models import ModelCard, RecogniserCard

#: Frame features of a recording, one column or row every 10 ms; only the network that made them knows their shape.
Frames = NDArray[np.float32]


class SpeechDetector(Protocol):
    """Voice activity detection (VAD)."""

    def speech_segments(self, samples: Samples, *, threshold: float = ..., pad_s: float = ...) -> list[Segment]:
        """Return the segments of speech in 16 kHz samples (num_samples,)."""

    def listen(self) -> "SpeechStream":
        """Begin a recording that comes in blocks."""


class SpeechStream(Protocol):
    """Voice activity detection in a recording that comes in blocks."""

    def hear(self, samples: Samples) -> list[Chunk]:
        """Take the next block (num_samples,) at 16 kHz; returns the chunks that it completes."""

    def end(self) -> Chunk:
        """Return the last chunk."""


class OverlapDetector(Protocol):
    """Overlapped speech detection, by a speaker segmentation network."""

    def overlaps(self, samples: Samples) -> list[Segment]:
        """Return where two people or more speak at once in 16 kHz samples (num_samples,), in order and disjoint."""


class Embedder(ABC):
    """Speaker embedding network: maps speech to a vector such that one speaker's vectors point the same way."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    @abstractmethod
    def encode(self, samples: Samples) -> Frames:
        """Return the frame features of samples (num_samples,) at `card.sample_rate_hz`.

        Raises ValueError when the recording is shorter than one frame (10 ms).
        """

    @abstractmethod
    def pool(self, frames: Frames, segments: Sequence[Segment]) -> NDArray[np.float32]:
        """Return one embedding per segment, shape (num_segments, dimension), each of L2 norm 1.

        Segments are in seconds on the time axis of the encoded samples; what sticks out of the recording is cut off.
        """

    def pool_windows(self, frames: Frames, windows: Sequence[Segment]) -> NDArray[np.float32]:
        """Return one embedding per window of diarization, as `pool` does; many windows overlap.

        A network may share work between neighbours, so its vectors may differ a little from those of `pool`.
        """
        return self.pool(frames, windows)

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """Return the embedding of a whole recording, shape (dimension,), L2 norm 1."""
        whole = Segment(0.0, len(samples) / self.card.sample_rate_hz)
        return self.pool(self.encode(samples), [whole])[0]


class Recogniser(Protocol):
    """Speech recogniser (ASR) of one language."""

    card: RecogniserCard

    def transcribe(self, samples: Samples) -> str:
        """Return the words of speech (num_samples,) at `card.sample_rate_hz`, as text; empty where there are none."""


class Recognisers(Protocol):
    """Speech recognisers that are installed; each is loaded when it is first asked for."""

    def find(self, language: str | None) -> Recogniser:
        """Return the recogniser of a BCP 47 tag such as `en-US`, or the first one; raises LanguageNotInstalled."""
