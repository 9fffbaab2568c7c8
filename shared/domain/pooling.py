"""Pooling: make the voiceprint of an enrolment from its samples, and find samples of another voice.

The pooled vector is the mean of the samples' vectors, weighted by their seconds of speech. Measured with the bundled
model on LibriSpeech, each person enrolled with two recordings of some 3 s (126 people) or 8 s (5 people):

- The mean does better than the better one of two voiceprints: Cllr 0.033 against 0.059.
- One clean and one telephone recording: the pooled voiceprint is a telephone's if most of its speech is. With "any" the
  Cllr was 0.007 for clean probes and 0.063 for telephone probes of the five, with "most" it is 0.010 and 0.022. Of the
  126 both do alike, 0.090 and 0.093 in sum. "All" is worst.
- To pool vectors that are compensated by condition gives 0.010 and 0.015 there, and elsewhere the same as this mean. It
  would tie voiceprints to a calibration.

A sample is compared with the mean of the others. The one that is most unlike is taken out if it is below the limit, and
the others are compared anew. So a foreign voice does not make the right ones look foreign: with three samples of which
one is foreign, right ones are warned of too in 0 to 8 %, in place of 40 to 80 %. `python -m tests.eval.searching` drew
sets of 2, 3 and 5 recordings of 3 s and more, all clean, all by telephone, or mixed:

======================================  =============  ==========
of the sets, in %                       warned of      refused
======================================  =============  ==========
one voice, LibriSpeech                  0 to 7         0 to 0.8
a foreign voice among them              95 to 100      67 to 100
a foreign voice, spoken digits, 8 kHz   50 to 92       8 to 50
======================================  =============  ==========

Acted emotions are another matter: where they differed between the samples, 25 to 45 % of the right people were warned
of, and up to 13 % refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shared.domain.calibration import Calibration, confidence
from shared.domain.errors import InvalidVoiceprint
from shared.domain.quality import Capture
from shared.domain.voiceprints import Voiceprint

#: A sample below this confidence to be the voice of the others is warned of.
WARNED_BELOW = 50
#: Below this it is refused. At 5 some 84 % of foreign voices were refused in place of 75 %, but twice as many right
#: ones.
REFUSED_BELOW = 2
#: Norm of a mean below which the vectors point in all directions; those of real voices never do.
_LEAST_NORM = 1e-3
#: Most seconds of a pool, 11 days. A string that clients made up may name more than a float32 can add up.
_MOST_SPEECH_S = 1e6
_CANCELED = "The samples' voiceprints cancel each other out; make them anew from recordings."


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """Sample whose voice is unlike that of the others."""

    #: Position among the samples.
    index: int
    #: Confidence, 0 to 100, that it is the voice of the others.
    confidence: int
    #: Cosine to the voiceprint of the others, -1 to 1.
    score: float

    @property
    def refused(self) -> bool:
        """Refusal of an enrolment that has it, since it is too unlike."""
        return self.confidence < REFUSED_BELOW


def pool(parts: Sequence[Voiceprint]) -> Voiceprint:
    """Return the voiceprint of an enrolment from those of its samples, one at least.

    Raises
    ------
    InvalidVoiceprint
        The samples' voiceprints were made by different models, or cancel each other out.
    """
    return _pooled(parts, [part.capture.net_speech_s for part in parts])


def _pooled(parts: Sequence[Voiceprint], weights: Sequence[float]) -> Voiceprint:
    for part in parts:
        parts[0].require_same_model(part)
    shares = np.array(weights) / sum(weights)
    mean = shares @ np.stack([part.vector for part in parts])
    norm = float(np.linalg.norm(mean))
    if norm < _LEAST_NORM:
        raise InvalidVoiceprint(_CANCELED)
    capture = Capture(
        net_speech_s=min(_MOST_SPEECH_S, sum(part.capture.net_speech_s for part in parts)),
        snr_db=float(shares @ [part.capture.snr_db for part in parts]),
        narrowband=bool(shares @ [part.capture.narrowband for part in parts] > 0.5),
    )
    return Voiceprint(parts[0].model_id, (mean / norm).astype(np.float32), capture)


def outliers(parts: Sequence[Voiceprint], calibration: Calibration | None) -> list[Outlier]:
    """Return the samples whose voice is unlike that of the others, in their order.

    Of two that are unlike each other both are returned, since either may be the foreign one. Without calibration there
    are none: cosines of a model have no scale then.

    Raises
    ------
    InvalidVoiceprint
        The samples' voiceprints were made by different models, or cancel each other out.
    """
    if calibration is None:
        return []
    left = dict(enumerate(parts))
    found: list[Outlier] = []
    while len(left) > 1:
        unlike = _most_unlike(left, calibration)
        if unlike.confidence >= WARNED_BELOW:
            break
        pair = [unlike] if len(left) > 2 else [replace(unlike, index=index) for index in left]
        found += pair
        for one in pair:
            del left[one.index]
    return sorted(found, key=lambda one: one.index)


def _most_unlike(parts: dict[int, Voiceprint], calibration: Calibration) -> Outlier:
    """Return the sample that is most unlike the others; these count alike, lest a long foreign one outweigh them."""
    pools = dict(zip(parts, _pools_of_others([*parts.values()]), strict=True))
    llrs = {index: calibration.llr(part, pools[index]) for index, part in parts.items()}
    index = min(llrs, key=llrs.__getitem__)
    return Outlier(index=index, confidence=confidence(llrs[index]), score=parts[index].score(pools[index]))


def _pools_of_others(parts: Sequence[Voiceprint]) -> Iterator[Voiceprint]:
    """Yield for each part the pool of all others, which count alike.

    It takes a time that grows with their number: a transaction waits for it.
    """
    for part in parts:
        parts[0].require_same_model(part)
    captures = [part.capture for part in parts]
    known = np.array([[one.net_speech_s, one.snr_db, one.narrowband] for one in captures], dtype=float)
    vectors = np.stack([part.vector for part in parts]).astype(float)
    means = (vectors.sum(0) - vectors) / (len(parts) - 1)
    sums = known.sum(0) - known
    # Of made-up seconds the differences may be nothing, or less.
    sums[:, 0] = np.maximum(sums[:, 0], known[:, 0].min())
    for mean, (speech_s, snr_db, narrow) in zip(means, sums, strict=True):
        norm = float(np.linalg.norm(mean))
        if norm < _LEAST_NORM:
            raise InvalidVoiceprint(_CANCELED)
        capture = Capture(
            net_speech_s=min(_MOST_SPEECH_S, float(speech_s)),
            snr_db=float(snr_db / (len(parts) - 1)),
            narrowband=bool(narrow / (len(parts) - 1) > 0.5),
        )
        yield Voiceprint(parts[0].model_id, (mean / norm).astype(np.float32), capture)
