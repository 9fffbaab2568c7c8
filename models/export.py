"""Export a .nemo file of a TitaNet to `encoder.onnx` and `decoder.onnx`, and check that they give NeMo's embeddings.

It needs NeMo and torch. Only installation uses it, never a running worker.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nemo.collections.asr.models import EncDecSpeakerLabelModel
from nemo.collections.asr.parts.submodules.jasper import MaskedConv1d
from numpy.typing import NDArray

from models import nemo_file
from models.features import unit
from models.titanet import DECODER_FILE, ENCODER_FILE, TitaNet
from shared.domain.audio import Samples
from shared.domain.errors import ModelInstallError
from shared.domain.models import ModelCard

#: Names of the files that are written.
FILES = (ENCODER_FILE, DECODER_FILE)

#: Most frames of one call, ten minutes: NeMo exports the encoder with a fixed range of frame numbers.
_MAX_FRAMES = 60_000
#: Largest accepted 1 - cosine between NeMo and the exported network; 1e-10 is usual.
MAX_PARITY_ERROR = 1e-4


def restore(path: Path, card: ModelCard) -> EncDecSpeakerLabelModel:
    """Restore a .nemo file with NeMo, ready for inference.

    Raises
    ------
    ModelInstallError
        NeMo cannot restore it, or the model does not have the architecture that `card` names.
    """
    expected = {
        "target": "EncDecSpeakerLabelModel",
        "encoder._target_": "ConvASREncoder",
        "decoder._target_": "SpeakerDecoder",
        "decoder.pool_mode": "attention",
        "decoder.emb_sizes": card.dimension,
        **nemo_file.FRONT_END,
    }
    model = nemo_file.restore(path, EncDecSpeakerLabelModel, expected, card.handle)
    if model.encoder.subsampling_factor != 1:
        raise ModelInstallError(f"The file is not a model like {card.handle}: its frames are not 10 ms apart.")
    return model


def export_checked(model: EncDecSpeakerLabelModel, card: ModelCard, folder: Path) -> float:
    """Write encoder and decoder into `folder` and return the largest 1 - cosine between them and `model`.

    The export changes `model`, which cannot be used afterwards.

    Raises
    ------
    ModelInstallError
        An embedding is further from NeMo's than `MAX_PARITY_ERROR`.
    """
    signals = nemo_file.trial_signals()
    references = [reference_embedding(model, samples) for samples in signals]
    _export(model, folder)
    exported = TitaNet(card, folder)
    errors = [1.0 - _cosine(exported.embed(s), r) for s, r in zip(signals, references, strict=True)]
    worst = max(0.0, *errors)
    # This comparison also refuses NaN.
    if not all(error <= MAX_PARITY_ERROR for error in errors):
        raise ModelInstallError(f"The export does not compute what NeMo does: 1 - cosine is up to {worst:.1e}.")
    return worst


def reference_embedding(model: EncDecSpeakerLabelModel, samples: Samples) -> NDArray[np.float32]:
    """Return NeMo's own embedding of a recording at 16 kHz, shape (dimension,), L2 norm 1."""
    signal = torch.from_numpy(samples)[None]
    length = torch.tensor([len(samples)])
    with torch.inference_mode():
        _, embeddings = model.forward(input_signal=signal, input_signal_length=length)
    return unit(embeddings.numpy())[0]


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    # In double precision: float32 is too coarse for the small differences to 1.
    a = one.astype(np.float64)
    b = other.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _export(model: EncDecSpeakerLabelModel, folder: Path) -> None:
    # Without padding there is nothing to mask, and the masks of the convolutions cannot be exported.
    for module in model.encoder.modules():
        if isinstance(module, MaskedConv1d):
            module.use_mask = False
    model.encoder.update_max_sequence_length(_MAX_FRAMES, "cpu")
    attention = model.decoder._pooling.attention_layer[0].conv_layer
    num_rows = model.cfg.decoder.feat_in + attention.out_channels
    encoder = _Encoder(model.encoder, attention)
    free = {0: "batch", 2: "time"}
    nemo_file.trace(encoder, model.cfg.encoder.feat_in, folder / ENCODER_FILE, "features", "frames", free)
    model.decoder._pooling = _Pooling(model.decoder._pooling)
    decoder = _Decoder(model.decoder)
    nemo_file.trace(decoder, num_rows, folder / DECODER_FILE, "frames", "embeddings", {0: "batch"})


class _Encoder(torch.nn.Module):
    """NeMo's encoder for unpadded features, with the attention keys of each frame below its channels.

    Attention adds a term of the frame to a term of its window's mean and deviation. The frame's term is the same in all
    of its hundred overlapping windows, so it is computed here once.
    """

    def __init__(self, encoder: torch.nn.Module, attention: torch.nn.Conv1d) -> None:
        super().__init__()
        self.encoder = encoder
        self.keys = attention.weight[:, : attention.in_channels // 3].detach()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return frames (batch, channels + attention channels, time) of features (batch, 80, time)."""
        frames = self.encoder(audio_signal=features, length=nemo_file.full_length(features))[0]
        return torch.cat([frames, torch.nn.functional.conv1d(frames, self.keys)], dim=1)


class _Pooling(torch.nn.Module):
    """NeMo's attentive pooling (kernel size 1) of the output of `_Encoder`; the same sums in another order."""

    def __init__(self, pooling: Any) -> None:
        super().__init__()
        tdnn, self.tanh, self.scores = pooling.attention_layer
        self.activation = tdnn.activation
        self.norm = tdnn.bn
        self.channels = tdnn.conv_layer.in_channels // 3
        self.of_statistics = tdnn.conv_layer.weight[:, self.channels :].detach()
        self.bias = tdnn.conv_layer.bias.detach()

    def forward(self, frames: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Return the weighted mean and deviation (batch, 2 * channels, 1)."""
        x = frames[:, : self.channels]
        keys = frames[:, self.channels :]
        context = torch.cat(_statistics(x, torch.tensor(1.0) / x.shape[2]), dim=1)
        seen = keys + torch.nn.functional.conv1d(context, self.of_statistics, self.bias)
        weights = torch.softmax(self.scores(self.tanh(self.norm(self.activation(seen)))), dim=2)
        return torch.cat(_statistics(x, weights), dim=1)


def _statistics(x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = (weights * x).sum(dim=2, keepdim=True)
    return mean, (weights * (x - mean) ** 2).sum(dim=2, keepdim=True).clamp(1e-10).sqrt()


class _Decoder(torch.nn.Module):
    """NeMo's attentive pooling and embedding layer, without the classifier it was trained with."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return embeddings (batch, dimension) of the output of `_Encoder`."""
        # Without a length NeMo's pooling uses the first frame only.
        return self.decoder(encoder_output=frames, length=nemo_file.full_length(frames))[1]
