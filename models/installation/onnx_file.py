"""Checks of an ONNX file that others made: what it may hold, and which inputs and outputs it has.

It needs the onnx package. Only installation uses it, never a running worker.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import onnx
import onnxruntime
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from models.installation.descriptor import Descriptor
from models.onnx_embedder import MELS_TIME, TIME_MELS, WAVEFORM, Wiring
from models.runtime import open_session, reason
from shared.domain.errors import ModelInstallError

#: Largest network with its weights. A protobuf message ends at 2 GiB, and ReDimNet-B6 has 60 MB.
MOST_BYTES = 1 << 30
#: Domains of operators that every onnxruntime has.
_DOMAINS = {"", "ai.onnx"}

_Part = TypeVar("_Part", bound=Message)


def checked_copy(source: Path, folder: Path | None, out: Path) -> None:
    """Write the network of the file `source` to `out` as one file, with the weights that lie beside it.

    Parameters
    ----------
    folder : where weights in files of their own may lie; None where there can be none.

    Raises
    ------
    ModelInstallError
        It is no ONNX file or too large, has operators of a custom domain, or weights outside of the folder.
    """
    if source.stat().st_size > MOST_BYTES:
        raise ModelInstallError(f"The ONNX file is too large: more than {MOST_BYTES >> 20} MiB.")
    try:
        model = onnx.load(source, load_external_data=False)
    except DecodeError as error:
        raise ModelInstallError("The file is not an ONNX file, or it is cut short.") from error
    if not model.graph.node:
        raise ModelInstallError("The file is not an ONNX file: it has no operators.")
    _check_domains(model)
    outside = [tensor for tensor in _parts(model, onnx.TensorProto) if uses_external_data(tensor)]
    if not outside:
        shutil.copyfile(source, out)
        return
    _check_external(outside, folder)
    try:
        load_external_data_for_model(model, str(folder))
        onnx.save(model, out)
    except (OSError, ValueError, EncodeError, onnx.checker.ValidationError) as error:
        raise ModelInstallError(f"The weights beside the ONNX file cannot be read: {error}") from error


def _check_domains(model: onnx.ModelProto) -> None:
    own = {function.domain for function in model.functions}
    found = {node.domain for node in _parts(model, onnx.NodeProto)}
    if strange := sorted(found - _DOMAINS - own):
        raise ModelInstallError(
            f"The ONNX file has operators of the domain {strange[0]}; only the standard ones are supported."
        )


def _check_external(tensors: Sequence[onnx.TensorProto], folder: Path | None) -> None:
    if folder is None:
        raise ModelInstallError(
            "The ONNX file keeps its weights in other files; download all into one folder, and give its path."
        )
    names = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    try:
        paths = [(folder / name).resolve() for name in names]
    except ValueError as error:
        raise ModelInstallError(f"The ONNX file names weights in no possible place: {error}.") from error
    for path in paths:
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise ModelInstallError(f"The ONNX file names weights that are not beside it: {path.name}.")
    if sum(path.stat().st_size for path in paths) > MOST_BYTES:
        raise ModelInstallError(f"The weights of the ONNX file are too large: more than {MOST_BYTES >> 20} MiB.")


def _parts(message: Message, kind: type[_Part]) -> Iterator[_Part]:
    """Yield all messages of a kind within a message, at any depth: graphs may be nested in operators."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for one in value if isinstance(value, Sequence) else [value]:
                yield from _parts(one, kind)


def wire(path: Path, descriptor: Descriptor) -> Wiring:
    """Find the inputs and the output of a network, as far as its descriptor does not name them.

    Raises
    ------
    ModelInstallError
        onnxruntime cannot open it, or it does not take what the descriptor says.
    """
    try:
        session = open_session(path)
    except Exception as error:
        # onnxruntime has an exception for each status, without a common base.
        raise ModelInstallError(f"onnxruntime cannot open the ONNX file: {reason(error)}") from error
    inputs = {one.name: one for one in session.get_inputs()}
    features = _pick(descriptor.input, [n for n, one in inputs.items() if "float" in one.type], "input", inputs)
    others = [name for name in inputs if name != features]
    length = _pick(descriptor.length, others, "length", inputs) if others else None
    if len(others) > 1:
        raise ModelInstallError(f"The network has too many inputs: {', '.join(inputs)}; one, or one with its length.")
    _check_types(inputs[features], inputs[length] if length else None)
    outputs = [one.name for one in session.get_outputs()]
    shape = inputs[features].shape
    return Wiring(
        features=descriptor.features,
        layout=_layout(shape, descriptor),
        mels=descriptor.mels,
        window=descriptor.window,
        scale=descriptor.scale,
        mean=descriptor.mean,
        input=features,
        length=length,
        output=_pick(descriptor.output, outputs, "output", outputs),
        rank=len(shape),
        batched=not isinstance(shape[0], int),
    )


def _pick(named: str | None, candidates: Sequence[str], what: str, there: Any) -> str:
    if named is not None and named not in there:
        raise ModelInstallError(f"The network has no {what} {named!r}; it has {', '.join(there)}.")
    if named is None and len(candidates) != 1:
        raise ModelInstallError(f"The descriptor must name the {what}: the network has {', '.join(there)}.")
    return named or candidates[0]


def _check_types(features: onnxruntime.NodeArg, length: onnxruntime.NodeArg | None) -> None:
    if features.type != "tensor(float)":
        raise ModelInstallError(f"The network takes {features.type}; only float32 is supported.")
    if length is not None and length.type != "tensor(int64)":
        raise ModelInstallError(f"The network's length {length.name} is {length.type}; only int64 is supported.")


def _layout(shape: Sequence[Any], descriptor: Descriptor) -> str:
    """Return the order of the axes, having checked the shape (batch, ...), in which names stand for free sizes."""
    if descriptor.features == WAVEFORM:
        fits = len(shape) == 2 or (len(shape) == 3 and shape[1] == 1)
        time = shape[-1] if shape else None
        layout = TIME_MELS
    else:
        orders = [descriptor.layout] if descriptor.layout else _orders(shape, descriptor.mels)
        if len(orders) != 1:
            raise ModelInstallError(f"The descriptor must say the layout: the network takes {_text(shape)}.")
        layout = orders[0]
        mels, time = (shape[1:] if layout == MELS_TIME else shape[:0:-1]) if len(shape) == 3 else (None, None)
        fits = len(shape) == 3 and (mels == descriptor.mels or not isinstance(mels, int)) and time != descriptor.mels
    if not fits or (isinstance(shape[0], int) and shape[0] != 1):
        raise ModelInstallError(f"The network takes {_text(shape)}, which does not fit {descriptor.features}.")
    if isinstance(time, int):
        raise ModelInstallError(f"The network takes {_text(shape)}: export it with a free axis of time.")
    return layout


def _orders(shape: Sequence[Any], mels: int) -> list[str]:
    fixed = [index for index, size in enumerate(shape) if index > 0 and size == mels]
    return [MELS_TIME if index == 1 else TIME_MELS for index in fixed]


def _text(shape: Sequence[Any]) -> str:
    return "(" + ", ".join(str(size) for size in shape) + ")"
