"""Voice activity detection with Silero's network (MIT licence), in onnxruntime and numpy.

The `sequence` file takes all chunks of a recording at once, so 30 s cost one call.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.runtime import open_session
from shared.domain.audio import Samples, Segment

SAMPLE_RATE_HZ = 16_000
#: Samples per probability: 32 ms.
CHUNK = 512
CHUNK_S = CHUNK / SAMPLE_RATE_HZ
#: Samples of the chunk before that the network wants in front of each chunk.
_CONTEXT = 64
_STATE_SHAPE = (1, 1, 128)

# Silero's own defaults: speech ends 0.15 below where it starts, lasts 250 ms or more, and pauses shorter than 100 ms
# belong to it.
_HYSTERESIS = 0.15
_MIN_SPEECH_S = 0.25
_MIN_SILENCE_S = 0.1

BUNDLED = Path(__file__).parent / "bundled" / "silero_vad_16k_sequence.onnx"


class SileroVad:
    """Finds the stretches of a recording in which somebody speaks."""

    def __init__(self, path: Path = BUNDLED, threads: int = 1) -> None:
        self._session = open_session(path, threads)

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """Return the probability of speech in each 32 ms of `samples` (16 kHz), shape (ceil(num_samples / 512),)."""
        if len(samples) == 0:
            return np.empty(0, np.float32)
        state = np.zeros(_STATE_SHAPE, np.float32)
        return self._session.run(["speech_probs"], {"input": _chunks(samples), "h": state, "c": state})[0]

    def speech_segments(self, samples: Samples, *, threshold: float = 0.35, pad_s: float = 0.1) -> list[Segment]:
        """Return the speech in `samples` (16 kHz), in order and disjoint, widened by `pad_s` on each side."""
        runs = hysteresis(self.probabilities(samples), threshold, threshold - _HYSTERESIS)
        speech = [s for s in close_gaps(runs, _MIN_SILENCE_S) if s.duration_s >= _MIN_SPEECH_S]
        return close_gaps(widen(speech, pad_s, len(samples) / SAMPLE_RATE_HZ), 0.0)


def hysteresis(probabilities: NDArray[np.float32], on: float, off: float) -> list[Segment]:
    """Return the runs that start at a probability of at least `on` and last until one is below `off`."""
    runs: list[Segment] = []
    start: int | None = None
    for i, probability in enumerate([*probabilities.tolist(), -1.0]):
        if start is None and probability >= on:
            start = i
        elif start is not None and probability < off:
            runs.append(Segment(start * CHUNK_S, i * CHUNK_S))
            start = None
    return runs


def close_gaps(segments: Iterable[Segment], min_gap_s: float) -> list[Segment]:
    """Join neighbours of ordered `segments` that overlap, touch, or are less than `min_gap_s` apart."""
    joined: list[Segment] = []
    for segment in segments:
        gap_s = segment.start_s - joined[-1].end_s if joined else np.inf
        if gap_s <= 0.0 or gap_s < min_gap_s:
            joined[-1] = Segment(joined[-1].start_s, segment.end_s)
        else:
            joined.append(segment)
    return joined


def widen(segments: Iterable[Segment], pad_s: float, duration_s: float) -> list[Segment]:
    """Move both ends of each segment outwards by `pad_s`, within [0, duration_s)."""
    return [Segment(max(0.0, s.start_s - pad_s), min(duration_s, s.end_s + pad_s)) for s in segments]


def _chunks(samples: Samples) -> NDArray[np.float32]:
    # shape: (num_chunks, 576): the last 64 samples of the chunk before, then the chunk, the last filled up with zeros.
    num_chunks = -(-len(samples) // CHUNK)
    padded = np.pad(samples, (_CONTEXT, num_chunks * CHUNK - len(samples)))
    return np.lib.stride_tricks.sliding_window_view(padded, _CONTEXT + CHUNK)[::CHUNK].astype(np.float32)
