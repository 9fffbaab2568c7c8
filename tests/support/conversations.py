"""Long conversations made of clips, and how well one was told apart."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain, permutations

import numpy as np
from numpy.typing import ArrayLike

from models.vad import SileroVad
from shared.domain.audio import Samples, Segment
from shared.domain.diarization import Diarization, Turn
from tests.support.speech import Clip

RATE_HZ = 16_000


def conversation(clips: list[Clip], vad: SileroVad, seconds: float) -> tuple[Samples, list[Turn]]:
    """Return the clips in changing order with pauses between them, and who speaks when."""
    rng = np.random.default_rng(0)
    chunks: list[Samples] = []
    turns: list[Turn] = []
    at_s = 0.0
    for i in chain.from_iterable(rng.permutation(len(clips)).tolist() for _ in range(100_000)):
        if at_s >= seconds:
            break
        speech = vad.speech_segments(clips[i].samples, pad_s=0.03)
        turns += [Turn(Segment(at_s + s.start_s, at_s + s.end_s), clips[i].speaker) for s in speech]
        pause = np.zeros(round(rng.uniform(0.2, 1.0) * RATE_HZ), np.float32)
        chunks += [clips[i].samples, pause]
        at_s += (len(clips[i].samples) + len(pause)) / RATE_HZ
    return np.concatenate(chunks), turns


def errors(found: Diarization, true: list[Turn]) -> tuple[float, float]:
    """Return the shares of true speech that is not found, and that is found and another's."""
    times_s = np.arange(0.0, max(turn.segment.end_s for turn in [*true, *found.turns]), 0.02)
    pairs = [pair for pair in zip(at(true, times_s), at(found.turns, times_s), strict=True) if pair[0]]
    counts = Counter(pair for pair in pairs if pair[1])
    speakers = sorted({turn.speaker for turn in true})
    right = max(sum(counts[pair] for pair in zip(speakers, order, strict=False)) for order in permutations(
        [*found.speakers, *[""] * len(speakers)], len(speakers)
    ))  # fmt: skip
    return 1 - counts.total() / len(pairs), (counts.total() - right) / len(pairs)


def at(turns: Sequence[Turn], times_s: ArrayLike) -> list[str]:
    who = [""] * np.size(times_s)
    for turn in turns:
        first, last = np.searchsorted(times_s, (turn.segment.start_s, turn.segment.end_s))
        who[first:last] = [turn.speaker] * (last - first)
    return who
