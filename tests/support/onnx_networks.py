"""Builds small speaker networks as ONNX files: the inputs and outputs that others' exports have, with random weights.

The first layer is a fixed average over the bands or samples, so that voices differ in what the network gives.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MELS = 80
DIMENSION = 32


def write_fbank_network(
    path: Path,
    *,
    layout: str = "time,mels",
    input_name: str = "feats",
    output_name: str = "embs",
    batch: str | int = "B",
    time: str | int = "T",
    domain: str = "",
    length: str | None = None,
    fault: str | None = None,
) -> None:
    """Write a network from fbank to embeddings, as WeSpeaker (`feats`, `embs`) and 3D-Speaker export them.

    It pools what bands exceed others by, and projects it. With a fault, one of those of `_last`, it is of no use.
    """
    order = [0, 2, 1] if layout == "mels,time" else [0, 1, 2]
    nodes = [
        helper.make_node("Transpose", [input_name], ["rows"], perm=order),
        helper.make_node("MatMul", ["rows", "differences"], ["mixed"]),
        helper.make_node("Relu", ["mixed"], ["heard"], domain=domain),
        helper.make_node("ReduceMean", ["heard"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["projected"]),
        _last(output_name, fault),
    ]
    shape = [batch, time, MELS] if layout == "time,mels" else [batch, MELS, time]
    inputs = [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)]
    if length:
        inputs.append(helper.make_tensor_value_info(length, TensorProto.INT64, [batch]))
    constants = {
        "differences": np.eye(MELS, dtype=np.float32) - np.eye(MELS, k=9, dtype=np.float32),
        "weights": _random(MELS, DIMENSION),
        "nothing": np.zeros(DIMENSION, np.float32),
    }
    shape_out = [batch, time, MELS] if fault == "framewise" else [batch, DIMENSION]
    _write(path, nodes, inputs, [(output_name, shape_out)], constants)


def _last(name: str, fault: str | None) -> onnx.NodeProto:
    """Return the last step: `constant` hears nothing, `broken` gives infinity, `framewise` embeds each frame."""
    if fault == "constant":
        # Each number over itself is 1, whatever was heard.
        return helper.make_node("Div", ["projected", "projected"], [name])
    if fault == "broken":
        return helper.make_node("Div", ["projected", "nothing"], [name])
    if fault == "framewise":
        return helper.make_node("Identity", ["heard"], [name])
    if fault == "drifting":
        return helper.make_node("RandomNormalLike", ["projected"], [name])
    return helper.make_node("Identity", ["projected"], [name])


def write_waveform_network(path: Path, *, shape: Sequence[str | int] = ("B", "samples")) -> None:
    """Write a network from samples to embeddings, as ReDimNet has it: frames by a convolution, then mean energies."""
    kernel = (np.hanning(400) * np.cos(np.outer(np.linspace(0.02, 2.2, MELS), np.arange(400)))).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["audio", "rows"], ["row"]),
        helper.make_node("Conv", ["row", "kernel"], ["bands"], strides=[160]),
        helper.make_node("Mul", ["bands", "bands"], ["energies"]),
        helper.make_node("ReduceMean", ["energies"], ["energy"], axes=[2], keepdims=0),
        helper.make_node("Add", ["energy", "guard"], ["guarded"]),
        helper.make_node("Log", ["guarded"], ["loudness"]),
        helper.make_node("MatMul", ["loudness", "weights"], ["embedding"]),
    ]
    constants = {
        "rows": np.array([0, 1, -1], np.int64) if len(shape) == 2 else np.array([0, 0, -1], np.int64),
        "kernel": kernel[:, np.newaxis],
        "guard": np.array(1e-6, np.float32),
        "weights": _random(MELS, DIMENSION),
    }
    inputs = [helper.make_tensor_value_info("audio", TensorProto.FLOAT, list(shape))]
    _write(path, nodes, inputs, [("embedding", [shape[0], DIMENSION])], constants)


def _random(rows: int, columns: int) -> np.ndarray:
    weights = np.random.default_rng(5).normal(size=(rows, columns))
    # Without the mean over the bands, which all voices share.
    return (weights - weights.mean(axis=0)).astype(np.float32)


def _write(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], constants: dict[str, np.ndarray]
) -> None:
    graph = helper.make_graph(
        nodes,
        "speaker",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)] + [helper.make_opsetid(d, 1) for d in {n.domain for n in nodes} - {""}]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
