"""Sanity checks of a speaker network for which there is no reference: it hears speech, and must tell people apart.

They find a wrong input, a wrong order of axes and a network that is none for speakers. They cannot find features that
are a little wrong. The calibration that follows an installation shows how well the network does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from models.calibration.corpus import read_corpus, read_samples
from models.features import FRAME_RATE_HZ
from models.onnx_embedder import LEAST_FRAMES
from models.runtime import reason
from shared.domain.audio import SAMPLE_RATE_HZ, Samples
from shared.domain.errors import ModelInstallError
from shared.networks import Embedder

#: People of the corpus whose recordings are tried.
_PEOPLE = 8
_LONG_S = 8.0
#: Lengths of sound that a network must take, in seconds: the shortest, windows of diarization, an odd one.
_LENGTHS_S = (LEAST_FRAMES / FRAME_RATE_HZ, 1.0, 1.5, 2.34)
#: Most difference between two passes over the same sound.
_NOISE = 1e-4
#: Cosine that recordings of different people must stay below.
_MOST_ALIKE = 0.9999
#: Gain that must hardly move an embedding where features do not depend on it, and the least cosine then.
_GAIN = 0.5
_LEAST_STABLE = 0.98


@dataclass(frozen=True, eq=False)
class Voice:
    """Speech of one person at 16 kHz, four seconds or more."""

    speaker: str
    samples: Samples


def trial_voices() -> list[Voice]:
    """Return both halves of a recording of each of some people, from the speech that models are calibrated on."""
    heard = ((person.speaker, read_samples(person.path)) for person in read_corpus().recordings)
    long = ((speaker, samples) for speaker, samples in heard if len(samples) >= _LONG_S * SAMPLE_RATE_HZ)
    return [Voice(speaker, half) for speaker, whole in islice(long, _PEOPLE) for half in np.array_split(whole, 2)]


def check_sanity(embedder: Embedder, voices: Sequence[Voice], *, ignores_gain: bool) -> None:
    """Check that a network gives embeddings that depend on who speaks; raises ModelInstallError, which says what fails.

    Parameters
    ----------
    voices : two of each person at least.
    ignores_gain : whether the features are the same at any loudness.
    """
    for length_s in _LENGTHS_S:
        _embedded(embedder, voices[0].samples[: round(length_s * SAMPLE_RATE_HZ)])
    embeddings = np.stack([_embedded(embedder, voice.samples) for voice in voices])
    first = voices[0].samples
    if np.abs(_embedded(embedder, first) - embeddings[0]).max() > _NOISE:
        raise ModelInstallError("The network is not deterministic: one recording gives two embeddings.")
    if ignores_gain and float(_embedded(embedder, first * np.float32(_GAIN)) @ embeddings[0]) < _LEAST_STABLE:
        raise ModelInstallError("The network hears loudness, which its features do not have; check its descriptor.")
    _check_speakers(embeddings, [voice.speaker for voice in voices])


def _embedded(embedder: Embedder, samples: Samples) -> NDArray[np.float32]:
    seconds = len(samples) / SAMPLE_RATE_HZ
    try:
        embedding = embedder.embed(samples)
    except Exception as error:
        # onnxruntime has an exception for each status; an embedding of another length does not fit into numpy's sum.
        raise ModelInstallError(f"The network fails on {seconds:.2f} s of speech: {reason(error)}") from error
    # Not-a-number fails every comparison, and a vector of zeros stays one.
    if not abs(float(np.linalg.norm(embedding)) - 1.0) < _NOISE:
        raise ModelInstallError(f"The network gives no usable embedding of {seconds:.2f} s of speech.")
    return embedding


def _check_speakers(embeddings: NDArray[np.float32], speakers: Sequence[str]) -> None:
    cosines: dict[bool, list[float]] = {True: [], False: []}
    for one, other in combinations(range(len(speakers)), 2):
        cosines[speakers[one] == speakers[other]].append(float(embeddings[one] @ embeddings[other]))
    if max(cosines[False]) > _MOST_ALIKE:
        raise ModelInstallError("The network gives different people one embedding; check its descriptor.")
    if np.mean(cosines[True]) <= np.mean(cosines[False]):
        raise ModelInstallError(
            "The network does not tell speakers apart: recordings of one person are no more alike than those of two."
        )
