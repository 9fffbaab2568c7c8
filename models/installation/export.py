"""Export a NeMo speaker model to `encoder.onnx` and `decoder.onnx`, and check that they give NeMo's embeddings.

TitaNet, ECAPA-TDNN and SpeakerNet have an encoder of frames and a decoder that pools them.

It needs NeMo and torch. Only installation uses it, never a running worker.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nemo.collections.asr.models import EncDecSpeakerLabelModel
from nemo.collections.asr.modules.conv_asr import ConvASREncoder
from nemo.collections.asr.parts.submodules.jasper import MaskedConv1d, SqueezeExcite
from nemo.collections.asr.parts.submodules.tdnn_attention import AttentivePoolLayer, StatsPoolLayer
from numpy.typing import NDArray

from models.features import NemoMel, unit
from models.installation import nemo_file
from models.installation.trial_signals import trial_signals
from models.titanet import DECODER_FILE, ENCODER_FILE, TitaNet
from shared.domain.audio import Samples
from shared.domain.errors import ModelInstallError
from shared.domain.models import ModelCard

#: Names of the files that are written.
FILES = (ENCODER_FILE, DECODER_FILE)
#: Settings of the speaker models that can be exported.
_EXPORTED = {
    "target": "EncDecSpeakerLabelModel",
    "encoder._target_": ("ConvASREncoder", "ECAPAEncoder"),
    "decoder._target_": "SpeakerDecoder",
    "decoder.pool_mode": ("attention", "xvector", "tap"),
    **nemo_file.COMPUTED,
}

#: Most frames of one call, ten minutes: NeMo exports the encoder with a fixed range of frame numbers.
_MAX_FRAMES = 60_000
#: Least sum of attention weights, the largest of which is 1: no window divides by 0.
_LEAST_WEIGHT = 1e-30
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
        **_EXPORTED,
        "encoder._target_": "ConvASREncoder",
        "decoder.pool_mode": "attention",
        "decoder.emb_sizes": card.dimension,
        **nemo_file.FRONT_END,
    }
    return _restore(path, expected, f"{card.handle} (give your own model another name with MODEL=)")


def restore_own(path: Path) -> EncDecSpeakerLabelModel:
    """Restore a .nemo file of any speaker model with NeMo, ready for inference.

    Raises
    ------
    ModelInstallError
        NeMo cannot restore it, or the model has parts that cannot be exported.
    """
    return _restore(path, _EXPORTED, "those that Timbre can convert")


def _restore(path: Path, expected: Mapping[str, Any], like: str) -> EncDecSpeakerLabelModel:
    model = nemo_file.restore(path, EncDecSpeakerLabelModel, expected, like)
    if getattr(model.encoder, "subsampling_factor", 1) != 1:
        raise ModelInstallError(f"The file is not a model like {like}: its frames are not 10 ms apart.")
    return model


def mel_of(model: EncDecSpeakerLabelModel) -> NemoMel:
    """Return the settings of the features that the model hears."""
    featurizer = model.preprocessor.featurizer
    return NemoMel(num_mels=featurizer.nfilt, window=featurizer.win_length, n_fft=featurizer.n_fft)


def dimension_of(model: EncDecSpeakerLabelModel) -> int:
    """Return the length of the model's embeddings: of several embedding layers the last one counts."""
    return len(reference_embedding(model, trial_signals()[0]))


def export_checked(model: EncDecSpeakerLabelModel, card: ModelCard, folder: Path) -> float:
    """Write encoder and decoder into `folder` and return the largest 1 - cosine between them and `model`.

    The export changes `model`, which cannot be used afterwards.

    Raises
    ------
    ModelInstallError
        torch cannot export the network, or an embedding is further from NeMo's than `MAX_PARITY_ERROR`.
    """
    signals = trial_signals()
    references = [reference_embedding(model, samples) for samples in signals]
    mel = mel_of(model)
    try:
        _export(model, mel, folder)
    except Exception as error:
        # torch has an exception for each operator that it cannot export.
        raise ModelInstallError(f"The network cannot be exported: {type(error).__name__}: {error}") from error
    exported = TitaNet(card, folder, mel=mel)
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


def _export(model: EncDecSpeakerLabelModel, mel: NemoMel, folder: Path) -> None:
    pad_to = 0 if _unmask(model.encoder) else model.preprocessor.featurizer.pad_to
    num_channels = model.cfg.decoder.feat_in
    pooling = model.decoder._pooling
    if isinstance(pooling, AttentivePoolLayer):
        attention = pooling.attention_layer[0].conv_layer
        _trace_encoder(_Encoder(model.encoder, pad_to, attention), mel, folder, "frames", "keys")
        _trace_attentive(_AttentiveDecoder(model.decoder), num_channels, attention.out_channels, folder)
    else:
        _trace_encoder(_PlainEncoder(model.encoder, pad_to), mel, folder, "frames")
        model.decoder._pooling = _Statistics(pooling)
        decoder = _Decoder(model.decoder)
        nemo_file.trace(decoder, num_channels, folder / DECODER_FILE, "frames", {"embeddings": {0: "batch"}})


def _trace_encoder(encoder: torch.nn.Module, mel: NemoMel, folder: Path, *outputs: str) -> None:
    free = {0: "batch", 2: "time"}
    nemo_file.trace(encoder, mel.num_mels, folder / ENCODER_FILE, "features", dict.fromkeys(outputs, free))


def _trace_attentive(decoder: torch.nn.Module, num_channels: int, num_keys: int, folder: Path) -> None:
    inputs = {
        "frames": nemo_file.Input(torch.randn(num_channels, 311), {1: "time"}),
        "keys": nemo_file.Input(torch.randn(num_keys, 311), {1: "time"}),
        "windows": nemo_file.Input(torch.ones(311, 2), {0: "time", 1: "count"}),
    }
    nemo_file.trace_inputs(decoder, inputs, folder / DECODER_FILE, {"embeddings": {0: "count"}})


def _unmask(encoder: torch.nn.Module) -> bool:
    """Turn off the masks of convolutions, which cannot be exported, and return whether there were any.

    Without padding there is nothing to mask.
    """
    masked = [module for module in encoder.modules() if isinstance(module, MaskedConv1d) and module.use_mask]
    for module in masked:
        module.use_mask = False
    if masked:
        _gate_without_masks(encoder)
    if isinstance(encoder, ConvASREncoder):
        encoder.update_max_sequence_length(_MAX_FRAMES, "cpu")
    return bool(masked)


def _gate_without_masks(encoder: torch.nn.Module) -> None:
    # Nothing is padded, so its masks would only be passes over 30 MB.
    for module in encoder.modules():
        for name, child in module.named_children():
            if isinstance(child, SqueezeExcite) and child.context_window < 0:
                setattr(module, name, _Gate(child))


class _Gate(torch.nn.Module):
    """NeMo's squeeze and excitation over the whole of an input that is not padded."""

    def __init__(self, masked: SqueezeExcite) -> None:
        super().__init__()
        self.fc = masked.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x (batch, channels, time), each channel scaled by what all of them do in the mean."""
        return x * torch.sigmoid(self.fc(x.mean(dim=2)))[:, :, None]


class _PlainEncoder(torch.nn.Module):
    """NeMo's encoder for features without padding.

    NeMo pads them with zeros to a multiple of `pad_to` frames. An encoder without masks lets that leak into the last
    frames, so here it is given the same padding.
    """

    def __init__(self, encoder: torch.nn.Module, pad_to: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pad_to = pad_to

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return frames (batch, channels, time) of features (batch, num_mels, time)."""
        length = nemo_file.full_length(features)
        if self.pad_to == 0:
            return self.encoder(audio_signal=features, length=length)[0]
        time = features.shape[2]
        # NeMo's Fourier transform has one frame more than counts, and it is padded, too.
        padded = torch.nn.functional.pad(features, (0, self.pad_to - time % self.pad_to))
        return self.encoder(audio_signal=padded, length=length)[0][:, :, :time]


class _Encoder(_PlainEncoder):
    """NeMo's encoder for unpadded features, with the attention keys of each frame.

    Attention adds a term of the frame to a term of its window's mean and deviation. The frame's term is the same in all
    overlapping windows, so it is computed here once.
    """

    def __init__(self, encoder: torch.nn.Module, pad_to: int, attention: torch.nn.Conv1d) -> None:
        super().__init__(encoder, pad_to)
        self.keys = attention.weight[:, : attention.in_channels // 3].detach()

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        """Return frames and keys, each (batch, channels, time), of features (batch, num_mels, time)."""
        frames = super().forward(features)
        return frames, torch.nn.functional.conv1d(frames, self.keys)


class _Pooling(torch.nn.Module):
    """NeMo's attentive pooling (kernel size 1) of windows in a stretch of sound; the same sums in another order.

    A frame's scores depend on the mean and the deviation of what is pooled. The windows share those of their stretch,
    so their frames are scored once. For a window that is the whole stretch the result is NeMo's.
    """

    def __init__(self, pooling: Any) -> None:
        super().__init__()
        tdnn, self.tanh, scores = pooling.attention_layer
        self.activation = tdnn.activation
        self.norm = tdnn.bn
        self.of_statistics = tdnn.conv_layer.weight[:, tdnn.conv_layer.in_channels // 3 :, 0].detach()
        self.bias = tdnn.conv_layer.bias.detach()[:, None]
        # Without its bias, which is the same in all frames: softmax does not see it.
        self.scores = scores.weight[:, :, 0].detach()

    def forward(self, frames: torch.Tensor, keys: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Return the weighted mean and deviation of each window, (2 * channels, count)."""
        mean = frames.mean(dim=1, keepdim=True)
        off = frames - mean
        context = torch.cat([mean, _deviation((off * off).mean(dim=1, keepdim=True))])
        seen = keys + self.of_statistics @ context + self.bias
        scores = self.scores @ self.tanh(self.norm(self.activation(seen)[None])[0])
        weights = torch.exp(scores - scores.amax(dim=1, keepdim=True))
        total = (weights @ windows).clamp(_LEAST_WEIGHT)
        weighted = weights * off
        shift = (weighted @ windows) / total
        deviation = _deviation((weighted * off) @ windows / total - shift * shift)
        return torch.cat([mean + shift, deviation])


def _deviation(variance: torch.Tensor) -> torch.Tensor:
    return variance.clamp(1e-10).sqrt()


class _Statistics(torch.nn.Module):
    """NeMo's pooling of mean and deviation (`xvector`), or of the mean alone (`tap`), for unpadded frames."""

    def __init__(self, pooling: StatsPoolLayer) -> None:
        super().__init__()
        self.has_deviation = pooling.pool_mode == "xvector"
        self.correction = int(pooling.unbiased)
        self.least = pooling.eps

    def forward(self, frames: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Return the statistics (batch, channels), or (batch, 2 * channels)."""
        mean = frames.mean(dim=2)
        if not self.has_deviation:
            return mean
        # A single frame has the deviation 0, in NeMo it has none.
        count = torch.clamp(length - self.correction, min=1)[:, None]
        squares = (frames - mean[:, :, None]) ** 2
        return torch.cat([mean, (squares.sum(dim=2) / count).clamp(self.least).sqrt()], dim=1)


class _AttentiveDecoder(torch.nn.Module):
    """NeMo's attentive pooling and embedding layers, without the classifier they were trained with."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.pooling = _Pooling(decoder._pooling)
        # NeMo takes the embedding from inside the last layer.
        self.layers = torch.nn.Sequential(*decoder.emb_layers[:-1], decoder.emb_layers[-1][: decoder.emb_id])

    def forward(self, frames: torch.Tensor, keys: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
        """Return embeddings (count, dimension) of windows (time, count), which are 1 inside and 0 outside.

        Frames and keys, (channels, time), are what `_Encoder` returns.
        """
        return self.layers(self.pooling(frames, keys, windows)[None])[0].T


class _Decoder(torch.nn.Module):
    """NeMo's pooling without attention, and its embedding layers, without the classifier they were trained with."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return embeddings (batch, dimension) of the output of `_PlainEncoder`."""
        # Without a length NeMo's pooling uses the first frame only.
        return self.decoder(encoder_output=frames, length=nemo_file.full_length(frames))[1]
