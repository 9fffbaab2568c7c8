"""Restore .nemo files with NeMo, and trace networks to ONNX.

It needs NeMo and torch. Only installation uses it, never a running worker.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from nemo.core import ModelPT
from nemo.utils import logging as nemo_logging
from omegaconf import OmegaConf

from shared.domain.audio import SAMPLE_RATE_HZ
from shared.domain.errors import ModelInstallError

#: Settings of NeMo's preprocessor that models/features.py computes; other settings would need other code.
COMPUTED: Mapping[str, Any] = {
    "preprocessor._target_": "AudioToMelSpectrogramPreprocessor",
    "preprocessor.sample_rate": SAMPLE_RATE_HZ,
    "preprocessor.window_stride": 0.01,
    "preprocessor.window": "hann",
    "preprocessor.normalize": "per_feature",
    "preprocessor.frame_splicing": 1,
}
#: The same, with the windows and bands that TitaNet and Conformer-CTC have.
FRONT_END: Mapping[str, Any] = {
    **COMPUTED,
    "preprocessor.window_size": 0.025,
    "preprocessor.n_fft": 512,
    "preprocessor.features": 80,
}

#: The ONNX operator set with which parity was measured; onnxruntime has read it since 2022.
_OPSET = 17


def restore(path: Path, model_class: type[ModelPT], expected: Mapping[str, Any], like: str) -> Any:
    """Restore a .nemo file as a model of that class, ready for inference.

    Parameters
    ----------
    expected : settings of the model's configuration, by dotted name; classes go without their modules. Of several in a
        tuple the model may have any.

    Raises
    ------
    ModelInstallError
        NeMo cannot restore it, or a setting is another one, so that it is no model like `like`.
    """
    nemo_logging.setLevel(nemo_logging.ERROR)
    try:
        _check_settings(model_class.restore_from(path, return_config=True), expected, like)
        return model_class.restore_from(path, map_location="cpu").eval()
    except ModelInstallError:
        raise
    except Exception as error:
        # NeMo lets errors of tar, YAML, hydra and torch through.
        raise ModelInstallError(f"NeMo cannot restore the file: {type(error).__name__}: {error}") from error


def _check_settings(config: Any, expected: Mapping[str, Any], like: str) -> None:
    for name, wanted in expected.items():
        allowed = wanted if isinstance(wanted, tuple) else (wanted,)
        found = _last_word(OmegaConf.select(config, name, default=allowed[0]))
        if found not in allowed:
            supported = " or ".join(map(str, allowed))
            raise ModelInstallError(f"The file is not a model like {like}: {name} is {found}, not {supported}.")


def _last_word(value: Any) -> Any:
    # Classes are named with their modules, which move between releases of NeMo.
    return value.rpartition(".")[2] if isinstance(value, str) else value


#: Axes of an input or an output that have no fixed size -> their names.
Free = Mapping[int, str]
_BATCH: Free = {0: "batch", 2: "time"}


class Input(NamedTuple):
    """Input of a network: an example of it, and its free axes."""

    example: torch.Tensor
    free: Free


def trace(module: torch.nn.Module, num_channels: int, path: Path, takes: str, outputs: Mapping[str, Free]) -> None:
    """Write a network that takes (batch, num_channels, time) as an ONNX file.

    Parameters
    ----------
    takes : name of its input.
    outputs : names of its outputs, with their free axes.
    """
    trace_inputs(module, {takes: Input(torch.randn(2, num_channels, 311), _BATCH)}, path, outputs)


def trace_inputs(module: torch.nn.Module, inputs: Mapping[str, Input], path: Path, outputs: Mapping[str, Free]) -> None:
    """Write a network of any inputs, in their order, as an ONNX file."""
    free = {**{name: each.free for name, each in inputs.items()}, **outputs}
    with warnings.catch_warnings(), torch.inference_mode():
        # The tracer warns of each shape that becomes a constant; the comparison with NeMo finds any error of that kind.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(each.example for each in inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in free.items()},
            opset_version=_OPSET,
            dynamo=False,
        )


def full_length(frames: torch.Tensor) -> torch.Tensor:
    """Return the lengths of a batch (batch, channels, time) without padding, for NeMo's modules."""
    return torch.full((frames.shape[0],), frames.shape[2], dtype=torch.int64)
