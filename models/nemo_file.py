"""Restore .nemo files with NeMo, trace networks to ONNX, and make the signals that compare an export with NeMo.

It needs NeMo and torch. Only installation uses it, never a running worker.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nemo.core import ModelPT
from nemo.utils import logging as nemo_logging
from omegaconf import OmegaConf

from models.features import SAMPLE_RATE_HZ
from shared.domain.audio import Samples
from shared.domain.errors import ModelInstallError

#: Settings of NeMo's preprocessor that models/features.py computes; other settings would need other code.
FRONT_END: Mapping[str, Any] = {
    "preprocessor.sample_rate": SAMPLE_RATE_HZ,
    "preprocessor.window_size": 0.025,
    "preprocessor.window_stride": 0.01,
    "preprocessor.window": "hann",
    "preprocessor.n_fft": 512,
    "preprocessor.features": 80,
    "preprocessor.normalize": "per_feature",
    "preprocessor.frame_splicing": 1,
}

#: The ONNX operator set with which parity was measured; onnxruntime has read it since 2022.
_OPSET = 17
#: Lengths of the trial signals, in samples: none is a whole number of frames or of NeMo's padding (16 frames).
_TRIAL_SAMPLES = (11_317, 50_021, 128_777)


def restore(path: Path, model_class: type[ModelPT], expected: Mapping[str, Any], handle: str) -> Any:
    """Restore a .nemo file as a model of that class, ready for inference.

    Parameters
    ----------
    expected : settings of the model's configuration, by dotted name; classes go without their modules.

    Raises
    ------
    ModelInstallError
        NeMo cannot restore it, or a setting is another one, so that it is no model like `handle`.
    """
    nemo_logging.setLevel(nemo_logging.ERROR)
    try:
        _check_settings(model_class.restore_from(path, return_config=True), expected, handle)
        return model_class.restore_from(path, map_location="cpu").eval()
    except ModelInstallError:
        raise
    except Exception as error:
        # NeMo lets errors of tar, YAML, hydra and torch through.
        raise ModelInstallError(f"NeMo cannot restore the file: {type(error).__name__}: {error}") from error


def _check_settings(config: Any, expected: Mapping[str, Any], handle: str) -> None:
    for name, wanted in expected.items():
        found = _last_word(OmegaConf.select(config, name, default=wanted))
        if found != wanted:
            raise ModelInstallError(f"The file is not a model like {handle}: {name} is {found}, not {wanted}.")


def _last_word(value: Any) -> Any:
    # Classes are named with their modules, which move between releases of NeMo.
    return value.rpartition(".")[2] if isinstance(value, str) else value


def trace(
    module: torch.nn.Module, num_channels: int, path: Path, takes: str, gives: str, free: Mapping[int, str]
) -> None:
    """Write a network that takes (batch, num_channels, time) as an ONNX file.

    Parameters
    ----------
    takes, gives : names of its input and its output.
    free : axes of the output that have no fixed size.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracer warns of each shape that becomes a constant; the comparison with NeMo finds any error of that kind.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.randn(2, num_channels, 311),),
            str(path),
            input_names=[takes],
            output_names=[gives],
            dynamic_axes={takes: {0: "batch", 2: "time"}, gives: dict(free)},
            opset_version=_OPSET,
            dynamo=False,
        )


def full_length(frames: torch.Tensor) -> torch.Tensor:
    """Return the lengths of a batch (batch, channels, time) without padding, for NeMo's modules."""
    return torch.full((frames.shape[0],), frames.shape[2], dtype=torch.int64)


def trial_signals() -> list[Samples]:
    """Return noise and a voice-like buzz of several lengths, at 16 kHz."""
    return [signal for length in _TRIAL_SAMPLES for signal in (_beating_noise(length), _buzz(length))]


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
