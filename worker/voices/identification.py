"""Identification: compare the speakers of a diarized recording with the people who may be heard, and name them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.domain.calibration import Calibration
from shared.domain.errors import NotCalibrated
from shared.domain.naming import Likeness, joined, likenesses, log_weight
from shared.domain.results import Identification, RecordingDiarization
from shared.domain.verification import Comparison, compare
from shared.domain.voiceprints import Voiceprint
from worker.voices.matching import match


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """People whom an identification may name, by label, each with one or more voiceprints."""

    #: Those whom the request names.
    given: Mapping[str, Sequence[Voiceprint]] = field(repr=False)
    #: Those who were found in a space.
    found: Mapping[str, Sequence[Voiceprint]] = field(default_factory=dict, repr=False)
    #: `log_weight` of all people of that space, found or not, by speaker; empty without a space or a calibration.
    weights: Mapping[str, float] = field(default_factory=dict)

    def likenesses(self, speaker: str, voice: Voiceprint, calibration: Calibration | None) -> dict[str, Likeness]:
        """Return the likeness of a speaker's voice to each person, by their best voiceprint.

        A label that is given and found is one person.

        Raises
        ------
        InvalidVoiceprint
        """
        found = _compared(voice, self.found, calibration)
        given = _compared(voice, self.given, calibration)
        best = found | {label: max(one, found.get(label, one), key=_value) for label, one in given.items()}
        llrs = [one.llr for label, one in given.items() if label not in found and one.llr is not None]
        # The weight of the space has the voiceprints that were found, and lacks what is gained by better ones.
        gains = [_gain(best[label].llr, one.llr) for label, one in found.items()]
        weights = [self.weights[speaker], *gains] if speaker in self.weights else []
        return likenesses(best, joined([*weights, log_weight(llrs, len(given.keys() - found.keys()))]))


def identify(
    recording: RecordingDiarization,
    people: People,
    calibration: Calibration | None,
    *,
    exclusive: bool,
    threshold: float,
) -> Identification:
    """Name the speakers of `recording` by the labels of `people`; it must hold its speakers' voiceprints.

    Raises
    ------
    InvalidVoiceprint
    """
    found = {speaker: people.likenesses(speaker, voice, calibration) for speaker, voice in recording.voices.items()}
    matches = match(found, exclusive=exclusive, threshold=threshold)
    return Identification.of(recording, found, matches, calibrated=calibration is not None)


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


def _compared(
    voice: Voiceprint, people: Mapping[str, Sequence[Voiceprint]], calibration: Calibration | None
) -> dict[str, Comparison]:
    """Return the comparison of a voice with the best voiceprint of each person."""
    return {
        label: max((compare(voice, voiceprint, calibration) for voiceprint in own), key=_value)
        for label, own in people.items()
    }


def _value(comparison: Comparison) -> float:
    """Return the number by which the best voiceprint is found."""
    return comparison.score if comparison.llr is None else comparison.llr


def _gain(best: float | None, llr: float | None) -> float:
    """Return ln(LR of the best voiceprint - LR of another); -inf where they are equal."""
    return -math.inf if best is None or llr is None or best <= llr else best + math.log(-math.expm1(llr - best))
