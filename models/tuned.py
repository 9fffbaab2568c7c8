"""Tuned thresholds of diarization: JSON beside a model's weights, written by `make tune`.

They count for the weights that they were tuned with, and for no others. A threshold that the file does not name stays
that of the manifest.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from models.calibration.store import write_whole
from shared.domain.errors import ModelInstallError
from shared.domain.models import ClusteringThresholds, ModelCard

TUNED_FILE = "clustering.json"
#: Thresholds that a file may name; the windows belong to the network, and whole numbers are limits.
TUNABLE = frozenset(field.name for field in fields(ClusteringThresholds) if field.type in (float, "float"))


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Thresholds that were tuned on a user's own conversations, and what that brought."""

    #: Id of the model whose embeddings were clustered: `titanet_large@1.0123abcd`.
    model: str
    #: Name and size of the data.
    data: str
    #: ISO 8601, UTC.
    tuned_at: str
    #: Diarization error rates in %, on conversations that were held out, with the manifest's thresholds and with these.
    der_before: float
    der_after: float
    thresholds: Mapping[str, float]


def tuned_file(card: ModelCard, weights_dir: Path) -> Path:
    """Return the path of the thresholds that were tuned on this machine; the bundled model may have one, too."""
    return weights_dir / card.handle / TUNED_FILE


def write(tuned: Tuned, path: Path) -> None:
    """Store tuned thresholds; the file appears in one rename."""
    write_whole(path, json.dumps(asdict(tuned), indent=2))


def read(path: Path) -> Tuned | None:
    """Return the thresholds of a file, None if there is no such file; raises ModelInstallError if it is damaged."""
    if not path.exists():
        return None
    try:
        tuned = Tuned(**json.loads(path.read_text()))
        if not _is_sound(tuned.thresholds):
            raise ValueError("not a finite number for each threshold")
        return tuned
    except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise ModelInstallError(
            f"The tuned thresholds {path} are damaged: delete the file, and run `make tune` again if you like."
        ) from error


def _is_sound(thresholds: Mapping[str, object]) -> bool:
    numbers = [value for value in thresholds.values() if isinstance(value, int | float) and math.isfinite(value)]
    return set(thresholds) <= TUNABLE and len(numbers) == len(thresholds)


def with_tuned(card: ModelCard, weights_dir: Path) -> ModelCard:
    """Return an installed model's card with the thresholds that were tuned for it, if any."""
    tuned = read(tuned_file(card, weights_dir))
    if tuned is None or tuned.model != card.model_id:
        return card
    thresholds: dict[str, Any] = dict(tuned.thresholds)
    return replace(card, clustering=replace(card.clustering, **thresholds))
