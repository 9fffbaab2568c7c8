"""Registry of the neural networks: list them, find the installed ones, load one.

A NeMo model is installed as a folder of its own inside the weights folder: `encoder.onnx`, `decoder.onnx` and
`record.json`. The folder appears in one rename, so it is always complete.
"""

import base64
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.ge2e import Ge2e
from models.titanet import TitaNet
from shared.domain.calibration import Calibration
from shared.domain.errors import ModelInstallError
from shared.domain.models import ClusteringThresholds, ListedModel, ModelCard
from shared.networks import Embedder

_HERE = Path(__file__).parent
#: Default folder of installed models.
WEIGHTS_DIR = _HERE / "weights"
RECORD_FILE = "record.json"
MANIFEST = _HERE / "manifest.toml"
_GE2E_FILE = _HERE / "bundled" / "ge2e.onnx"


@dataclass(frozen=True)
class Entry:
    """A table of the manifest: the card, and the sha256 of the file at its source if that is pinned."""

    card: ModelCard
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """Facts about an installed model, stored beside its files."""

    #: sha256 of the .nemo file that the model was made from.
    sha256: str
    #: sha256 of each file that was made, by name.
    files: Mapping[str, str]
    nemo_version: str
    #: Largest difference to NeMo over the trial signals: 1 - cosine, or that of a log probability.
    parity: float
    #: Time of the installation, ISO 8601, UTC.
    installed_at: str

    def write(self, folder: Path) -> None:
        """Store the record in a model's folder."""
        (folder / RECORD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Read the record of a model's folder; raises ModelInstallError if it cannot be parsed."""
        try:
            return cls(**json.loads((folder / RECORD_FILE).read_text()))
        except (ValueError, TypeError) as error:
            raise ModelInstallError(_damaged(folder.name, RECORD_FILE)) from error


def manifest() -> dict[str, Entry]:
    """Return the manifest's entries by handle, in order of preference."""
    tables = tomllib.loads(MANIFEST.read_text())
    return {handle: _entry(handle, table) for handle, table in tables.items()}


def entry(handle: str) -> Entry:
    """Return the manifest's entry of that name; raises ModelInstallError when there is none."""
    entries = manifest()
    if handle not in entries:
        raise ModelInstallError(f"There is no model {handle!r}; the models are {', '.join(entries)}.")
    return entries[handle]


def installed(weights_dir: Path = WEIGHTS_DIR) -> list[ModelCard]:
    """Return the cards of the models that can be loaded, in order of preference.

    The revision of an installed NeMo model ends in eight digits of its file's sha256. Other weights under the same name
    give other vectors.
    """
    return [
        _as_installed(known.card, weights_dir) for known in manifest().values() if _is_there(known.card, weights_dir)
    ]


def listed(weights_dir: Path = WEIGHTS_DIR, chosen: str | None = None) -> list[ListedModel]:
    """Return all models of the manifest, as clients see them; jobs use `chosen`, or the preferred one."""
    there = {card.handle: card for card in installed(weights_dir)}
    default = chosen or next(iter(there))
    return [
        _listed(there.get(handle, known.card), handle in there, handle == default)
        for handle, known in manifest().items()
    ]


def _listed(card: ModelCard, is_installed: bool, is_default: bool) -> ListedModel:
    return ListedModel(
        handle=card.handle,
        version=card.revision if is_installed else None,
        dimension=card.dimension,
        sample_rate_hz=card.sample_rate_hz,
        min_speech_s=card.min_speech_s,
        licence=card.licence,
        installed=is_installed,
        calibrated=card.calibration is not None,
        default=is_default,
    )


def default_card(weights_dir: Path = WEIGHTS_DIR) -> ModelCard:
    """Return the card of the preferred model among those installed."""
    return installed(weights_dir)[0]


def installed_card(handle: str, weights_dir: Path = WEIGHTS_DIR) -> ModelCard:
    """Return the card of the installed model of that name; raises ModelInstallError when unknown or not installed."""
    card = entry(handle).card
    if not _is_there(card, weights_dir):
        raise ModelInstallError(f"The model {handle} is not installed; run `make models MODEL={handle}`.")
    return _as_installed(card, weights_dir)


def load(card: ModelCard, weights_dir: Path = WEIGHTS_DIR, *, threads: int = 1, device: str = "cpu") -> Embedder:
    """Open the network of `card`, computing with `threads` threads on `device`, "cpu" or "cuda".

    The embedder's own card is that of the installed model.

    Raises
    ------
    ModelInstallError
        The model is unknown, not installed, or its files are not those once installed.
    """
    verify(card, weights_dir)
    current = installed_card(card.handle, weights_dir)
    if is_bundled(current):
        return Ge2e(current, _GE2E_FILE, threads, device)
    return TitaNet(current, weights_dir / current.handle, threads, device)


def verify(card: ModelCard, weights_dir: Path = WEIGHTS_DIR) -> None:
    """Check that the model is installed and its files are those once installed; raises ModelInstallError."""
    current = installed_card(card.handle, weights_dir)
    if is_bundled(current):
        _check(_GE2E_FILE, entry(current.handle).sha256, current.handle)
        return
    check_installed(weights_dir / current.handle)


def check_installed(folder: Path) -> None:
    """Check that the files of an installed model's folder are those of its record; raises ModelInstallError."""
    for name, sha256 in Record.read(folder).files.items():
        _check(folder / name, sha256, folder.name)


def is_bundled(card: ModelCard) -> bool:
    """Return whether the model is part of the repository, so that it needs no installation."""
    return card.architecture == "ge2e"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(handle: str, table: dict[str, Any]) -> Entry:
    sha256 = table.pop("sha256", None)
    clustering = table.pop("clustering")
    clustering["windows_s"] = tuple(clustering["windows_s"])
    fitted = _calibration(table.pop("calibration", None))
    return Entry(
        ModelCard(handle=handle, clustering=ClusteringThresholds(**clustering), fitted=fitted, **table), sha256
    )


def _calibration(table: dict[str, Any] | None) -> Calibration | None:
    # The manifest stores vectors in half precision, which is enough for a mean of many vectors.
    if table is None:
        return None
    return Calibration(
        model_id=table["model"],
        data=table["data"],
        weights=np.array(table["weights"]),
        means={condition: _vector(text) for condition, text in table["means"].items()},
        nuisance=np.stack([_vector(text) for text in table["nuisance"]]),
    )


def _vector(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)


def _is_there(card: ModelCard, weights_dir: Path) -> bool:
    return is_bundled(card) or (weights_dir / card.handle / RECORD_FILE).exists()


def _as_installed(card: ModelCard, weights_dir: Path) -> ModelCard:
    if is_bundled(card):
        return card
    digits = Record.read(weights_dir / card.handle).sha256[:8]
    return replace(card, revision=f"{card.revision}.{digits}")


def _check(path: Path, sha256: str | None, handle: str) -> None:
    if not path.exists() or sha256_of(path) != sha256:
        raise ModelInstallError(_damaged(handle, path.name))


def _damaged(handle: str, name: str) -> str:
    return f"{name} of the model {handle} is damaged or missing; install it again: `make models MODEL={handle}`."
