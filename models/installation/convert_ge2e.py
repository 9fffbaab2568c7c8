"""Make `bundled/ge2e.onnx` from the weights inside the Resemblyzer 0.1.4 wheel.

With `python -m models.installation.convert_ge2e OUT` anyone can rebuild the file, byte for byte, and check that it
holds nothing else. It needs torch, onnx and the wheel's files. A worker never imports it.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_LAYERS = 3
_MELS = 40
_HIDDEN = 256
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# An operator set and a file version of 2021, which older runtimes can read.
_OPSET = 14
_IR_VERSION = 8

Weights = dict[str, NDArray[np.float32]]


def wheel_weights() -> Path:
    """Return the path of the weights in the installed Resemblyzer, which is not imported."""
    spec = importlib.util.find_spec("resemblyzer")
    if spec is None or spec.origin is None:
        raise SystemExit("The resemblyzer 0.1.4 wheel is not installed.")
    return Path(spec.origin).with_name("pretrained.pt")


def read_weights(path: Path) -> Weights:
    """Return the tensors of a Resemblyzer checkpoint by name; a checkpoint with code in it is refused."""
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    return {name: tensor.numpy() for name, tensor in state.items()}


def build(weights: Weights) -> onnx.ModelProto:
    """Return the network: mels (batch, frames, 40), ends (count, 2) -> embeds (count, 256).

    Each row of `ends` is (last frame, index in the batch) of one embedding. So one pass over 1.6 s can also embed its
    first second. Embeddings are non-negative, each of L2 norm 1.
    """
    graph = helper.make_graph(
        _nodes(),
        "ge2e",
        [
            helper.make_tensor_value_info("mels", TensorProto.FLOAT, ["batch", "frames", _MELS]),
            helper.make_tensor_value_info("ends", TensorProto.INT64, ["count", 2]),
        ],
        [helper.make_tensor_value_info("embeds", TensorProto.FLOAT, ["count", _HIDDEN])],
        [numpy_helper.from_array(array, name) for name, array in _initializers(weights).items()],
    )
    model = helper.make_model(graph, producer_name="timbre", opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def _nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    layers = [_lstm_nodes(layer) for layer in range(_LAYERS)]
    return [
        node("Transpose", ["mels"], ["sequence_0"], perm=[1, 0, 2]),
        *(step for layer in layers for step in layer),
        node("GatherND", [f"sequence_{_LAYERS}", "ends"], ["state"]),
        node("Gemm", ["state", "linear_weight", "linear_bias"], ["linear"], transB=1),
        node("Relu", ["linear"], ["positive"]),
        node("LpNormalization", ["positive"], ["embeds"], axis=1, p=2),
    ]


def _lstm_nodes(layer: int) -> list[onnx.NodeProto]:
    inputs = [f"sequence_{layer}", *(f"{kind}_{layer}" for kind in ("input_weight", "hidden_weight", "bias"))]
    return [
        helper.make_node("LSTM", inputs, [f"directions_{layer + 1}"], hidden_size=_HIDDEN),
        # shape: (frames, 1 direction, batch, hidden) -> (frames, batch, hidden)
        helper.make_node("Squeeze", [f"directions_{layer + 1}", "second_axis"], [f"sequence_{layer + 1}"]),
    ]


def _initializers(weights: Weights) -> dict[str, NDArray[np.generic]]:
    tensors: dict[str, NDArray[np.generic]] = {
        "second_axis": np.array([1], np.int64),
        "linear_weight": weights["linear.weight"],
        "linear_bias": weights["linear.bias"],
    }
    for layer in range(_LAYERS):
        of_layer = {part: _onnx_gates(weights[f"lstm.{part}_l{layer}"]) for part in _PARTS}
        tensors[f"input_weight_{layer}"] = of_layer["weight_ih"][np.newaxis]
        tensors[f"hidden_weight_{layer}"] = of_layer["weight_hh"][np.newaxis]
        tensors[f"bias_{layer}"] = np.concatenate([of_layer["bias_ih"], of_layer["bias_hh"]])[np.newaxis]
    return tensors


def _onnx_gates(stacked: NDArray[np.float32]) -> NDArray[np.float32]:
    # torch stacks the gates as input, forget, cell, output; ONNX as input, output, forget, cell.
    input_gate, forget_gate, cell_gate, output_gate = np.split(stacked, 4)
    return np.concatenate([input_gate, output_gate, forget_gate, cell_gate])


def main() -> None:
    """Write the network to the path given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.installation.convert_ge2e", description="Make ge2e.onnx.")
    parser.add_argument("out", type=Path, metavar="OUT", help="where to write the ONNX file")
    arguments = parser.parse_args()
    model = build(read_weights(wheel_weights()))
    arguments.out.write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
