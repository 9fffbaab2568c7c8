"""Chunks of a long recording after diarization: a few numbers per hop and speaker, without the sound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Chunk, Segment, total_s
from shared.domain.diarization import SpeakerHints, Turn, clear_speech, label, merge_turns, outside
from shared.domain.models import ClusteringThresholds
from shared.domain.quality import measure
from shared.domain.voiceprints import Voiceprint
from shared.networks import Embedder
from shared.sound.level import evened
from worker.voices.clustering import (
    Embeddings,
    Labels,
    by_appearance,
    centroids,
    cluster,
    embed_hops,
    turns,
    without_short_turns,
)
from worker.voices.overlap import find_overlaps, overlapping, runners_up
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets

#: Most speakers looked for in a chunk of a longer recording. The models' own number was tuned on 30 s, which is too low
#: for two minutes: of five people in a chunk it found four. With 8 all five were found, and no voice was split.
_MOST_SPEAKERS = 8
#: Dimensions kept of the hops' embeddings; 8 gave the same diarizations as all 512.
_RANK = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedChunk:
    """A chunk whose hops are embedded, without the sound."""

    segment: Segment
    speech: Sequence[Segment]
    #: Probability of speech in each `SPEECH_FRAME_S`, in %, uint8 (num_frames,).
    activity: NDArray[np.uint8]
    #: Whether the chunk is the whole recording.
    is_whole: bool
    #: One row per hop, (num_hops, dimension); `coordinates` and `basis` are those of `DiarizedChunk`.
    embeddings: Embeddings
    coordinates: NDArray[np.float16]
    basis: NDArray[np.float16]


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSpeaker:
    """A speaker of one chunk, not yet linked to the speakers of other chunks."""

    #: Mean direction of the speaker's hops, (dimension,), L2 norm 1.
    centroid: NDArray[np.float32]
    seconds: float
    #: Made of what they say alone, if that is enough; None unless voiceprints were asked for.
    voice: Voiceprint | None
    #: Whether the voiceprint holds overlapped speech, because they say too little alone.
    is_overlapped: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class DiarizedChunk:
    """A chunk with its speakers, its hops' labels and their compressed embeddings."""

    segment: Segment
    speech: Sequence[Segment]
    #: Probability of speech in each `SPEECH_FRAME_S`, in %, uint8 (num_frames,).
    activity: NDArray[np.uint8]
    speakers: Sequence[LocalSpeaker]
    #: Seconds from one hop of the joined speech to the next.
    hop_s: float
    #: The speaker of each hop, an index into `speakers`, (num_hops,).
    labels: Labels
    #: Their product approximates the hops' embeddings: float16 (num_hops, rank) and (rank, dimension).
    coordinates: NDArray[np.float16]
    basis: NDArray[np.float16]
    #: Where two people or more speak at once, on the recording's clock.
    overlaps: Sequence[Segment] = ()

    def scores(self, directions: Embeddings) -> NDArray[np.float32]:
        """Return the cosine of each hop to each of the unit vectors `directions`, (num_hops, num_vectors)."""
        return self.coordinates.astype(np.float32) @ (self.basis.astype(np.float32) @ directions.T)

    def sums(self, labels: Labels, count: int) -> Embeddings:
        """Return the sum of the hops' embeddings under each label below `count`, (count, dimension)."""
        own = np.arange(count)[:, None] == labels
        return (own @ self.coordinates.astype(np.float32)) @ self.basis.astype(np.float32)

    def turns(self, labels: Labels) -> list[Turn]:
        """Return the chunk's turns on the recording's clock, none shorter than `clustering.MIN_TURN_S`.

        Chunks end at the edges of speech segments, and each segment lasts over 0.2 s. So a short turn always touches
        another turn of its own chunk.

        Parameters
        ----------
        labels : the speaker of each hop, (num_hops,).
        """
        return without_short_turns(turns(labels, self.hop_s, self.speech))

    def overlapping_turns(self, alone: Sequence[Turn], labels: Labels, scores: NDArray[np.float32]) -> list[Turn]:
        """Return the turns `alone` of the chunk, and those of the second speaker of each overlap.

        Parameters
        ----------
        labels : the speaker of each hop, (num_hops,).
        scores : nearness of each hop to each speaker of the recording, (num_hops, num_speakers).
        """
        if not self.overlaps or len(labels) == 0 or scores.shape[1] < 2:
            return list(alone)
        second = turns(runners_up(scores, labels), self.hop_s, self.speech)
        return overlapping(alone, second, self.overlaps)

    def hops(self, times_s: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the index of the hop at each time of the recording, (num_times,); -1 where nobody speaks."""
        found = np.full(len(times_s), -1)
        before_s = 0.0
        for segment in self.speech:
            first, last = np.searchsorted(times_s, (segment.start_s, segment.end_s))
            found[first:last] = (times_s[first:last] - segment.start_s + before_s) / self.hop_s
            before_s += segment.duration_s
        return np.minimum(found, len(self.labels) - 1)


def diarize_chunk(chunk: Chunk, nets: Nets, steps: Steps, hints: SpeakerHints, voices: bool) -> DiarizedChunk:
    """Diarize a chunk, and make its speakers' voiceprints if `voices` is true."""
    overlaps = find_overlaps(chunk.waveform.samples, nets.segmentation, steps, chunk.start_s) if chunk.speech else []
    embedded = embed_chunk(chunk, nets.embedder, steps)
    with steps("diarize"):
        diarized = replace(label_chunk(embedded, nets.embedder.card.clustering, hints), overlaps=overlaps)
    return _with_voices(chunk, diarized, nets.embedder, steps) if voices and chunk.speech else diarized


def embed_chunk(chunk: Chunk, embedder: Embedder, steps: Steps) -> EmbeddedChunk:
    """Embed the hops of a chunk."""
    embeddings = _hops(chunk, embedder, steps)
    coordinates, basis = _compressed(embeddings)
    return EmbeddedChunk(
        segment=chunk.segment,
        speech=chunk.speech,
        activity=np.round(100 * chunk.probabilities).astype(np.uint8),
        is_whole=chunk.is_whole,
        embeddings=embeddings,
        coordinates=coordinates.astype(np.float16),
        basis=basis.astype(np.float16),
    )


def _hops(chunk: Chunk, embedder: Embedder, steps: Steps) -> Embeddings:
    if not chunk.speech:
        return np.empty((0, embedder.card.dimension * len(embedder.card.clustering.windows_s)), np.float32)
    with steps("encode"):
        frames = embedder.encode(evened(chunk.join(chunk.speech)))
    with steps("diarize"):
        return embed_hops(frames, total_s(chunk.speech), embedder)


def label_chunk(chunk: EmbeddedChunk, thresholds: ClusteringThresholds, hints: SpeakerHints) -> DiarizedChunk:
    """Give each hop of a chunk to a speaker; no voiceprints are made."""
    labels = np.empty(0, np.intp)
    if chunk.speech:
        labels = by_appearance(cluster(chunk.embeddings, thresholds, _local(hints, chunk.is_whole)))
    return DiarizedChunk(
        segment=chunk.segment,
        speech=chunk.speech,
        activity=chunk.activity,
        speakers=_speakers(chunk, labels, thresholds.hop_s) if chunk.speech else [],
        hop_s=thresholds.hop_s,
        labels=labels,
        coordinates=chunk.coordinates,
        basis=chunk.basis,
    )


def _speakers(chunk: EmbeddedChunk, labels: Labels, hop_s: float) -> list[LocalSpeaker]:
    middles = centroids(chunk.embeddings, labels)
    segments = _segments(labels, hop_s, chunk.speech, len(middles))
    return [
        LocalSpeaker(centroid=middle, seconds=total_s(own), voice=None)
        for middle, own in zip(middles, segments, strict=True)
    ]


def _segments(labels: Labels, hop_s: float, speech: Sequence[Segment], count: int) -> list[list[Segment]]:
    spoken = merge_turns(turns(labels, hop_s, speech))
    return [[turn.segment for turn in spoken if turn.speaker == label(k)] for k in range(count)]


def _with_voices(chunk: Chunk, diarized: DiarizedChunk, embedder: Embedder, steps: Steps) -> DiarizedChunk:
    segments = _segments(diarized.labels, diarized.hop_s, diarized.speech, len(diarized.speakers))
    clear = [clear_speech(own, diarized.overlaps) for own in segments]
    with steps("embed"):
        voices = _voiceprints(chunk, clear, embedder)
    speakers = [
        replace(one, voice=voice, is_overlapped=own != outside(own, diarized.overlaps))
        for one, voice, own in zip(diarized.speakers, voices, clear, strict=True)
    ]
    return replace(diarized, speakers=speakers)


def _compressed(embeddings: Embeddings) -> tuple[Embeddings, Embeddings]:
    """Return the two factors of rank `_RANK` whose product is nearest to `embeddings` (Eckart and Young 1936)."""
    left, values, right = np.linalg.svd(embeddings, full_matrices=False)
    return (left * values)[:, :_RANK], right[:_RANK]


def _local(hints: SpeakerHints, is_whole: bool) -> SpeakerHints:
    """Return the hints for one chunk; a whole recording keeps all of them."""
    if is_whole:
        return hints
    return SpeakerHints(max_speakers=hints.max_speakers or max(_MOST_SPEAKERS, hints.min_speakers))


def _voiceprints(chunk: Chunk, segments: Sequence[Sequence[Segment]], embedder: Embedder) -> list[Voiceprint]:
    speech = chunk.inside(chunk.speech)
    return [
        Voiceprint(
            embedder.card.model_id,
            embedder.embed(evened(chunk.join(own))),
            measure(chunk.waveform, speech, chunk.inside(own)),
        )
        for own in segments
    ]
