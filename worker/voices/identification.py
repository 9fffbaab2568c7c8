"""Identification: the speakers of a diarized recording against the voiceprints given."""

from collections.abc import Mapping

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
) -> Identification:
    """Name the speakers of `recording`, which was diarized with their voices, by the labels of `voiceprints`.

    Raises
    ------
    InvalidVoiceprint
    """
    comparisons = {
        speaker: {label: compare(voice, voiceprint, calibration) for label, voiceprint in voiceprints.items()}
        for speaker, voice in recording.voices.items()
    }
    matches = match(comparisons, exclusive=exclusive, threshold=threshold)
    return Identification.of(recording, comparisons, matches, calibrated=calibration is not None)


def require_calibration(calibration: Calibration | None, threshold: float) -> None:
    """Refuse a least confidence where there is none, before any work is done.

    Raises
    ------
    NotCalibrated
    """
    if threshold > 0 and calibration is None:
        raise NotCalibrated(
            "The model that runs has no calibration, so no confidence can be asked for; send threshold 0."
        )
