"""Diarization: embed overlapping windows of speech, cluster them by speaker, smooth the changes of speaker.

1. Each hop gets one vector from windows of several lengths round it. Long windows tell voices apart better, short
   windows find the change of speaker better.
2. Spectral clustering (Ng, Jordan, Weiss 2001) proposes two, three, ... speakers. A hidden Markov model (Viterbi
   1967) smooths each proposal; its states are the speakers, as in VBx (Landini et al. 2022).
3. The proposal with the best silhouette (Rousseeuw 1987) wins. Speakers with nearly the same centroid are merged.

Doubtful cases are split: a false split hardly changes a voiceprint, but two people merged into one spoil it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.linalg import eigh

from shared.domain.audio import Segment, total_s
from shared.domain.diarization import Diarization, SpeakerHints, Turn, label, merge_turns
from shared.domain.models import ClusteringThresholds
from shared.networks import Embedder, Frames
from worker.voices.overlap import overlapping, runners_up

#: One row of L2 norm 1 per hop, (num_hops, dimension); the product of two rows is their mean cosine.
Embeddings = NDArray[np.float32]
#: The speaker of each hop, (num_hops,), from 0 without gaps.
Labels = NDArray[np.intp]

#: Most speakers looked for when a client's hints allow more; each further proposal takes time.
_MOST_SPEAKERS = 12
#: No hint: any number of speakers.
ANY_NUMBER = SpeakerHints()
#: Most rounds of new centroids and new labels; labels nearly always stop changing after two.
_ROUNDS = 5
#: Shortest turn that is reported, in seconds.
MIN_TURN_S = 0.1
#: Durations that differ by no more are equal: 0.6 s are 2.9999 hops of 0.2 s.
_ROUNDING_S = 1e-6
#: Neighbours on each side of a hop whose labels weigh the hop in its speaker's centroid.
_REACH = 3


def diarize_speech(
    frames: Frames, speech: Sequence[Segment], embedder: Embedder, overlaps: Sequence[Segment] = ()
) -> Diarization:
    """Diarize the speech of one recording.

    Parameters
    ----------
    frames : features of the recording's speech alone, as `embedder.encode` gives them for the joined segments.
    speech : segments of that speech in the recording, in seconds, in order.
    overlaps : where two people speak at once.
    """
    thresholds = embedder.card.clustering
    embeddings = embed_hops(frames, total_s(speech), embedder)
    labels = by_appearance(cluster(embeddings, thresholds))
    found = without_short_turns(turns(labels, thresholds.hop_s, speech))
    if overlaps and labels.max() > 0:
        second = runners_up(embeddings @ centroids(embeddings, labels).T, labels)
        found = overlapping(found, turns(second, thresholds.hop_s, speech), overlaps)
    return Diarization(found, _consistency(embeddings, labels), overlaps)


def embed_hops(frames: Frames, speech_s: float, embedder: Embedder) -> Embeddings:
    """Return one embedding for each hop of the joined speech, made of the windows of all lengths round it."""
    thresholds = embedder.card.clustering
    scales = [windows(speech_s, length_s, thresholds.hop_s) for length_s in thresholds.windows_s]
    # All in one call: networks share work between windows.
    pooled = embedder.pool_windows(frames, [window for scale in scales for window in scale])
    return np.hstack(np.split(pooled, len(scales))) / np.float32(np.sqrt(len(scales)))


def windows(speech_s: float, length_s: float, hop_s: float) -> list[Segment]:
    """Return a window of `length_s` round the middle of each hop, moved to lie inside the speech."""
    last_s = max(0.0, speech_s - length_s)
    middles = np.arange(hop_s / 2, max(speech_s, hop_s), hop_s)
    starts = np.clip(middles - length_s / 2, 0.0, last_s).tolist()
    return [Segment(start, min(start + length_s, speech_s)) for start in starts]


def cluster(embeddings: Embeddings, thresholds: ClusteringThresholds, hints: SpeakerHints = ANY_NUMBER) -> Labels:
    """Return the speaker of each hop, (num_hops,), from the hops' embeddings.

    Speech that is repeated, such as a sentence played in a loop, counts once. Its copies are nearer to each other than
    one voice is to itself, so each part of the sentence would look like a speaker.
    """
    first = first_heard(embeddings, thresholds)
    different = np.unique(first)
    labels = _cluster(embeddings[different], thresholds, hints)
    return labels[np.searchsorted(different, first)]


def first_heard(embeddings: Embeddings, thresholds: ClusteringThresholds) -> NDArray[np.intp]:
    """Return, for each hop, the earliest hop that it repeats, or else its own index, (num_hops,)."""
    first = np.arange(len(embeddings))
    apart = math.ceil(max(thresholds.windows_s) / thresholds.hop_s)
    for i in range(apart, len(embeddings)):
        alike = embeddings[: i - apart + 1] @ embeddings[i] >= thresholds.repeat_cosine
        if alike.any():
            first[i] = first[alike.argmax()]
    return first


def _cluster(embeddings: Embeddings, thresholds: ClusteringThresholds, hints: SpeakerHints) -> Labels:
    cosines = embeddings @ embeddings.T
    gate = thresholds.split_gate + thresholds.split_gate_s / (len(embeddings) * thresholds.hop_s)
    least = hints.min_speakers
    best: Labels = np.zeros(len(embeddings), dtype=np.intp)
    best_gain = gate if least < 2 else -np.inf
    most = max(least, min(hints.max_speakers or thresholds.max_speakers, _MOST_SPEAKERS))
    for proposal in _proposals(cosines, least, most):
        smooth = resegment(embeddings, proposal, thresholds)
        clean = reassign_short_speakers(embeddings, smooth, thresholds)
        labels = next((found for found in (clean, smooth) if found.max() + 1 >= least), proposal)
        gain = silhouette(1 - cosines, labels) - thresholds.split_penalty * (labels.max() - 1)
        if gain > best_gain:
            best = labels
            best_gain = gain
    return merge_alike(embeddings, best, thresholds, least)


def _proposals(cosines: NDArray[np.float32], least: int, most: int) -> Iterator[Labels]:
    size = len(cosines)
    most = min(most, size - 1)
    if most < 2:
        return
    affinity = np.maximum(cosines, 0.0)
    scale = 1 / np.sqrt(affinity.sum(axis=1))
    _, vectors = eigh(scale[:, None] * affinity * scale, subset_by_index=[size - most, size - 1])
    for k in range(max(2, min(least, most)), most + 1):
        _, labels = kmeans2(_unit(vectors[:, -k:]), k, minit="++", seed=0)
        yield _renumbered(labels)


def resegment(embeddings: Embeddings, labels: Labels, thresholds: ClusteringThresholds) -> Labels:
    """Give each hop to the nearest speaker, at a price for every change of speaker."""
    price = thresholds.switch_cost_s / thresholds.hop_s
    for _ in range(_ROUNDS):
        before = labels
        labels = _renumbered(viterbi(embeddings @ centroids(embeddings, before).T, price))
        if np.array_equal(before, labels):
            break
    return labels


def viterbi(scores: NDArray[np.float32], price: float) -> Labels:
    """Return the path through scores (num_hops, num_states) of the greatest sum, each change costing `price`."""
    came_from = np.empty(scores.shape, dtype=np.intp)
    stay = np.arange(scores.shape[1])
    total = scores[0]
    for i in range(1, len(scores)):
        best = total.argmax()
        came_from[i] = np.where(total >= total[best] - price, stay, best)
        total = np.maximum(total, total[best] - price) + scores[i]
    path = [int(total.argmax())]
    for row in came_from[:0:-1]:
        path.append(int(row[path[-1]]))
    return np.array(path[::-1], dtype=np.intp)


def reassign_short_speakers(embeddings: Embeddings, labels: Labels, thresholds: ClusteringThresholds) -> Labels:
    """Give the hops of speakers with less than `min_speaker_s` of speech to the nearest other speaker."""
    enough = np.bincount(labels) * thresholds.hop_s >= thresholds.min_speaker_s
    if not enough.any():
        return np.zeros_like(labels)
    nearest = np.where(enough, embeddings @ centroids(embeddings, labels).T, -np.inf).argmax(axis=1)
    return _renumbered(np.where(enough[labels], labels, nearest))


def merge_alike(embeddings: Embeddings, labels: Labels, thresholds: ClusteringThresholds, least: int = 1) -> Labels:
    """Merge the two most similar speakers while the cosine of their centroids is at least `merge_cosine`."""
    while labels.max() >= least:
        middles = centroids(embeddings, labels)
        cosines = middles @ middles.T - 2 * np.eye(len(middles))
        one, other = np.unravel_index(cosines.argmax(), cosines.shape)
        if cosines[one, other] < thresholds.merge_cosine:
            break
        labels = _renumbered(np.where(labels == other, one, labels))
    return labels


def centroids(embeddings: Embeddings, labels: Labels) -> Embeddings:
    """Return each speaker's mean direction, (num_speakers, dimension); hops near a change of speaker weigh less."""
    sums = []
    for k in range(labels.max() + 1):
        own = (labels == k).astype(np.float32)
        agreement = np.convolve(own, np.full(2 * _REACH + 1, 1 / (2 * _REACH + 1)))[_REACH:-_REACH]
        sums.append((own * agreement) @ embeddings)
    return _unit(np.stack(sums))


def _consistency(embeddings: Embeddings, labels: Labels) -> dict[str, float]:
    to_own = (embeddings * centroids(embeddings, labels)[labels]).sum(axis=1)
    return {label(k): float(to_own[labels == k].mean()) for k in range(labels.max() + 1)}


def consistency_as_one(frames: Frames, speech_s: float, embedder: Embedder) -> float:
    """Return the mean cosine of all windows of speech to their centroid, as if one person spoke."""
    embeddings = embed_hops(frames, speech_s, embedder)
    return _consistency(embeddings, np.zeros(len(embeddings), np.intp))[label(0)]


def silhouette(distances: NDArray[np.floating], labels: Labels) -> float:
    """Return the mean silhouette of a grouping, in [-1, 1]; 0 when there is only one group."""
    groups = [labels == k for k in np.unique(labels)]
    if len(groups) < 2:
        return 0.0
    to_group = np.stack([distances[:, group].sum(axis=1) for group in groups], axis=1)
    sizes = np.array([group.sum() for group in groups])
    own = np.stack(groups, axis=1)
    inside = (to_group / np.maximum(sizes - 1, 1))[own]
    outside = np.where(own, np.inf, to_group / sizes).min(axis=1)
    widths = (outside - inside) / np.maximum(np.maximum(inside, outside), 1e-9)
    return float(np.where((own * sizes).sum(axis=1) > 1, widths, 0.0).mean())


def by_appearance(labels: Labels) -> Labels:
    """Renumber labels in order of first appearance."""
    order = {old: new for new, old in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([order[old] for old in labels.tolist()], dtype=np.intp)


def _renumbered(labels: Labels) -> Labels:
    return np.unique(labels, return_inverse=True)[1]


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def turns(labels: Labels, hop_s: float, speech: Sequence[Segment]) -> Iterator[Turn]:
    """Yield a turn for each hop of the joined speech, on the recording's clock; the last lasts to the end."""
    edges_s = [*(np.arange(len(labels)) * hop_s).tolist(), np.inf]
    before_s = 0.0
    for segment in speech:
        shift_s = segment.start_s - before_s
        # A segment may begin after the last hop, which lasts to the end all the same.
        for i in range(min(int(before_s / hop_s), len(labels) - 1), len(labels)):
            start_s = max(edges_s[i] + shift_s, segment.start_s)
            end_s = min(edges_s[i + 1] + shift_s, segment.end_s)
            if start_s >= segment.end_s:
                break
            if end_s - start_s > _ROUNDING_S:
                yield Turn(Segment(start_s, end_s), label(int(labels[i])))
        before_s += segment.duration_s


def without_short_turns(found: Iterable[Turn]) -> list[Turn]:
    """Merge turns until none is shorter than `MIN_TURN_S`.

    A hop may cross the edge of a speech segment, because hops are counted on the joined speech. If the speaker changes
    there, a turn of a few milliseconds is left beside the edge. It is given to the longer of the turns that touch it.
    So the total speech stays the same. A short turn that touches no other is a whole speech segment. It is left out,
    and the speakers' seconds do not count it.
    """
    return [turn for turn in with_short_turns_joined(found, MIN_TURN_S) if not _is_short(turn, MIN_TURN_S)]


def with_short_turns_joined(found: Iterable[Turn], least_s: float) -> list[Turn]:
    """Give each turn shorter than `least_s` to the longer of those that touch it, if any; the shortest turn first."""
    return [turn for run in _touching(merge_turns(found)) for turn in _joined(run, least_s)]


def _touching(found: Sequence[Turn]) -> Iterator[list[Turn]]:
    """Yield runs of turns that touch each other."""
    run: list[Turn] = []
    for turn in found:
        if run and turn.segment.start_s > run[-1].segment.end_s:
            yield run
            run = []
        run.append(turn)
    yield run


def _joined(run: list[Turn], least_s: float) -> list[Turn]:
    kept = run
    while len(kept) > 1:
        i = min(range(len(kept)), key=lambda i: kept[i].segment.duration_s)
        if not _is_short(kept[i], least_s):
            break
        neighbours = kept[max(0, i - 1) : i] + kept[i + 1 : i + 2]
        owner = max(neighbours, key=lambda turn: turn.segment.duration_s)
        kept = merge_turns([*kept[:i], replace(kept[i], speaker=owner.speaker), *kept[i + 1 :]])
    return kept


def _is_short(turn: Turn, least_s: float) -> bool:
    return turn.segment.duration_s < least_s - _ROUNDING_S
