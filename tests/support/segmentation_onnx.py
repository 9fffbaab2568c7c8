"""Builds segmentation networks as ONNX files: inputs, outputs and metadata as pyannote's exports have them.

A pilot tone at 7.9 kHz stands for overlap: where it sounds the network says that two people speak, elsewhere one.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shared.domain.audio import Samples, Segment

RATE_HZ = 16_000
#: Samples that a frame hears, and from one frame to the next, as in pyannote's networks.
FIELD, SHIFT = 991, 270
#: Metadata of a common export of pyannote/segmentation-3.0.
METADATA = {
    "num_speakers": "3", "powerset_max_classes": "2", "num_classes": "7", "sample_rate": "16000",
    "window_size": "160000", "receptive_field_size": "991", "receptive_field_shift": "270",
    "model_type": "pyannote-segmentation-3.0",
}  # fmt: skip
#: Amplitude of the pilot tone, and the least one that is taken for it.
AMPLITUDE = 0.004
_LEAST = 0.0015
_HZ = 7900.0
_CLEAR_HZ = 7700.0
#: How much the network's answer changes with the tone's power: by one for 3 % of the least.
_STEEPNESS = 30.0
#: Logit of what does not happen.
_NEVER = -30.0


def with_pilot(samples: Samples, overlaps: list[Segment]) -> Samples:
    """Return samples with the pilot tone in `overlaps`, and nothing else above 7.7 kHz."""
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE_HZ) > _CLEAR_HZ] = 0.0
    tone = AMPLITUDE * np.cos(2 * np.pi * _HZ / RATE_HZ * np.arange(len(samples)))
    mask = np.zeros(len(samples), bool)
    for overlap in overlaps:
        mask[round(overlap.start_s * RATE_HZ) : round(overlap.end_s * RATE_HZ)] = True
    return (np.fft.irfft(spectrum, len(samples)) + tone * mask).astype(np.float32)


def write_powerset(
    path: Path,
    metadata: Mapping[str, str] = METADATA,
    *,
    batch: str | int = "N",
    channels: str | int = 1,
    length: str | int = "T",
    last: str = "LogSoftmax",
    num_classes: int = 7,
) -> None:
    """Write a network with the classes of pyannote/segmentation-3.0: nobody, three speakers, three pairs."""
    weights = np.zeros(num_classes, np.float32)
    biases = np.full(num_classes, _NEVER, np.float32)
    biases[1] = 0.0
    weights[min(4, num_classes - 1)] = 1.0
    biases[min(4, num_classes - 1)] = 0.0
    _write(path, weights, biases, last, metadata, [batch, channels, length])


def write_speakers(path: Path, metadata: Mapping[str, str], *, length: str | int = "T", num_speakers: int = 3) -> None:
    """Write a network of the older kind: a probability of each speaker."""
    weights = np.zeros(num_speakers, np.float32)
    biases = np.full(num_speakers, _NEVER, np.float32)
    biases[0] = -_NEVER
    weights[1] = 1.0
    biases[1] = 0.0
    _write(path, weights, biases, "Sigmoid", metadata, ["N", 1, length])


def _write(
    path: Path,
    weights: np.ndarray,
    biases: np.ndarray,
    last: str,
    metadata: Mapping[str, str],
    shape: list[str | int],
) -> None:
    # Only the full set of packages has it.
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["tones"], strides=[SHIFT]),
        helper.make_node("Mul", ["tones", "tones"], ["powers"]),
        helper.make_node("ReduceSum", ["powers", "axis"], ["power"], keepdims=1),
        helper.make_node("Mul", ["power", "gain"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "offset"], ["score"]),
        helper.make_node("Clip", ["score", "low", "high"], ["bounded"]),
        helper.make_node("Conv", ["bounded", "weights", "biases"], ["logits"]),
        helper.make_node("Transpose", ["logits"], ["frames"], perm=[0, 2, 1]),
        helper.make_node(last, ["frames"], ["y"], **({} if last in ("Sigmoid", "Identity") else {"axis": -1})),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "F", len(biases)])]
    tensors = [numpy_helper.from_array(value, name) for name, value in _constants(weights, biases).items()]
    graph = helper.make_graph(nodes, "segmentation", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)


def _constants(weights: np.ndarray, biases: np.ndarray) -> dict[str, np.ndarray]:
    times = np.arange(FIELD) - FIELD // 2
    taps = np.hanning(FIELD) / np.hanning(FIELD).sum() * 2
    phase = 2 * np.pi * _HZ / RATE_HZ * times
    numbers = {
        "kernel": np.stack([taps * np.cos(phase), taps * np.sin(phase)])[:, np.newaxis],
        "gain": np.array(_STEEPNESS / _LEAST**2),
        "offset": np.array(_STEEPNESS),
        "low": np.array(_NEVER),
        "high": np.array(-_NEVER),
        "weights": weights[:, np.newaxis, np.newaxis],
        "biases": biases,
    }
    tensors = {name: value.astype(np.float32) for name, value in numbers.items()}
    return {**tensors, "axis": np.array([1], np.int64)}
