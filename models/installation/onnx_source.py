"""Step of an installation that makes a model of an ONNX file and its descriptor, and tries it on speech.

It needs the onnx package, and neither NeMo nor torch.
"""

import hashlib
import importlib.util
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from models.installation.descriptor import Descriptor
from models.installation.progress import Say, step
from models.installation.sanity import check_sanity, trial_voices
from models.installation.trial_signals import trial_signals
from models.onnx_embedder import NETWORK_FILE, WAVEFORM, OnnxEmbedder, Wiring
from models.registry import OwnModel, Record, sha256_of
from models.runtime import reason
from shared.domain.errors import ModelInstallError


def require_onnx() -> None:
    """Make sure that the onnx package is there, which only installations need; raises ModelInstallError."""
    if importlib.util.find_spec("onnx") is None:
        raise ModelInstallError("Installing an ONNX file needs the onnx package; `make models` sets it up.")


def convert_onnx(
    descriptor: Descriptor, name: str, beside: Path | None, onnx_file: Path, folder: Path, say: Say
) -> Record:
    """Write the network of an ONNX file into `folder`, and return its record with its card.

    Parameters
    ----------
    name : where the file came from, for the card.
    beside : folder in which further files of its weights may lie.

    Raises
    ------
    ModelInstallError
        The file holds what is not supported, or its embeddings do not depend on who speaks.
    """
    # Imported here: without the onnx package this module can be imported, too.
    from models.installation.onnx_file import checked_copy, wire

    network = folder / NETWORK_FILE
    with step("Checking the ONNX file", say):
        checked_copy(onnx_file, beside, network)
        wiring = wire(network, descriptor)
        own = _own(descriptor, name, wiring, _dimension(descriptor, wiring, network))
        wiring = replace(wiring, batched=wiring.batched and _takes_batches(own, wiring, network))
        own = replace(own, features=asdict(wiring))
    with step("Trying it on speech", say):
        embedder = OnnxEmbedder(own.card(folder.name), network, wiring)
        check_sanity(embedder, trial_voices(), ignores_gain=_ignores_gain(wiring))
    return Record.of(folder, [NETWORK_FILE], sha256=_sha256(network, wiring), own=own)


def _own(descriptor: Descriptor, name: str, wiring: Wiring, dimension: int) -> OwnModel:
    return OwnModel(
        architecture="onnx",
        dimension=dimension,
        sample_rate_hz=descriptor.sample_rate,
        min_speech_s=descriptor.min_speech,
        licence=descriptor.licence,
        source=descriptor.source or name,
        features=asdict(wiring),
    )


def _dimension(descriptor: Descriptor, wiring: Wiring, network: Path) -> int:
    # The card needs the number, and the wrapper a card.
    embedder = OnnxEmbedder(_own(descriptor, "", wiring, 0).card("trial"), network, wiring)
    try:
        found = embedder.embed_batch(embedder.encode(trial_signals()[0])[np.newaxis]).shape[1]
    except Exception as error:
        # onnxruntime has an exception for each status, without a common base.
        raise ModelInstallError(f"The network fails on sound: {reason(error)}") from error
    if found != (descriptor.dimension or found):
        raise ModelInstallError(f"The network gives {found} numbers, not the {descriptor.dimension} of its descriptor.")
    return found


def _takes_batches(own: OwnModel, wiring: Wiring, network: Path) -> bool:
    """Tell whether two windows in one call get the embeddings that each gets alone.

    A traced network may have the batch of its trace built in, although its input has a free axis.
    """
    embedder = OnnxEmbedder(own.card("trial"), network, wiring)
    windows = np.stack([embedder.encode(signal[:32_000]) for signal in trial_signals()[2:4]])
    try:
        together = embedder.embed_batch(windows)
    except Exception:
        return False
    alone = np.concatenate([embedder.embed_batch(window[np.newaxis]) for window in windows])
    return together.shape == alone.shape and np.allclose(together, alone, rtol=1e-3, atol=1e-3 * np.abs(alone).max())


def _ignores_gain(wiring: Wiring) -> bool:
    # A gain adds one number to each band, which the mean takes away.
    return wiring.features != WAVEFORM and wiring.mean == "time"


def _sha256(network: Path, wiring: Wiring) -> str:
    # Other features of the same network give other vectors; how many go in one call does not matter.
    heard = json.dumps(asdict(replace(wiring, batched=False)), sort_keys=True)
    return hashlib.sha256(f"{sha256_of(network)} {heard}".encode()).hexdigest()
