"""Calibration files: JSON beside a model's weights."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.domain.calibration import Calibration
from shared.domain.errors import ModelInstallError
from shared.domain.stored_calibrations import NOT_A_CALIBRATION, calibration_of, stored

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
    facts = {"weights_sha256": weights_sha256, "held_out": asdict(fitted.held_out)}
    rounded = {"weights": [round(weight, 4) for weight in calibration.weights.tolist()]}
    write_whole(path, json.dumps(facts | stored(calibration) | rounded, indent=1))


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
        found = json.loads(path.read_text())
        its = (found["model"], found["weights_sha256"]) == (model_id, weights_sha256)
        return calibration_of(found) if its else None
    except (*NOT_A_CALIBRATION, RecursionError, OSError) as error:
        raise ModelInstallError(
            f"The calibration {path} is damaged: delete it, and calibrate the model again."
        ) from error
