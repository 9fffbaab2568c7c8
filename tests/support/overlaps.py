"""Conversations in which people speak at once, and detectors that were told where."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from shared.domain.audio import Samples, Segment
from shared.domain.diarization import Turn
from tests.support.speech import Clip

RATE_HZ = 16_000


@dataclass(frozen=True, eq=False)
class Overlapped:
    """Conversation, who speaks when, and where two people speak at once."""

    samples: Samples
    turns: list[Turn]
    overlaps: list[Segment]


@dataclass
class Told:
    """Detector that was told where people overlap."""

    found: Sequence[Segment] = field(default_factory=list)

    def overlaps(self, samples: Samples) -> list[Segment]:
        """Return what it was told, whatever it hears."""
        return list(self.found)


def overlapped(parts: Sequence[tuple[Clip, float, float]]) -> Overlapped:
    """Return clips laid one after the other.

    Parameters
    ----------
    parts : each clip, the seconds by which it begins before the end of the one before, and its gain.
    """
    starts: list[int] = []
    end = 0
    for clip, early_s, _ in parts:
        starts.append(end - round(early_s * RATE_HZ))
        end = starts[-1] + len(clip.samples)
    mixed = np.zeros(end, np.float32)
    for start, (clip, _, gain) in zip(starts, parts, strict=True):
        mixed[start : start + len(clip.samples)] += gain * _levelled(clip.samples)
    ends = [start + len(clip.samples) for start, (clip, _, _) in zip(starts, parts, strict=True)]
    spans = [Segment(start / RATE_HZ, stop / RATE_HZ) for start, stop in zip(starts, ends, strict=True)]
    return Overlapped(
        samples=mixed,
        turns=[Turn(span, clip.speaker) for span, (clip, _, _) in zip(spans, parts, strict=True)],
        overlaps=[Segment(b.start_s, a.end_s) for a, b in pairwise(spans) if b.start_s < a.end_s],
    )


def _levelled(samples: Samples) -> Samples:
    return samples * np.float32(0.05 / np.sqrt(np.mean(np.square(samples))))
