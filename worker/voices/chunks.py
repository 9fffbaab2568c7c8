"""Chunks of a long recording after diarization: a few numbers per hop and speaker, without the sound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Chunk, Segment, total_s
from shared.domain.diarization import SpeakerHints, Turn, label, merge_turns
from shared.domain.quality import Capture, is_narrowband, snr_db
from shared.domain.voiceprints import Voiceprint
from shared.networks import Embedder
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
from worker.voices.level import evened
from worker.voices.progress import Steps

#: Most speakers looked for in a chunk of a longer recording. The models' own number was tuned on 30 s, which is too low
#: for two minutes: of five people in a chunk it found four. With 8 all five were found, and no voice was split.
_MOST_SPEAKERS = 8
#: Dimensions kept of the hops' embeddings; 8 gave the same diarizations as all 512.
_RANK = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSpeaker:
    """A speaker of one chunk, not yet linked to the speakers of other chunks."""

    #: Mean direction of the speaker's hops, (dimension,), L2 norm 1.
    centroid: NDArray[np.float32]
    seconds: float
    #: None unless voiceprints were asked for.
    voice: Voiceprint | None


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

    def hops(self, times_s: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the index of the hop at each time of the recording, (num_times,); -1 where nobody speaks."""
        found = np.full(len(times_s), -1)
        before_s = 0.0
        for segment in self.speech:
            first, last = np.searchsorted(times_s, (segment.start_s, segment.end_s))
            found[first:last] = (times_s[first:last] - segment.start_s + before_s) / self.hop_s
            before_s += segment.duration_s
        return np.minimum(found, len(self.labels) - 1)


def diarize_chunk(chunk: Chunk, embedder: Embedder, steps: Steps, hints: SpeakerHints, voices: bool) -> DiarizedChunk:
    """Diarize a chunk, and make its speakers' voiceprints if `voices` is true."""
    hop_s = embedder.card.clustering.hop_s
    embeddings, labels = _hops(chunk, embedder, steps, _local(hints, chunk.is_whole))
    coordinates, basis = _compressed(embeddings)
    return DiarizedChunk(
        segment=chunk.segment,
        speech=chunk.speech,
        activity=np.round(100 * chunk.probabilities).astype(np.uint8),
        speakers=_speakers(chunk, embeddings, labels, embedder, steps, voices) if chunk.speech else [],
        hop_s=hop_s,
        labels=labels,
        coordinates=coordinates.astype(np.float16),
        basis=basis.astype(np.float16),
    )


def _hops(chunk: Chunk, embedder: Embedder, steps: Steps, hints: SpeakerHints) -> tuple[Embeddings, Labels]:
    thresholds = embedder.card.clustering
    if not chunk.speech:
        return np.empty((0, embedder.card.dimension * len(thresholds.windows_s)), np.float32), np.empty(0, np.intp)
    with steps("encode"):
        frames = embedder.encode(evened(chunk.join(chunk.speech)))
    with steps("diarize"):
        embeddings = embed_hops(frames, total_s(chunk.speech), embedder)
        return embeddings, by_appearance(cluster(embeddings, thresholds, hints))


def _speakers(
    chunk: Chunk, embeddings: Embeddings, labels: Labels, embedder: Embedder, steps: Steps, voices: bool
) -> list[LocalSpeaker]:
    middles = centroids(embeddings, labels)
    spoken = merge_turns(turns(labels, embedder.card.clustering.hop_s, chunk.speech))
    segments = [[turn.segment for turn in spoken if turn.speaker == label(k)] for k in range(len(middles))]
    made: Sequence[Voiceprint | None] = [None] * len(segments)
    if voices:
        with steps("embed"):
            made = _voiceprints(chunk, segments, embedder)
    return [
        LocalSpeaker(centroid=middle, seconds=total_s(own), voice=voice)
        for middle, own, voice in zip(middles, segments, made, strict=True)
    ]


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
    snr = snr_db(chunk.waveform, chunk.inside(chunk.speech))
    narrowband = is_narrowband(chunk.waveform)
    return [
        Voiceprint(
            embedder.card.model_id,
            embedder.embed(evened(chunk.join(own))),
            Capture(net_speech_s=total_s(own), snr_db=snr, narrowband=narrowband),
        )
        for own in segments
    ]
