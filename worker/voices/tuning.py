"""Tuning of a model's thresholds of diarization on conversations whose true turns are known.

A coordinate search tries the values of `GRID` for one threshold after the other. Cross-validation judges it: each
conversation is diarized with thresholds that were tuned on the others.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shared.domain.audio import Chunk
from shared.domain.diarization import Turn
from shared.domain.models import ClusteringThresholds
from shared.networks import Embedder
from worker.voices.chunks import DiarizedChunk, EmbeddedChunk, embed_chunk, label_chunk
from worker.voices.clustering import ANY_NUMBER
from worker.voices.error_rate import DiarizationError, diarization_error
from worker.voices.linking import link
from worker.voices.progress import Steps

#: Values that are tried for each threshold, beside its own. A `merge_cosine` of 1 merges nobody.
GRID: Mapping[str, tuple[float, ...]] = {
    "merge_cosine": (0.5, 0.6, 0.7, 0.8, 0.85, 0.89, 0.93, 1.0),
    "split_gate": (0.0, 0.025, 0.05, 0.1),
    "split_gate_s": (1.2, 2.4, 3.6, 4.8),
    "split_penalty": (0.0, 0.01, 0.02, 0.04),
    "switch_cost_s": (0.003, 0.006, 0.0125, 0.025, 0.05),
    "min_speaker_s": (1.0, 1.5, 2.5, 4.0),
    "link_cosine": (0.4, 0.5, 0.6, 0.7, 0.8, 0.84, 0.88),
}
#: Fewest conversations. With fewer, hardly any gain is beyond their differences.
LEAST_CONVERSATIONS = 6
_FOLDS = 5
#: Rounds through all thresholds; a second one seldom changes much.
_ROUNDS = 2
#: Gain that is beyond noise, in standard errors over conversations.
_SIGNIFICANT = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversation:
    """A recording with its true turns, its speech embedded once."""

    name: str
    reference: Sequence[Turn]
    duration_s: float
    chunks: Sequence[EmbeddedChunk]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Errors of each conversation, with the thresholds as they are and with those tuned on other conversations."""

    before: Sequence[DiarizationError]
    after: Sequence[DiarizationError]

    @property
    def rates(self) -> tuple[float, float]:
        """Return both error rates of all speech together."""
        return error_rate(self.before), error_rate(self.after)

    @property
    def is_better(self) -> bool:
        """Return whether tuning helped by more than two standard errors."""
        gains = np.array([b.wrong_s - a.wrong_s for b, a in zip(self.before, self.after, strict=True)])
        return bool(gains.mean() > _SIGNIFICANT * gains.std(ddof=1) / math.sqrt(len(gains)) and gains.sum() > 0)


def error_rate(errors: Iterable[DiarizationError]) -> float:
    """Return the diarization error rate of several recordings together; 0 without speech."""
    known = list(errors)
    return sum(error.wrong_s for error in known) / max(sum(error.speech_s for error in known), 1e-9)


def hear(name: str, reference: Sequence[Turn], chunks: Iterable[Chunk], embedder: Embedder) -> Conversation:
    """Embed the hops of a recording; its sound is forgotten chunk by chunk."""
    embedded = [embed_chunk(chunk, embedder, Steps()) for chunk in chunks]
    return Conversation(name=name, reference=reference, duration_s=embedded[-1].segment.end_s, chunks=embedded)


class Tuner:
    """Search for the thresholds with the lowest error rate; no conversation is diarized twice with the same ones."""

    def __init__(self, conversations: Sequence[Conversation], current: ClusteringThresholds) -> None:
        self._conversations = conversations
        self._current = current
        self._known: dict[tuple[int, ClusteringThresholds], DiarizationError] = {}

    def tune(self) -> ClusteringThresholds:
        """Return the best thresholds for all conversations."""
        return self._best(range(len(self._conversations)))

    def cross_validate(self, say: Callable[[str], None]) -> Comparison:
        """Compare the current thresholds with tuned ones, on conversations that these were not tuned on."""
        everyone = range(len(self._conversations))
        tuned = dict.fromkeys(everyone, self._current)
        folds = min(_FOLDS, len(everyone))
        for fold in range(folds):
            say(f"Fold {fold + 1} of {folds} ...")
            tuned |= dict.fromkeys(everyone[fold::folds], self._best([i for i in everyone if i % folds != fold]))
        return Comparison(
            before=[self._error(i, self._current) for i in everyone], after=[self._error(i, tuned[i]) for i in everyone]
        )

    def _best(self, chosen: Sequence[int]) -> ClusteringThresholds:
        best = self._current
        for _ in range(_ROUNDS):
            before = best
            for name, values in self._grid().items():
                options = [best, *(_with(best, name, value) for value in values)]
                best = min(options, key=lambda option: error_rate(self._error(i, option) for i in chosen))
            if best == before:
                break
        return best

    def _grid(self) -> Mapping[str, tuple[float, ...]]:
        """Return the values to try; nothing is linked where each recording is one chunk."""
        is_long = any(len(conversation.chunks) > 1 for conversation in self._conversations)
        return GRID if is_long else {name: values for name, values in GRID.items() if name != "link_cosine"}

    def _error(self, i: int, thresholds: ClusteringThresholds) -> DiarizationError:
        if (i, thresholds) not in self._known:
            one = self._conversations[i]
            self._known[i, thresholds] = diarization_error(one.reference, _diarize(one, thresholds), one.duration_s)
        return self._known[i, thresholds]


def _with(thresholds: ClusteringThresholds, name: str, value: float) -> ClusteringThresholds:
    changed: dict[str, Any] = {name: value}
    return replace(thresholds, **changed)


def _diarize(conversation: Conversation, thresholds: ClusteringThresholds) -> list[Turn]:
    chunks: list[DiarizedChunk] = [label_chunk(chunk, thresholds, ANY_NUMBER) for chunk in conversation.chunks]
    labels = link(chunks, thresholds, ANY_NUMBER)
    return [turn for chunk, own in zip(chunks, labels, strict=True) for turn in chunk.turns(own)]
