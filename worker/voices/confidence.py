"""Confidence of a diarization, for each turn and for each 20 ms."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import SPEECH_FRAME_S
from shared.domain.diarization import Turn, label
from shared.domain.results import FRAME_S
from worker.voices.chunks import DiarizedChunk
from worker.voices.clustering import Embeddings, Labels

#: Difference of cosines at which the odds of two speakers change by a factor of e. Fitted with ge2e on 45 simulated
#: conversations of 30 s (LibriSpeech and RAVDESS; clean, noisy, telephone). The mean confidence there is 92.6 %, and
#: 92.0 % of the hops are right; of hops with a confidence of 54, 71, 86, 95 and 99 %, 62, 77, 86, 94 and 97 % are
#: right. On eight excerpts of AMI's meetings, which it was not fitted on, it is 79 %, and 81 % are right. Other models
#: use the same value; one relative to a voice's own spread was no better, see models/README.md.
TEMPERATURE = 0.06

#: Probability that each speaker of the recording speaks at each hop, (num_hops, num_speakers); rows sum to 1.
Probabilities = NDArray[np.float32]


def probabilities(chunk: DiarizedChunk, speakers: Embeddings) -> Probabilities:
    """Return the probability of each of the recording's `speakers`, (num_speakers, dimension), at each hop."""
    scores = chunk.scores(speakers) / np.float32(TEMPERATURE)
    odds = np.exp(scores - scores.max(axis=1, initial=-np.inf, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def frame_confidence(chunk: DiarizedChunk, labels: Labels, found: Probabilities) -> NDArray[np.uint8]:
    """Return the confidence in each frame of `FRAME_S`, uint8 (num_frames,), 0 to 100.

    In speech it is that of the frame's speaker, elsewhere that nobody speaks.

    Parameters
    ----------
    labels : the speaker of each hop, (num_hops,).
    found : the result of `probabilities`.
    """
    times_s = _frames(chunk.segment.start_s, chunk.segment.end_s)
    heard = ((times_s - chunk.segment.start_s) / SPEECH_FRAME_S).astype(np.intp)
    silence = 100 - chunk.activity[np.minimum(heard, len(chunk.activity) - 1)]
    chosen = np.append(_percent(found[np.arange(len(labels)), labels]), np.uint8(0))
    hops = chunk.hops(times_s)
    return np.where(hops < 0, silence, chosen[hops])


def turn_confidence(chunk: DiarizedChunk, turns: Sequence[Turn], found: Probabilities) -> list[Mapping[str, int]]:
    """Return the mean probability of each speaker in each turn of a chunk, 0 to 100."""
    return [
        {label(k): int(value) for k, value in enumerate(_percent(found[chunk.hops(_times(turn))].mean(axis=0)))}
        for turn in turns
    ]


def _times(turn: Turn) -> NDArray[np.float64]:
    times_s = _frames(turn.segment.start_s, turn.segment.end_s)
    return times_s if len(times_s) else np.array([turn.segment.start_s])


def _frames(start_s: float, end_s: float) -> NDArray[np.float64]:
    """Return the middles of the recording's frames that lie in [start_s, end_s)."""
    first, end = (int(np.ceil(edge_s / FRAME_S - 0.5)) for edge_s in (start_s, end_s))
    return FRAME_S * (np.arange(first, end, dtype=np.float64) + 0.5)


def _percent(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(100 * values).astype(np.uint8)
