"""Voiceprints to calibrate on: both halves of each recording, heard through several channels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from models.calibration.channels import through
from models.calibration.corpus import Recording, read_samples
from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Segment, Waveform, total_s
from shared.domain.errors import CalibrationError
from shared.domain.quality import measure
from shared.domain.voiceprints import Voiceprint
from shared.networks import Embedder, SpeechDetector
from shared.sound.level import evened

#: Channels to fit on, clean first. Two levels of noise also cover those between and beyond; more would lower the weight
#: of the telephone.
FITTED = ("clean", "telephone", "noise 15 dB", "noise 5 dB")
#: Length of speech in a condition that takes all of it.
WHOLE_S = np.inf
#: Lengths of speech of each half, in seconds.
_LIMITS_S = (WHOLE_S, 3.0)
#: Channel and length of speech.
Variant = tuple[str, float]
VARIANTS: tuple[Variant, ...] = tuple(product(FITTED, _LIMITS_S))
#: Least speech of a recording that is cut in halves, in seconds.
LEAST_S = 6.0
#: Least speech that is embedded.
_LEAST_HEARD_S = 0.5

Half = dict[Variant, Voiceprint]


@dataclass(frozen=True, eq=False)
class Halves:
    """Voiceprints of the two halves of a recording; variants with too little speech are left out."""

    speaker: str
    enrolled: Half
    tried: Half


def hear_halves(
    recording: Recording, vad: SpeechDetector, embedder: Embedder, channels: Sequence[str] = FITTED
) -> Halves | None:
    """Embed both halves of a recording through each channel; None if there is too little speech.

    Raises
    ------
    CalibrationError
        The file cannot be decoded, or the model gives no usable vector.
    """
    samples = read_samples(recording.path)
    speech = vad.speech_segments(through("clean", samples).samples)
    if total_s(speech) < LEAST_S:
        return None
    middle = round(first(speech, total_s(speech) / 2)[-1].end_s * SAMPLE_RATE_HZ)
    parts = (samples[:middle], samples[middle:])
    enrolled, tried = (dict(_variants(part, vad, embedder, channels)) for part in parts)
    return Halves(recording.speaker, enrolled, tried)


def _variants(
    samples: Samples, vad: SpeechDetector, embedder: Embedder, channels: Sequence[str]
) -> Iterator[tuple[Variant, Voiceprint]]:
    for channel in channels:
        waveform = through(channel, samples)
        speech = vad.speech_segments(waveform.samples)
        for limit_s in _LIMITS_S:
            if found := hear(waveform, first(speech, limit_s), embedder):
                yield (channel, limit_s), found


def hear(waveform: Waveform, speech: list[Segment], embedder: Embedder) -> Voiceprint | None:
    """Embed a single speaker's `speech`; None if there is too little of it.

    Raises
    ------
    CalibrationError
        The model gives no usable vector.
    """
    if total_s(speech) < _LEAST_HEARD_S:
        return None
    # Any speech beyond these segments would count as noise.
    waveform = Waveform(waveform.samples[: round(speech[-1].end_s * waveform.sample_rate_hz)], waveform.sample_rate_hz)
    vector = embedder.embed(evened(waveform.join(speech)))
    # Not-a-number fails every comparison.
    if not abs(np.linalg.norm(vector) - 1.0) < 1e-3:
        raise CalibrationError(f"{embedder.card.model_id} gives vectors whose length is not 1; convert the model anew.")
    return Voiceprint(embedder.card.model_id, vector, measure(waveform, speech, speech))


def first(speech: list[Segment], most_s: float) -> list[Segment]:
    """Return the first `most_s` seconds of speech."""
    kept: list[Segment] = []
    for segment in speech:
        left_s = most_s - total_s(kept)
        if left_s <= 0:
            break
        kept.append(Segment(segment.start_s, min(segment.end_s, segment.start_s + left_s)))
    return kept
