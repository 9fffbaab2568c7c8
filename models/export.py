"""Export a .nemo file of a TitaNet to `encoder.onnx` and `decoder.onnx`, and check that they give NeMo's embeddings.

It needs NeMo and torch. Only installation uses it, never a running worker.
"""

import warnings
from pathlib import Path
from typing import Any

import nemo
import numpy as np
import torch
from nemo.collections.asr.models import EncDecSpeakerLabelModel
from nemo.collections.asr.parts.submodules.jasper import MaskedConv1d
from nemo.utils import logging as nemo_logging
from numpy.typing import NDArray
from omegaconf import OmegaConf

from models.features import SAMPLE_RATE_HZ, unit
from models.titanet import DECODER_FILE, ENCODER_FILE, TitaNet
from shared.domain.audio import Samples
from shared.domain.errors import ModelInstallError
from shared.domain.models import ModelCard

NEMO_VERSION: str = nemo.__version__

#: The ONNX operator set with which parity was measured; onnxruntime has read it since 2022.
_OPSET = 17
#: Most frames of one call, ten minutes: NeMo exports the encoder with a fixed range of frame numbers.
_MAX_FRAMES = 60_000
#: Largest accepted 1 - cosine between NeMo and the exported network; 1e-10 is usual.
MAX_PARITY_ERROR = 1e-4
#: Lengths of the trial signals, in samples: none is a whole number of frames or of NeMo's padding (16 frames).
_TRIAL_SAMPLES = (11_317, 50_021, 128_777)

# Settings of NeMo's preprocessor that models/features.py computes; other settings would need other code.
_FRONT_END = {
    "sample_rate": SAMPLE_RATE_HZ,
    "window_size": 0.025,
    "window_stride": 0.01,
    "window": "hann",
    "n_fft": 512,
    "features": 80,
    "normalize": "per_feature",
    "frame_splicing": 1,
}


def restore(path: Path, card: ModelCard) -> EncDecSpeakerLabelModel:
    """Restore a .nemo file with NeMo, ready for inference.

    Raises
    ------
    ModelInstallError
        NeMo cannot restore it, or the model does not have the architecture that `card` names.
    """
    nemo_logging.setLevel(nemo_logging.ERROR)
    try:
        config = EncDecSpeakerLabelModel.restore_from(path, return_config=True)
        _check_architecture(config, card)
        model = EncDecSpeakerLabelModel.restore_from(path, map_location="cpu").eval()
    except ModelInstallError:
        raise
    except Exception as error:
        # NeMo lets errors of tar, YAML, hydra and torch through.
        raise ModelInstallError(f"NeMo cannot restore the file: {type(error).__name__}: {error}") from error
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
    signals = [signal for length in _TRIAL_SAMPLES for signal in (_beating_noise(length), _buzz(length))]
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
    _trace(_Encoder(model.encoder, attention), model.cfg.encoder.feat_in, folder / ENCODER_FILE, "features", "frames")
    model.decoder._pooling = _Pooling(model.decoder._pooling)
    _trace(_Decoder(model.decoder), num_rows, folder / DECODER_FILE, "frames", "embeddings")


def _check_architecture(config: Any, card: ModelCard) -> None:
    expected = {
        "target": "EncDecSpeakerLabelModel",
        "encoder._target_": "ConvASREncoder",
        "decoder._target_": "SpeakerDecoder",
        "decoder.pool_mode": "attention",
        "decoder.emb_sizes": card.dimension,
        **{f"preprocessor.{name}": value for name, value in _FRONT_END.items()},
    }
    for name, wanted in expected.items():
        found = _last_word(OmegaConf.select(config, name, default=wanted))
        if found != wanted:
            raise ModelInstallError(f"The file is not a model like {card.handle}: {name} is {found}, not {wanted}.")


def _last_word(value: Any) -> Any:
    # Classes are named with their modules, which move between releases of NeMo.
    return value.rpartition(".")[2] if isinstance(value, str) else value


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
        frames = self.encoder(audio_signal=features, length=_full_length(features))[0]
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
        return self.decoder(encoder_output=frames, length=_full_length(frames))[1]


def _full_length(frames: torch.Tensor) -> torch.Tensor:
    # Without a length NeMo's pooling uses the first frame only.
    return torch.full((frames.shape[0],), frames.shape[2], dtype=torch.int64)


def _trace(module: torch.nn.Module, num_channels: int, path: Path, takes: str, gives: str) -> None:
    free = {0: "batch", 2: "time"}
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracer warns of each shape that becomes a constant; the comparison with NeMo finds any error of that kind.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.randn(2, num_channels, 311),),
            str(path),
            input_names=[takes],
            output_names=[gives],
            dynamic_axes={takes: free, gives: free if gives == "frames" else {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )


def _beating_noise(num_samples: int) -> Samples:
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(num_samples).normal(0.0, 0.1, num_samples)
    return (noise * (0.6 + 0.4 * np.sin(2 * np.pi * 3.0 * time_s))).astype(np.float32)


def _buzz(num_samples: int) -> Samples:
    # A pulse train like a voice: its pitch varies around 140 Hz, in faint noise.
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * 140.0 * time_s + 8.0 * np.sin(2 * np.pi * 0.7 * time_s)
    harmonics = np.sum([np.sin(k * phase) / k for k in range(1, 20)], axis=0)
    return (0.05 * harmonics + 0.01 * _beating_noise(num_samples)).astype(np.float32)
