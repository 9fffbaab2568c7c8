"""Linking: find the same speaker in different chunks of a long recording.

1. The speakers of all chunks are clustered by their centroids: agglomerative clustering with average linkage, weighted
   by seconds of speech. Two speakers of one chunk stay apart, unless their centroids are nearly the same.
2. Each hop is given to the nearest speaker of the whole recording. So a person who says little in one chunk is
   recognised by their speech in the others. With six people in five minutes, step 2 lowered the confused speech from
   3.0 % to 0.1 %.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.domain.diarization import SpeakerHints
from shared.domain.models import ClusteringThresholds
from worker.voices.chunks import DiarizedChunk, LocalSpeaker
from worker.voices.clustering import Embeddings, Labels, by_appearance, viterbi

#: Subtracted from the cosine of two groups with speakers of one chunk; more than two cosines can differ.
_APART = 4.0
#: Rounds of new directions and new labels.
_ROUNDS = 2


def link(chunks: Sequence[DiarizedChunk], thresholds: ClusteringThresholds, hints: SpeakerHints) -> list[Labels]:
    """Return the speaker of each hop of each chunk; speakers are numbered in order of appearance."""
    numbers = link_speakers([chunk.speakers for chunk in chunks], thresholds, hints)
    linked = [own[chunk.labels] for own, chunk in zip(numbers, chunks, strict=True)]
    settled = settle(chunks, linked, thresholds) if len(chunks) > 1 else linked
    labels = linked if _count(settled) < min(_count(linked), hints.min_speakers) else settled
    edges = np.cumsum([len(chunk.labels) for chunk in chunks])[:-1]
    return np.split(by_appearance(np.concatenate(labels)), edges)


def settle(chunks: Sequence[DiarizedChunk], labels: Sequence[Labels], thresholds: ClusteringThresholds) -> list[Labels]:
    """Give each hop to the nearest speaker of the recording, at a price for every change of speaker."""
    settled = list(labels)
    for _ in range(_ROUNDS):
        speakers = directions(chunks, settled)
        settled = [
            viterbi(chunk.scores(speakers), thresholds.switch_cost_s / chunk.hop_s) if chunk.speakers else chunk.labels
            for chunk in chunks
        ]
    return settled


def _count(labels: Sequence[Labels]) -> int:
    return len(np.unique(np.concatenate(labels)))


def directions(chunks: Sequence[DiarizedChunk], labels: Sequence[Labels]) -> Embeddings:
    """Return the mean direction of each speaker's hops, (num_speakers, dimension)."""
    count = 1 + int(np.concatenate(labels).max(initial=-1))
    sums = np.sum([chunk.sums(own, count) for chunk, own in zip(chunks, labels, strict=True)], axis=0)
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)


def link_speakers(
    chunks: Sequence[Sequence[LocalSpeaker]], thresholds: ClusteringThresholds, hints: SpeakerHints
) -> list[Labels]:
    """Return for each chunk the recording's number of each of its speakers, in order of appearance.

    The number of speakers stays within `hints`, however close or far apart the centroids are.
    """
    speakers = [speaker for chunk in chunks for speaker in chunk]
    if not speakers:
        return [np.empty(0, np.intp) for _ in chunks]
    where = np.repeat(np.arange(len(chunks)), [len(chunk) for chunk in chunks])
    groups = _Groups(speakers, where, thresholds.merge_cosine)
    for count in range(len(speakers), hints.min_speakers, -1):
        one, other, closeness = groups.closest()
        if closeness < thresholds.link_cosine and count <= (hints.max_speakers or count):
            break
        groups.join(one, other)
    numbers = by_appearance(groups.labels)
    return [numbers[where == i] for i in range(len(chunks))]


class _Groups:
    """Groups of local speakers; a group's number is that of one of its members."""

    def __init__(self, speakers: Sequence[LocalSpeaker], where: NDArray[np.intp], merge_cosine: float) -> None:
        self.labels = np.arange(len(speakers))
        self._means: Embeddings = np.stack([speaker.centroid for speaker in speakers])
        self._seconds = np.array([speaker.seconds for speaker in speakers], np.float32)
        self._meets = where[:, None] == np.unique(where)
        self._merge_cosine = merge_cosine
        self._closeness = np.stack([self._to_others(i) for i in range(len(speakers))])

    def closest(self) -> tuple[int, int, float]:
        """Return the two closest groups, and their closeness."""
        one, other = np.unravel_index(self._closeness.argmax(), self._closeness.shape)
        return int(one), int(other), float(self._closeness[one, other])

    def join(self, one: int, other: int) -> None:
        """Merge two groups under the number of the first."""
        self.labels[self.labels == other] = one
        seconds = self._seconds[[one, other]]
        self._means[one] = seconds @ self._means[[one, other]] / seconds.sum()
        self._seconds[one] = seconds.sum()
        self._meets[one] |= self._meets[other]
        self._closeness[one] = self._closeness[:, one] = self._to_others(one)
        self._closeness[other] = self._closeness[:, other] = -np.inf

    def _to_others(self, one: int) -> NDArray[np.float32]:
        cosines = self._means @ self._means[one]
        apart = (self._meets @ self._meets[one]) & (cosines < self._merge_cosine)
        closeness = np.where(apart, cosines - _APART, cosines)
        gone = self.labels != np.arange(len(self.labels))
        gone[one] = True
        return np.where(gone, -np.inf, closeness)
