"""Stored form of a calibration: a JSON object, vectors in single precision as base64."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.domain.calibration import NUM_FEATURES, Calibration
from shared.domain.quality import Condition

#: Errors of `calibration_of` for an object that is damaged, or no calibration.
NOT_A_CALIBRATION = (ValueError, TypeError, KeyError, AttributeError)


def stored(calibration: Calibration) -> dict[str, Any]:
    """Return the object that `calibration_of` reads."""
    return {
        "model": calibration.model_id,
        "data": calibration.data,
        "fitted_at": calibration.fitted_at,
        "weights": calibration.weights.tolist(),
        "means": {condition: _text(mean) for condition, mean in calibration.means.items()},
        "nuisance": [_text(row) for row in calibration.nuisance],
    }


def calibration_of(stored: Mapping[str, Any]) -> Calibration:
    """Return the calibration of a stored object; raises one of `NOT_A_CALIBRATION`."""
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
