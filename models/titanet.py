"""TitaNet in onnxruntime: the convolutional encoder runs once per recording, attention pools any segment of it.

NeMo's other speaker networks (ECAPA-TDNN, SpeakerNet) have the same two parts, with other pooling.

Koluguri, Park and Ginsburg, "TitaNet: Neural model for speaker representation with 1D depth-wise separable
convolutions and global context" (ICASSP 2022). `models.installation.export` makes the two ONNX files from a .nemo file.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from models.features import FRAME_RATE_HZ, TITANET_MEL, NemoMel, nemo_features, unit
from models.runtime import open_session
from shared.domain.audio import Samples, Segment
from shared.domain.models import ModelCard
from shared.networks import Embedder, Frames

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"

#: Windows of diarization that start in one such stretch share the context of attention.
_STRETCH_S = 2.0


class TitaNet(Embedder):
    """A TitaNet of any size; frames have the shape (num_channels + num_attention_channels, num_frames)."""

    def __init__(
        self,
        card: ModelCard,
        folder: Path,
        threads: int = 1,
        device: str = "cpu",
        mel: NemoMel = TITANET_MEL,
    ) -> None:
        super().__init__(card)
        self._mel = mel
        self._encoder = open_session(folder / ENCODER_FILE, threads, device)
        self._decoder = open_session(folder / DECODER_FILE, threads, device)
        #: Channels of frames above the keys; None for decoders without attention, and for those of Timbre 0.1.
        self._channels = _channels(self._decoder)

    def encode(self, samples: Samples) -> Frames:
        """Return the encoder's output for the whole recording, which may last ten minutes at most."""
        return self.encode_features(nemo_features(samples, self._mel))

    def encode_features(self, features: NDArray[np.float32]) -> Frames:
        """Return the encoder's output for mel frames (num_mels, num_frames)."""
        outputs = self._encoder.get_outputs()
        rows = [output.shape[1] for output in outputs]
        frames = np.empty((sum(rows), features.shape[1]), np.float32)
        # The network writes both of its outputs into one array, so that 30 MB need not be copied.
        binding = self._encoder.io_binding()
        inputs = np.ascontiguousarray(features[np.newaxis], np.float32)
        binding.bind_cpu_input("features", inputs)
        for output, part in zip(outputs, np.split(frames, np.cumsum(rows)[:-1]), strict=True):
            binding.bind_output(output.name, "cpu", 0, np.float32, (1, *part.shape), part.ctypes.data)
        self._encoder.run_with_iobinding(binding)
        return frames

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> NDArray[np.float32]:
        """Return the attentive statistics of each segment as an embedding."""
        pooled = [self._embed(frames[:, _columns(segment, frames.shape[1])]) for segment in segments]
        return unit(np.array(pooled, np.float32).reshape(len(segments), self.card.dimension))

    def pool_windows(self, frames: Frames, windows: Sequence[Segment]) -> NDArray[np.float32]:
        """Return the attentive statistics of windows, scoring each frame once for all windows that overlap there.

        Attention scores a frame in the context of the sound round it: its mean and its deviation. In `pool` that is the
        window itself. Here it is all windows that start in the same stretch, which takes less than a third of the time.
        """
        if self._channels is None:
            return self.pool(frames, windows)
        columns = [_columns(window, frames.shape[1]) for window in windows]
        pooled = np.empty((len(windows), self.card.dimension), np.float32)
        for places in _stretches(windows):
            pooled[places] = self._decode(frames, [columns[place] for place in places])
        return unit(pooled)

    def _embed(self, frames: Frames) -> NDArray[np.float32]:
        if self._channels is None:
            return self._decoder.run(["embeddings"], {"frames": frames[np.newaxis]})[0][0]
        return self._decode(frames, [slice(0, frames.shape[1])])[0]

    def _decode(self, frames: Frames, windows: Sequence[slice]) -> NDArray[np.float32]:
        first = min(window.start for window in windows)
        heard = frames[:, first : max(window.stop for window in windows)]
        inside = np.zeros((heard.shape[1], len(windows)), np.float32)
        for i, window in enumerate(windows):
            inside[window.start - first : window.stop - first, i] = 1.0
        inputs = {"frames": heard[: self._channels], "keys": heard[self._channels :], "windows": inside}
        return self._decoder.run(["embeddings"], inputs)[0]


def _channels(decoder: InferenceSession) -> int | None:
    inputs = {each.name: each.shape for each in decoder.get_inputs()}
    return inputs["frames"][0] if "windows" in inputs else None


def _stretches(windows: Sequence[Segment]) -> Iterable[list[int]]:
    """Return the places of the windows that start in each stretch of `_STRETCH_S`."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, window in enumerate(windows):
        places[int(window.start_s / _STRETCH_S)].append(place)
    return places.values()


def _columns(segment: Segment, num_frames: int) -> slice:
    # The length is rounded on its own, so that windows of one duration always have the same number of frames.
    first = min(round(segment.start_s * FRAME_RATE_HZ), num_frames - 1)
    length = max(1, round(segment.duration_s * FRAME_RATE_HZ))
    return slice(first, min(first + length, num_frames))
