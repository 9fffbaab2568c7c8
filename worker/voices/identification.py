"""Identification: compare the speakers of a diarized recording with the voiceprints given."""

from collections.abc import Mapping
from types import MappingProxyType

from shared.domain.calibration import Calibration
from shared.domain.errors import NotCalibrated
from shared.domain.results import Identification, RecordingDiarization
from shared.domain.verification import compare
from shared.domain.voiceprints import Voiceprint
from worker.voices.matching import match


def identify(
    recording: RecordingDiarization,
    voiceprints: Mapping[str, Voiceprint],
    calibration: Calibration | None,
    *,
    exclusive: bool,
    threshold: float,
    discounts: Mapping[str, float] = MappingProxyType({}),
) -> Identification:
    """Name the speakers of `recording` by the labels of `voiceprints`; it must hold its speakers' voiceprints.

    Parameters
    ----------
    discounts : what log-likelihood ratios lose, by label: of a person who was found among N others, ln N. Confidences
        then hold for all N, see `shared/domain/search.py`.

    Raises
    ------
    InvalidVoiceprint
    """
    comparisons = {
        speaker: {
            label: compare(voice, voiceprint, calibration).less(discounts.get(label, 0.0))
            for label, voiceprint in voiceprints.items()
        }
        for speaker, voice in recording.voices.items()
    }
    matches = match(comparisons, exclusive=exclusive, threshold=threshold)
    return Identification.of(recording, comparisons, matches, calibrated=calibration is not None)


def require_calibration(calibration: Calibration | None, threshold: float) -> None:
    """Refuse a threshold above 0 for a model without calibration, before any work is done.

    Raises
    ------
    NotCalibrated
    """
    if threshold > 0 and calibration is None:
        raise NotCalibrated(
            "The model that runs has no calibration, so no confidence can be asked for; send threshold 0."
        )
