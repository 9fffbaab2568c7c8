"""GE2E: its file against the weights it was made from, its embeddings against Resemblyzer's way of computing them."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.ge2e import PARTIAL_FRAMES, partial_starts
from models.runtime import open_session
from shared.domain.audio import Samples, Segment
from shared.networks import Embedder
from tests.support.speech import Clip

BUNDLED = Path(__file__).parents[2] / "models" / "bundled" / "ge2e.onnx"


class Reference:
    """Resemblyzer 0.1.4 from its own weights, torch's LSTM and librosa's spectrogram."""

    def __init__(self) -> None:
        import torch

        from models.installation.convert_ge2e import wheel_weights

        state = torch.load(wheel_weights(), map_location="cpu", weights_only=True)["model_state"]
        self.lstm = torch.nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = torch.nn.Linear(256, 256)
        self.lstm.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("lstm.")})
        self.linear.load_state_dict({k[7:]: v for k, v in state.items() if k.startswith("linear.")})

    def embed_partials(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the embeddings of partial utterances of shape (num_partials, num_frames, 40)."""
        import torch

        with torch.inference_mode():
            _, (hidden, _) = self.lstm(torch.from_numpy(mels))
            return torch.nn.functional.normalize(torch.relu(self.linear(hidden[-1]))).numpy()

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """Return the embedding of a recording: volume raised, padded to whole partials, mean of the partials."""
        import librosa

        rms_dbfs = 10 * np.log10(np.mean(np.square(samples)))
        samples = samples * 10 ** (max(0.0, -30 - rms_dbfs) / 20)
        starts = partial_starts(len(samples))
        padded = np.pad(samples, (0, max(0, (starts[-1] + PARTIAL_FRAMES) * 160 - len(samples))))
        mel = librosa.feature.melspectrogram(y=padded, sr=16_000, n_fft=400, hop_length=160, n_mels=40).T
        partials = np.stack([mel[start : start + PARTIAL_FRAMES] for start in starts]).astype(np.float32)
        mean = self.embed_partials(partials).mean(axis=0)
        return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.mark.nemo
def test_the_bundled_file_can_be_made_again_from_the_wheel_byte_for_byte(tmp_path: Path) -> None:
    out = tmp_path / "ge2e.onnx"
    subprocess.run([sys.executable, "-m", "models.installation.convert_ge2e", out], check=True)
    assert out.read_bytes() == BUNDLED.read_bytes()


@pytest.mark.nemo
@pytest.mark.parametrize(("batch", "num_frames"), [(1, 160), (5, 160), (2, 33)])
def test_the_graph_computes_what_torch_does(reference: Reference, batch: int, num_frames: int) -> None:
    mels = np.random.default_rng(3).gamma(0.5, 1.0, (batch, num_frames, 40)).astype(np.float32)
    ends = [(last, place) for place in range(batch) for last in (num_frames - 1, 20)]
    ours = open_session(BUNDLED).run(None, {"mels": mels, "ends": np.array(ends)})[0]
    np.testing.assert_allclose(ours[::2], reference.embed_partials(mels), atol=1e-5)
    np.testing.assert_allclose(ours[1::2], reference.embed_partials(mels[:, :21]), atol=1e-5)


@pytest.mark.parametrize(
    ("num_samples", "starts"),
    # Resemblyzer's compute_partial_slices, worked out by hand: a step of 77 frames, a last one covered by 120 or more.
    [
        (300, [0]),
        (25_600, [0]),
        (77 * 160 + 19_199, [0]),
        (77 * 160 + 19_200, [0, 77]),
        (77 * 160 + 25_600, [0, 77]),
        (160_000, [0, 77, 154, 231, 308, 385, 462, 539, 616, 693, 770, 847]),
    ],
)
def test_partials_lie_as_resemblyzer_lays_them(num_samples: int, starts: list[int]) -> None:
    assert partial_starts(num_samples) == starts


@pytest.mark.nemo
@pytest.mark.parametrize("num_samples", [25_600, 25_601, 44_444, 64_640])
@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_an_embedding_is_the_one_resemblyzer_gives(
    ge2e: Embedder, reference: Reference, clips: list[Clip], num_samples: int, gain: float
) -> None:
    samples = clips[0].samples[:num_samples] * np.float32(gain)
    np.testing.assert_allclose(ge2e.embed(samples), reference.embed(samples), atol=1e-5)


@pytest.mark.nemo
def test_a_span_shorter_than_a_partial_is_heard_to_its_end_only(
    ge2e: Embedder, reference: Reference, clips: list[Clip]
) -> None:
    frames = ge2e.encode(clips[0].samples)
    pooled = ge2e.pool(frames, [Segment(1.0, 1.0 + length_s) for length_s in (0.8, 1.2, 1.6)])
    for embedding, num_frames in zip(pooled, (80, 120, 160), strict=True):
        alone = reference.embed_partials(frames[np.newaxis, 100 : 100 + num_frames])[0]
        np.testing.assert_allclose(embedding, alone, atol=1e-5)


def test_volume_does_not_matter_below_30_dbfs(ge2e: Embedder, clips: list[Clip]) -> None:
    quiet = clips[0].samples * np.float32(0.01)
    np.testing.assert_allclose(ge2e.embed(quiet), ge2e.embed(quiet * np.float32(0.1)), atol=1e-5)


def test_pooling_many_spans_is_pooling_each(ge2e: Embedder, clips: list[Clip]) -> None:
    frames = ge2e.encode(clips[0].samples)
    spans = [Segment(0.4 * i, 0.4 * i + length_s) for i in range(7) for length_s in (0.3, 1.6, 4.0)]
    together = ge2e.pool(frames, spans)
    assert together.shape == (len(spans), 256)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    for span, embedding in zip(spans, together, strict=True):
        np.testing.assert_allclose(ge2e.pool(frames, [span])[0], embedding, atol=1e-5)


def test_a_span_sounds_like_the_same_stretch_by_itself(ge2e: Embedder, clips: list[Clip]) -> None:
    samples = clips[0].samples
    pooled = ge2e.pool(ge2e.encode(samples), [Segment(1.0, 3.5)])[0]
    assert float(pooled @ ge2e.embed(samples[16_000:56_000])) > 0.99


def test_no_spans_give_no_embeddings(ge2e: Embedder, clips: list[Clip]) -> None:
    assert ge2e.pool(ge2e.encode(clips[0].samples), []).shape == (0, 256)


def test_silence_gives_finite_numbers(ge2e: Embedder) -> None:
    assert np.isfinite(ge2e.embed(np.zeros(16_000, np.float32))).all()


def test_less_than_one_frame_is_refused(ge2e: Embedder) -> None:
    with pytest.raises(ValueError, match="160 samples"):
        ge2e.encode(np.zeros(159, np.float32))


def test_each_speaker_is_closer_to_himself_than_to_anyone_else(ge2e: Embedder, clips: list[Clip]) -> None:
    embedded = [(clip.speaker, ge2e.embed(clip.samples)) for clip in clips]
    scores = [(one == other, float(a @ b)) for (one, a), (other, b) in combinations(embedded, 2)]
    same = [score for target, score in scores if target]
    different = [score for target, score in scores if not target]
    assert min(same) > 0.7 > max(different)
