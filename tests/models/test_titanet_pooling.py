"""Pooling of many windows at once: it tells what pooling one by one tells, with decoders of earlier releases too."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.titanet import DECODER_FILE, TitaNet
from models.vad import SileroVad
from shared.domain.audio import Segment, Waveform, total_s
from shared.networks import Frames
from tests.support.conversations import at, conversation
from tests.support.speech import Clip
from worker.voices.clustering import diarize_speech, windows

pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]


class OneByOne(TitaNet):
    """A TitaNet whose windows of diarization are embeddings of their own."""

    pool_windows = TitaNet.pool


@pytest.fixture(scope="module")
def titanet(weights_dir: Path) -> TitaNet:
    return TitaNet(registry.installed_card("titanet_large", weights_dir), weights_dir / "titanet_large")


@pytest.fixture(scope="module")
def speech(clips: list[Clip]) -> np.ndarray:
    return np.concatenate([clip.samples for clip in clips])[:320_000]


@pytest.fixture(scope="module")
def frames(titanet: TitaNet, speech: np.ndarray) -> Frames:
    return titanet.encode(speech)


@pytest.fixture(scope="module")
def older(nemo_file: Path, weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> TitaNet:
    """The network as Timbre 0.1 exported it: its decoder takes the frames of one window, and no windows."""
    import torch

    from models.installation import export
    from models.installation import nemo_file as files

    class Older(torch.nn.Module):
        def __init__(self, decoder: torch.nn.Module, channels: int) -> None:
            super().__init__()
            self.decoder = export._AttentiveDecoder(decoder)
            self.channels = channels

        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            one = frames[0]
            return self.decoder(one[: self.channels], one[self.channels :], torch.ones_like(one[:1]).T)

    card = registry.installed_card("titanet_large", weights_dir)
    folder = tmp_path_factory.mktemp("older") / card.handle
    shutil.copytree(weights_dir / card.handle, folder)
    model = export.restore(nemo_file, card)
    channels = model.cfg.decoder.feat_in
    rows = channels + model.decoder._pooling.attention_layer[0].conv_layer.out_channels
    decoder = Older(model.decoder, channels)
    files.trace(decoder, rows, folder / DECODER_FILE, "frames", {"embeddings": {0: "batch"}})
    return TitaNet(card, folder)


def test_a_window_that_is_alone_is_pooled_as_a_segment(titanet: TitaNet, frames: Frames) -> None:
    alone = [Segment(0.0, 1.5), Segment(5.003, 6.503), Segment(9.99, 10.99), Segment(18.7, 99.0), Segment(99.0, 100.0)]
    np.testing.assert_allclose(titanet.pool_windows(frames, alone), titanet.pool(frames, alone), atol=1e-5)
    assert titanet.pool_windows(frames, []).shape == (0, 192)


def test_a_window_hears_nothing_of_other_stretches(titanet: TitaNet, frames: Frames) -> None:
    near = windows(3.9, 1.5, 0.5)
    together = titanet.pool_windows(frames, [*near, Segment(14.0, 15.5), *windows(3.9, 1.0, 0.5)])
    assert together.shape == (len(near) * 2 + 1, 192)
    np.testing.assert_allclose(together[len(near)], titanet.pool(frames, [Segment(14.0, 15.5)])[0], atol=1e-5)


def test_windows_that_overlap_are_nearly_their_segments(titanet: TitaNet, frames: Frames) -> None:
    # The windows of the first hops begin together.
    spans = list(dict.fromkeys(window for length_s in (1.5, 1.0) for window in windows(20.0, length_s, 0.5)))
    singly = titanet.pool(frames, spans)
    together = titanet.pool_windows(frames, spans)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert (singly * together).sum(axis=1).min() > 0.98
    # Neighbours are alike too; each window must be nearest to its own segment.
    assert ((together @ singly.T).argmax(axis=1) == np.arange(len(spans))).all()


def test_the_turns_are_those_of_windows_pooled_one_by_one(
    titanet: TitaNet, weights_dir: Path, clips: list[Clip], vad: SileroVad
) -> None:
    samples, _ = conversation(clips, vad, 40.0)
    speech = vad.speech_segments(samples)
    frames = titanet.encode(Waveform(samples, 16_000).join(speech))
    one_by_one = OneByOne(titanet.card, weights_dir / "titanet_large")
    found = [diarize_speech(frames, speech, network) for network in (titanet, one_by_one)]
    times_s = np.arange(0.0, len(samples) / 16_000, 0.02)
    assert total_s(speech) > 25.0
    assert len(found[0].speakers) > 1
    together, singly = (at(diarization.turns, times_s) for diarization in found)
    assert np.mean([one == other for one, other in zip(together, singly, strict=True)]) > 0.98


def test_a_decoder_of_an_earlier_release_still_gives_the_same_vectors(
    older: TitaNet, titanet: TitaNet, speech: np.ndarray
) -> None:
    frames = older.encode(speech)
    spans = windows(20.0, 1.5, 0.5)
    singly = titanet.pool(titanet.encode(speech), spans)
    np.testing.assert_allclose(older.pool(frames, spans), singly, atol=1e-5)
    np.testing.assert_allclose(older.pool_windows(frames, spans), singly, atol=1e-5)
