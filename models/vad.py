"""Voice activity detection with Silero's network (MIT licence), in onnxruntime and numpy.

The `sequence` file takes many frames of a recording at once, so 30 s need one call.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.runtime import open_session
from shared.domain.audio import SAMPLE_RATE_HZ, SPEECH_FRAME_S, Chunk, Samples, Segment, Waveform

#: Samples per probability: 32 ms.
FRAME = 512
FRAME_S = SPEECH_FRAME_S
#: Samples of the previous frame that the network needs in front of each frame.
_CONTEXT = 64
_STATE_SHAPE = (1, 1, 128)

# Silero's own defaults: speech ends at a probability 0.15 below that at which it starts, lasts 250 ms or more, and
# includes pauses shorter than 100 ms.
_HYSTERESIS = 0.15
_MIN_SPEECH_S = 0.25
_MIN_SILENCE_S = 0.1

#: Lengths of a chunk of a long recording, in frames: 60 to 120 s. A chunk ends in the longest pause between the two.
_SHORTEST_CHUNK = 1875
_LONGEST_CHUNK = 3750
#: Shortest pause at which a chunk ends, in frames: a quarter of a second. Without one it ends after `_LONGEST_CHUNK`.
_PAUSE = 8

BUNDLED = Path(__file__).parent / "bundled" / "silero_vad_16k_sequence.onnx"


class SileroVad:
    """Silero's voice activity detection: finds the segments of a recording with speech."""

    def __init__(self, path: Path = BUNDLED, threads: int = 1) -> None:
        self._session = open_session(path, threads)

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """Return the probability of speech in each 32 ms of `samples` (16 kHz), shape (ceil(num_samples / 512),)."""
        detector = _FrameDetector(self._session)
        return np.concatenate([detector.probabilities(samples), detector.end()])

    def speech_segments(self, samples: Samples, *, threshold: float = 0.35, pad_s: float = 0.1) -> list[Segment]:
        """Return the speech in `samples` (16 kHz), in order and disjoint, widened by `pad_s` on each side."""
        runs = hysteresis(self.probabilities(samples), threshold, threshold - _HYSTERESIS)
        return _speech(runs, pad_s, Segment(0.0, len(samples) / SAMPLE_RATE_HZ))

    def listen(self, *, threshold: float = 0.35, pad_s: float = 0.1) -> "SileroStream":
        """Start a recording that is given in blocks."""
        return SileroStream(_FrameDetector(self._session), threshold, pad_s)


class SileroStream:
    """Voice activity detection for a recording in blocks, which it cuts into chunks with their segments of speech.

    The result does not depend on the lengths of the blocks. The speech is that of one pass over the whole recording.
    """

    def __init__(self, detector: "_FrameDetector", threshold: float, pad_s: float) -> None:
        self._detector = detector
        self._pad_s = pad_s
        self._runs = _Runs(threshold, threshold - _HYSTERESIS)
        self._samples = np.empty(0, np.float32)
        self._probabilities = np.empty(0, np.float32)
        #: First frame that is in no chunk yet.
        self._begin = 0

    def hear(self, samples: Samples) -> list[Chunk]:
        """Take the next block (num_samples,) at 16 kHz; returns the chunks that it completes."""
        self._samples = np.concatenate([self._samples, samples])
        self._add(self._detector.probabilities(samples))
        chunks = []
        while len(self._probabilities) >= _LONGEST_CHUNK:
            chunks.append(self._chunk(self._cut()))
        return chunks

    def end(self) -> Chunk:
        """Return the last chunk."""
        self._add(self._detector.end())
        return self._chunk(self._begin + len(self._probabilities), last=True)

    def _add(self, probabilities: NDArray[np.float32]) -> None:
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        self._runs.add(probabilities)

    def _cut(self) -> int:
        latest = self._begin + _LONGEST_CHUNK
        start, end = max(self._runs.pauses(self._begin + _SHORTEST_CHUNK, latest), key=lambda p: p[1] - p[0])
        return (start + end) // 2 if end - start >= _PAUSE else latest

    def _chunk(self, end: int, last: bool = False) -> Chunk:
        count = end - self._begin
        segment = Segment(
            self._begin * FRAME_S, self._begin * FRAME_S + min(count * FRAME, len(self._samples)) / SAMPLE_RATE_HZ
        )
        chunk = Chunk(
            start_s=segment.start_s,
            waveform=Waveform(self._samples[: count * FRAME], SAMPLE_RATE_HZ),
            speech=_speech(self._runs.take(end), self._pad_s, segment),
            probabilities=self._probabilities[:count],
            is_whole=last and self._begin == 0,
        )
        self._samples = self._samples[count * FRAME :]
        self._probabilities = self._probabilities[count:]
        self._begin = end
        return chunk


class _FrameDetector:
    """Silero's network, whose state is kept from block to block."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._h = self._c = np.zeros(_STATE_SHAPE, np.float32)
        #: Context of the next frame, and the samples that do not fill a frame yet.
        self._rest = np.zeros(_CONTEXT, np.float32)

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """Return the probability of speech in each frame that `samples` complete."""
        waiting = np.concatenate([self._rest, samples])
        num_frames = (len(waiting) - _CONTEXT) // FRAME
        self._rest = waiting[num_frames * FRAME :]
        if num_frames == 0:
            return np.empty(0, np.float32)
        # shape: (num_frames, 576): the last 64 samples of the previous frame, then the frame.
        frames = np.lib.stride_tricks.sliding_window_view(waiting, _CONTEXT + FRAME)[::FRAME]
        inputs = {"input": np.ascontiguousarray(frames, np.float32), "h": self._h, "c": self._c}
        probabilities, self._h, self._c = self._session.run(["speech_probs", "hn", "cn"], inputs)
        return probabilities

    def end(self) -> NDArray[np.float32]:
        """Return the probability of speech in the last frame, padded with zeros; empty if no samples are left."""
        left = (len(self._rest) - _CONTEXT) % FRAME
        return self.probabilities(np.zeros(FRAME - left if left else 0, np.float32))


class _Runs:
    """Runs of frames with speech, each from a probability of at least `on` until one below `off`."""

    def __init__(self, on: float, off: float) -> None:
        self._on = on
        self._off = off
        self._ended: list[tuple[int, int]] = []
        self._start: int | None = None
        self._count = 0

    def add(self, probabilities: NDArray[np.float32]) -> None:
        """Continue with the next probabilities, (num_frames,)."""
        for i, probability in enumerate(probabilities.tolist(), self._count):
            if self._start is None and probability >= self._on:
                self._start = i
            elif self._start is not None and probability < self._off:
                self._ended.append((self._start, i))
                self._start = None
        self._count += len(probabilities)

    def pauses(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the pauses between the runs from frame `begin` to `end`: one at least, empty ones too."""
        edges = [begin, *chain.from_iterable(self._until(end)), end]
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            yield max(begin, start), max(begin, stop)

    def take(self, end: int) -> list[Segment]:
        """Remove and return the runs before frame `end`; one that crosses it is cut in two."""
        taken = self._until(end)
        self._ended = [(max(start, end), stop) for start, stop in self._ended if stop > end]
        self._start = None if self._start is None else max(self._start, end)
        return [Segment(start * FRAME_S, stop * FRAME_S) for start, stop in taken]

    def _until(self, end: int) -> list[tuple[int, int]]:
        runs = [*self._ended, *([] if self._start is None else [(self._start, self._count)])]
        return [(start, min(stop, end)) for start, stop in runs if start < end]


def hysteresis(probabilities: NDArray[np.float32], on: float, off: float) -> list[Segment]:
    """Return the runs that start at a probability of at least `on` and last until one is below `off`."""
    runs = _Runs(on, off)
    runs.add(probabilities)
    return runs.take(len(probabilities))


def _speech(runs: Iterable[Segment], pad_s: float, within: Segment) -> list[Segment]:
    speech = [s for s in close_gaps(runs, _MIN_SILENCE_S) if s.duration_s >= _MIN_SPEECH_S]
    return close_gaps(widen(speech, pad_s, within), 0.0)


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


def widen(segments: Iterable[Segment], pad_s: float, within: Segment) -> list[Segment]:
    """Move both ends of each segment outwards by `pad_s`, not beyond `within`."""
    return [Segment(max(within.start_s, s.start_s - pad_s), min(within.end_s, s.end_s + pad_s)) for s in segments]
