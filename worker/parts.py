"""What is kept of each piece of a long recording: a few numbers per moment and speaker, no sound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Piece, Segment, total_s
from shared.domain.diarization import SpeakerHints, Turn, label, merge_turns
from shared.domain.quality import Capture, is_narrowband, snr_db
from shared.domain.voiceprints import Voiceprint
from worker.diarize import Labels, by_appearance, centroids, cluster, embed_moments, turns
from worker.ports import Embedder
from worker.steps import Steps

#: Speakers looked for in a piece of a longer recording. The cards' number was tuned on 30 s; in two minutes there is
#: room for more: of five people in a piece only four were found with it, and with this one no voice was split.
_MOST_SPEAKERS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSpeaker:
    """Somebody who speaks in a piece."""

    #: Mean direction of the moments, (dimension,), L2 norm 1.
    centroid: NDArray[np.float32]
    seconds: float
    #: None unless asked for.
    voice: Voiceprint | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A piece after its speakers were told apart."""

    span: Segment
    speech: Sequence[Segment]
    #: How likely somebody speaks in each `SPEECH_FRAME_S`, in %, uint8 (num_frames,).
    activity: NDArray[np.uint8]
    speakers: Sequence[LocalSpeaker]
    #: Seconds from one moment of the joined speech to the next; who of `speakers` speaks at each, uint8 (num_moments,);
    #: and its cosine to the centroid of each of them, float16 (num_moments, num_speakers).
    hop_s: float
    labels: NDArray[np.uint8]
    cosines: NDArray[np.float16]

    def turns(self, labels: Labels) -> list[Turn]:
        """Lay the speaker of each moment, (num_moments,), on the recording's clock."""
        return merge_turns(turns(labels, self.hop_s, self.speech))

    def moments(self, times_s: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the moment at each time of the recording, (num_times,); -1 where nobody speaks."""
        found = np.full(len(times_s), -1)
        before_s = 0.0
        for segment in self.speech:
            first, last = np.searchsorted(times_s, (segment.start_s, segment.end_s))
            found[first:last] = (times_s[first:last] - segment.start_s + before_s) / self.hop_s
            before_s += segment.duration_s
        return np.minimum(found, len(self.labels) - 1)


def listen(piece: Piece, embedder: Embedder, steps: Steps, hints: SpeakerHints, voices: bool) -> Part:
    """Tell the speakers of a piece apart, and make their voiceprints if `voices` says so."""
    card = embedder.card
    embeddings = middles = np.empty((0, card.dimension * len(card.clustering.windows_s)), np.float32)
    labels = np.empty(0, np.intp)
    if piece.speech:
        with steps("encode"):
            frames = embedder.encode(piece.join(piece.speech))
        with steps("diarize"):
            embeddings = embed_moments(frames, total_s(piece.speech), embedder)
            labels = by_appearance(cluster(embeddings, card.clustering, _local(hints, piece.is_whole)))
            middles = centroids(embeddings, labels)
    spoken = merge_turns(turns(labels, card.clustering.hop_s, piece.speech))
    segments = [[turn.segment for turn in spoken if turn.speaker == label(k)] for k in range(len(middles))]
    with steps("embed"):
        made = _voiceprints(piece, segments, embedder) if voices else [None] * len(segments)
    return Part(
        span=piece.span,
        speech=piece.speech,
        activity=np.round(100 * piece.probabilities).astype(np.uint8),
        speakers=[
            LocalSpeaker(centroid=middle, seconds=total_s(own), voice=voice)
            for middle, own, voice in zip(middles, segments, made, strict=True)
        ],
        hop_s=card.clustering.hop_s,
        labels=labels.astype(np.uint8),
        cosines=(embeddings @ middles.T).astype(np.float16),
    )


def _local(hints: SpeakerHints, is_whole: bool) -> SpeakerHints:
    """Return what `hints` say of a piece; of a whole recording, everything."""
    if is_whole:
        return hints
    return SpeakerHints(max_speakers=hints.max_speakers or max(_MOST_SPEAKERS, hints.min_speakers))


def _voiceprints(piece: Piece, segments: Sequence[Sequence[Segment]], embedder: Embedder) -> list[Voiceprint]:
    if not segments:
        return []
    snr, narrowband = snr_db(piece.waveform, piece.inside(piece.speech)), is_narrowband(piece.waveform)
    return [
        Voiceprint(
            embedder.card.model_id,
            embedder.embed(piece.join(own)),
            Capture(net_speech_s=total_s(own), snr_db=snr, narrowband=narrowband),
        )
        for own in segments
    ]
