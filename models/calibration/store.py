"""Calibration files: JSON beside a model's weights, vectors in single precision as base64."""

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.domain.calibration import NUM_FEATURES, Calibration
from shared.domain.errors import ModelInstallError
from shared.domain.quality import Condition

CALIBRATION_FILE = "calibration.json"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Means over the channels, for speakers whom the fit has not heard: enrolled clean, tried through each channel."""

    speakers: int
    #: Recordings that have enough speech.
    recordings: int
    #: Cost of the log-likelihood ratios: 0 is perfect, 1 is that of no information.
    cllr: float
    #: Equal error rate, 0 to 1.
    eer: float
    #: Share of pairs of two speakers whose confidence is at least 90.
    false_accepts_at_90: float


@dataclass(frozen=True, eq=False)
class Fitted:
    """Calibration, and its figures on speakers whom the fit has not heard."""

    calibration: Calibration
    held_out: HeldOut


def write(fitted: Fitted, weights_sha256: str, path: Path) -> None:
    """Store a calibration of the model with these weights; the file appears in one rename."""
    calibration = fitted.calibration
    text = json.dumps(
        {
            "model": calibration.model_id,
            "weights_sha256": weights_sha256,
            "data": calibration.data,
            "fitted_at": calibration.fitted_at,
            "held_out": asdict(fitted.held_out),
            "weights": [round(weight, 4) for weight in calibration.weights.tolist()],
            "means": {condition: _text(mean) for condition, mean in calibration.means.items()},
            "nuisance": [_text(row) for row in calibration.nuisance],
        },
        indent=1,
    )
    write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Write text and a line break to a file that appears in one rename, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(text + "\n")
    unfinished.rename(path)


def read(path: Path, model_id: str, weights_sha256: str | None) -> Calibration | None:
    """Return the calibration of a file; None without a file, or if it is of another model or other weights.

    Raises
    ------
    ModelInstallError
        The file is damaged.
    """
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        its = (stored["model"], stored["weights_sha256"]) == (model_id, weights_sha256)
        return _calibration(stored) if its else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        raise ModelInstallError(
            f"The calibration {path} is damaged: delete it, and calibrate the model again."
        ) from error


def _calibration(stored: dict[str, Any]) -> Calibration:
    means = {condition.value: _vector(stored["means"][condition.value]) for condition in Condition}
    dimension = len(means[Condition.CLEAN.value])
    calibration = Calibration(
        model_id=stored["model"],
        data=stored["data"],
        fitted_at=stored["fitted_at"],
        weights=np.array(stored["weights"], np.float64),
        means=means,
        nuisance=np.array([_vector(text) for text in stored["nuisance"]], np.float32).reshape(-1, dimension),
    )
    arrays: list[NDArray[Any]] = [calibration.weights, calibration.nuisance, *means.values()]
    sizes = {len(mean) for mean in means.values()}
    if calibration.weights.shape != (NUM_FEATURES,) or sizes != {dimension}:
        raise ValueError("vectors of another length")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("not a finite number")
    return calibration


def _text(vector: NDArray[np.floating]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _vector(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
