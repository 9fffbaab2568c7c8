"""Registry of the neural networks: list them, find the installed ones, load one.

A model is installed as a folder of its own inside the weights folder: its networks, `encoder.onnx` and `decoder.onnx`
say, and `record.json`. The folder appears in one rename, so it is always complete. The record of a model that the
manifest does not know holds its card, too.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from models.calibration import store
from models.features import NemoMel
from models.ge2e import Ge2e
from models.onnx_embedder import NETWORK_FILE, OnnxEmbedder, Wiring
from models.titanet import TitaNet
from models.tuned import with_tuned
from shared.domain.calibration import Calibration
from shared.domain.errors import ModelInstallError
from shared.domain.models import ClusteringThresholds, ListedCalibration, ListedModel, ModelCard
from shared.networks import Embedder

_HERE = Path(__file__).parent
#: Default folder of installed models.
WEIGHTS_DIR = _HERE / "weights"
RECORD_FILE = "record.json"
MANIFEST = _HERE / "manifest.toml"
_GE2E_FILE = _HERE / "bundled" / "ge2e.onnx"
_GE2E_CALIBRATION = _HERE / "bundled" / "ge2e.calibration.json"
#: Model of the manifest whose thresholds of clustering own models have: nobody tuned them, nor are they tuned for it.
_UNTUNED = "titanet_large"


@dataclass(frozen=True)
class Entry:
    """A table of the manifest: the card, and the sha256 of the file at its source if that is pinned."""

    card: ModelCard
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """Facts about a user's own model, which no manifest knows: its card, and how its features are computed."""

    #: `nemo_speaker` or `onnx`.
    architecture: str
    dimension: int
    sample_rate_hz: int
    min_speech_s: float
    licence: str
    source: str
    #: Fields of `NemoMel`, or of `Wiring`.
    features: Mapping[str, Any]

    def card(self, handle: str) -> ModelCard:
        """Return the model's card, before its revision names its weights."""
        facts = {name: value for name, value in vars(self).items() if name != "features"}
        return ModelCard(handle=handle, revision="1", clustering=entry(_UNTUNED).card.clustering, **facts)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Facts about an installed model, stored beside its files."""

    #: sha256 of the .nemo file that the model was made from; of an ONNX file, together with how it is wired.
    sha256: str
    #: sha256 of each file that was made, by name.
    files: Mapping[str, str]
    #: Time of the installation, ISO 8601, UTC.
    installed_at: str
    #: None of an ONNX file, as is the next.
    nemo_version: str | None = None
    #: Largest difference to NeMo over the trial signals: 1 - cosine, or that of a log probability.
    parity: float | None = None
    #: None of a model that a manifest knows.
    own: OwnModel | None = None

    @classmethod
    def of(cls, folder: Path, names: Sequence[str], **facts: Any) -> "Record":
        """Return the record of the files of these names in a folder, installed now."""
        files = {name: sha256_of(folder / name) for name in names}
        return cls(files=files, installed_at=datetime.now(UTC).isoformat(timespec="seconds"), **facts)

    def write(self, folder: Path) -> None:
        """Store the record in a model's folder."""
        (folder / RECORD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    def require_types(self) -> None:
        """Refuse values that a damaged or edited file has in place of names and numbers; raises TypeError."""
        texts: list[object] = [self.sha256, self.installed_at]
        tables: list[object] = [self.files]
        numbers: list[object] = []
        if self.own:
            texts += [self.own.architecture, self.own.licence, self.own.source]
            tables += [self.own.features]
            numbers += [self.own.dimension, self.own.sample_rate_hz, self.own.min_speech_s]
        kinds = [*product(texts, [str]), *product(tables, [dict]), *product(numbers, [int | float])]
        if not all(isinstance(value, kind) for value, kind in kinds):
            raise TypeError("a value of another type")

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Read the record of a model's folder; raises ModelInstallError if it cannot be parsed."""
        try:
            stored = json.loads((folder / RECORD_FILE).read_text())
            own = stored.pop("own", None)
            record = cls(**stored, own=OwnModel(**own) if own else None)
            record.require_types()
            return record
        except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
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
    """Return the cards of the models that can be loaded, in order of preference; damaged ones are left out.

    Own models are behind those of the manifest, the oldest first. So a model that somebody tries out does not become
    the default. The revision of an installed model ends in eight digits of its file's sha256. Other weights under the
    same name give other vectors.
    """
    return [found for found in _found(weights_dir) if isinstance(found, ModelCard)]


def faults(weights_dir: Path = WEIGHTS_DIR) -> list[ModelInstallError]:
    """Return what is wrong with the installed models that are damaged, so that they cannot be loaded."""
    return [found for found in _found(weights_dir) if isinstance(found, ModelInstallError)]


def _found(weights_dir: Path) -> Iterator[ModelCard | ModelInstallError]:
    known = [one.card.handle for one in manifest().values() if _is_there(one.card, weights_dir)]
    for handle in [*known, *_own_handles(weights_dir)]:
        try:
            yield installed_card(handle, weights_dir)
        except ModelInstallError as error:
            yield error


def _own_handles(weights_dir: Path) -> list[str]:
    """Return the names of own models, the oldest first; those whose record is damaged are behind the others."""
    times = {}
    for folder in {path.parent for path in weights_dir.glob(f"[!.]*/{RECORD_FILE}")}:
        try:
            record = Record.read(folder)
        except ModelInstallError:
            times[folder.name] = (True, "")
        else:
            times |= {folder.name: (False, record.installed_at)} if record.own else {}
    return sorted(times.keys() - manifest().keys(), key=lambda handle: (times[handle], handle))


def listed(weights_dir: Path = WEIGHTS_DIR, chosen: str | None = None) -> list[ListedModel]:
    """Return the models of the manifest and own ones, as clients see them; jobs use `chosen`, or the preferred one."""
    there = {card.handle: card for card in installed(weights_dir)}
    default = chosen or next(iter(there))
    known = {handle: one.card for handle, one in manifest().items()}
    return [_listed(card, card.handle in there, card.handle == default) for card in (known | there).values()]


def calibrations(weights_dir: Path = WEIGHTS_DIR) -> list[Calibration]:
    """Return the calibrations of the models that are installed."""
    return [card.calibration for card in installed(weights_dir) if card.calibration]


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
        calibration=_listed_calibration(card),
        default=is_default,
    )


def _listed_calibration(card: ModelCard) -> ListedCalibration | None:
    found = card.calibration
    return ListedCalibration(data=found.data, fitted_at=found.fitted_at) if found else None


def untuned(card: ModelCard) -> ClusteringThresholds:
    """Return the thresholds that a model has without `make tune`; own models have those of TitaNet."""
    known = manifest()
    return known.get(card.handle, known[_UNTUNED]).card.clustering


def default_card(weights_dir: Path = WEIGHTS_DIR) -> ModelCard:
    """Return the card of the preferred model among those installed.

    A damaged one is not passed over, for voiceprints of the next would be others; raises ModelInstallError.
    """
    first = next(one.card for one in manifest().values() if _is_there(one.card, weights_dir))
    return installed_card(first.handle, weights_dir)


def installed_card(handle: str, weights_dir: Path = WEIGHTS_DIR) -> ModelCard:
    """Return the card of an installed model; raises ModelInstallError when unknown, not installed or damaged."""
    known = manifest()
    own = [] if handle in known else _own_handles(weights_dir)
    if handle in own and (its := Record.read(weights_dir / handle).own):
        return _as_installed(its.card(handle), weights_dir)
    if handle not in known:
        raise ModelInstallError(f"There is no model {handle!r}; the models are {', '.join([*known, *own])}.")
    card = known[handle].card
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
    folder = weights_dir / current.handle
    own = Record.read(folder).own
    if own is None:
        return TitaNet(current, folder, threads, device)
    return open_own(current, own, folder, threads, device)


def open_own(card: ModelCard, own: OwnModel, folder: Path, threads: int = 1, device: str = "cpu") -> Embedder:
    """Open the networks in the folder of an own model; raises ModelInstallError if its record is damaged."""
    try:
        if card.architecture == "onnx":
            return OnnxEmbedder(card, folder / NETWORK_FILE, Wiring(**own.features), threads, device)
        return TitaNet(card, folder, threads, device, NemoMel(**own.features))
    except TypeError as error:
        raise ModelInstallError(_damaged(folder.name, RECORD_FILE)) from error


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


def calibration_file(card: ModelCard, weights_dir: Path = WEIGHTS_DIR) -> Path:
    """Return the path of the calibration that was fitted on this machine; the bundled model has another one, too."""
    return weights_dir / card.handle / store.CALIBRATION_FILE


def weights_sha256(card: ModelCard, weights_dir: Path = WEIGHTS_DIR) -> str:
    """Return the sha256 of an installed model's weights; raises ModelInstallError if its record is damaged."""
    pinned = entry(card.handle).sha256 if is_bundled(card) else None
    return pinned or Record.read(weights_dir / card.handle).sha256


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
    return Entry(ModelCard(handle=handle, clustering=ClusteringThresholds(**clustering), **table), sha256)


def _is_there(card: ModelCard, weights_dir: Path) -> bool:
    return is_bundled(card) or (weights_dir / card.handle / RECORD_FILE).exists()


def _as_installed(card: ModelCard, weights_dir: Path) -> ModelCard:
    sha256 = weights_sha256(card, weights_dir)
    its = card if is_bundled(card) else replace(card, revision=f"{card.revision}.{sha256[:8]}")
    found = store.read(calibration_file(card, weights_dir), its.model_id, sha256)
    if found is None and is_bundled(card):
        found = store.read(_GE2E_CALIBRATION, its.model_id, sha256)
    return with_tuned(replace(its, fitted=found), weights_dir)


def _check(path: Path, sha256: str | None, handle: str) -> None:
    if not path.exists() or sha256_of(path) != sha256:
        raise ModelInstallError(_damaged(handle, path.name))


def _damaged(handle: str, name: str) -> str:
    again = f"install it again: `make models MODEL={handle}`, with its FROM if it is a model of your own"
    return f"{name} of the model {handle} is damaged or missing; {again}."
