"""Overlapped speech: where two people speak at once, the second one gets a turn too.

An installed segmentation model says where that is. The clustering gives each moment to the nearest speaker, and this
module the overlapped moments to the second-nearest as well (Bullock, Bredin and Garcia-Perera 2020).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Samples, Segment, united
from shared.domain.diarization import Turn
from shared.networks import OverlapDetector
from worker.voices.progress import Steps

#: Shortest overlap that counts, in seconds.
_LEAST_S = 0.1


def find_overlaps(
    samples: Samples, detector: OverlapDetector | None, steps: Steps, start_s: float = 0.0
) -> list[Segment]:
    """Return where two people or more speak at once in samples that begin at `start_s`; nowhere without a detector."""
    if detector is None:
        return []
    with steps("overlap"):
        found = detector.overlaps(samples)
    return [Segment(start_s + s.start_s, start_s + s.end_s) for s in found if s.duration_s >= _LEAST_S]


def runners_up(scores: NDArray[np.float32], labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the nearest speaker of each hop other than its own, (num_hops,).

    Parameters
    ----------
    scores : cosine of each hop to each speaker, (num_hops, num_speakers), two speakers at least.
    labels : the speaker of each hop, (num_hops,).
    """
    others = scores.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.argmax(axis=1)


def overlapping(alone: Sequence[Turn], second: Iterable[Turn], overlaps: Sequence[Segment]) -> list[Turn]:
    """Return the turns `alone`, one speaker at a time, and those of the second speakers within `overlaps`."""
    added = [Turn(part, turn.speaker) for turn in second for part in inside(turn.segment, overlaps)]
    speakers = dict.fromkeys(turn.speaker for turn in [*alone, *added])
    found = [turn for speaker in speakers for turn in _united(speaker, [*alone, *added])]
    return sorted(found, key=lambda turn: turn.segment)


def inside(segment: Segment, overlaps: Iterable[Segment]) -> list[Segment]:
    """Return the parts of `segment` that lie in one of the segments `overlaps`."""
    parts = (Segment(max(segment.start_s, o.start_s), min(segment.end_s, o.end_s)) for o in overlaps)
    return [part for part in parts if part]


def _united(speaker: str, turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns of `speaker`, those that touch or overlap as one."""
    return [Turn(segment, speaker) for segment in united(turn.segment for turn in turns if turn.speaker == speaker)]
