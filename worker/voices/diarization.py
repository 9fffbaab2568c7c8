"""Diarization of recordings of any length, in bounded memory.

The recording is read in chunks of one or two minutes. Each chunk is diarized like a short recording. At the end the
speakers of all chunks are linked to each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Chunk, Stream, Track, total_s
from shared.domain.diarization import ENOUGH_ALONE_S, Diarization, SpeakerHints, Turn, label
from shared.domain.quality import Capture
from shared.domain.results import FrameConfidence, RecordingDiarization, sentences
from shared.domain.speech import Transcript
from shared.domain.voiceprints import Voiceprint
from shared.networks import Recogniser
from worker.voices.chunks import DiarizedChunk, diarize_chunk
from worker.voices.clustering import Embeddings, Labels
from worker.voices.confidence import Probabilities, frame_confidence, probabilities, turn_confidence
from worker.voices.linking import directions, link
from worker.voices.progress import Steps
from worker.voices.transcription import Transcriber
from worker.voices.voiceprint import Nets

_Block = TypeVar("_Block", bound=NDArray[np.float32])


@dataclass(frozen=True)
class _Share:
    """Share of a local speaker's voice that linking gave to one speaker of the recording."""

    voice: Voiceprint
    kept: float
    is_overlapped: bool

    @property
    def seconds(self) -> float:
        return self.kept * self.voice.capture.net_speech_s


def diarize_recording(
    stream: Stream, nets: Nets, steps: Steps, hints: SpeakerHints, *, voices: bool, recogniser: Recogniser | None = None
) -> RecordingDiarization:
    """Diarize a recording, make its speakers' voiceprints if `voices` is true, and recognise its words.

    Parameters
    ----------
    recogniser : None where the words are not asked for.

    Raises
    ------
    JobFailure
        The decoder refuses the recording, at any block of the stream.
    """
    transcriber = Transcriber(recogniser, steps) if recogniser else None
    chunks = []
    for chunk in _with_progress(hear_chunks(stream, nets, steps), stream.track, steps):
        chunks.append(diarize_chunk(chunk, nets, steps, hints, voices))
        if transcriber:
            transcriber.hear(chunk, chunks[-1].turns(chunks[-1].labels))
    with steps("link"):
        labels = link(chunks, nets.embedder.card.clustering, hints)
        speakers = directions(chunks, labels)
        diarization, alone, frames_sure = _whole(chunks, labels, speakers)
    transcript = transcriber.transcript(alone) if transcriber else None
    return RecordingDiarization(
        diarization=diarization,
        exclusive=alone,
        frame_confidence=frames_sure,
        voices={label(k): _voiceprint(chunks, labels, k) for k in range(len(speakers))} if voices else {},
        speech_s=sum(total_s(chunk.speech) for chunk in chunks),
        audio_s=chunks[-1].segment.end_s,
        track=stream.track,
        warning=_warning(len(speakers), hints, stream.track, transcript),
        timings_s=steps.seconds,
        transcript=transcript,
    )


def _warning(num_speakers: int, hints: SpeakerHints, track: Track, transcript: Transcript | None) -> str | None:
    return sentences(_speakers_missing(num_speakers, hints), track.warning, transcript.warning if transcript else None)


def _speakers_missing(num_speakers: int, hints: SpeakerHints) -> str | None:
    if num_speakers == 0:
        return "Nobody speaks in the recording."
    if num_speakers < hints.min_speakers:
        return f"Of the {hints.min_speakers} speakers asked for only {num_speakers} could be told apart."
    return None


def _with_progress(chunks: Iterator[Chunk], track: Track, steps: Steps) -> Iterator[Chunk]:
    """Yield `chunks`, and announce after the work on each how much of the track is done."""
    steps.progress(0.0)
    for chunk in chunks:
        yield chunk
        if track.duration_s:
            steps.progress(min(1.0, chunk.segment.end_s / track.duration_s))


def hear_chunks(stream: Stream, nets: Nets, steps: Steps) -> Iterator[Chunk]:
    """Yield the chunks of a recording with their speech; the last one ends with the recording."""
    detector = nets.vad.listen()
    for block in timed_blocks(stream.blocks, steps):
        with steps("vad"):
            chunks = detector.hear(block)
        yield from chunks
    yield detector.end()


def timed_blocks(blocks: Iterator[_Block], steps: Steps) -> Iterator[_Block]:
    """Yield blocks of sound; the wait for each is the step `decode`."""
    while True:
        with steps("decode"):
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _whole(
    chunks: Sequence[DiarizedChunk], labels: Sequence[Labels], speakers: Embeddings
) -> tuple[Diarization, list[Turn], FrameConfidence]:
    """Return the diarization, its turns with one speaker at a time, and its confidence along the recording."""
    turns: list[Turn] = []
    exclusive: list[Turn] = []
    frames_sure = []
    for chunk, own in zip(chunks, labels, strict=True):
        found = probabilities(chunk, speakers)
        alone = chunk.turns(own)
        sure = _sure(chunk, alone, found)
        exclusive += sure
        turns += _sure(chunk, chunk.overlapping_turns(alone, own, found), found) if chunk.overlaps else sure
        frames_sure.append(frame_confidence(chunk, own, found))
    overlaps = [overlap for chunk in chunks for overlap in chunk.overlaps]
    return Diarization(turns, overlaps=overlaps), exclusive, FrameConfidence(np.concatenate(frames_sure))


def _sure(chunk: DiarizedChunk, turns: Sequence[Turn], found: Probabilities) -> list[Turn]:
    sure = turn_confidence(chunk, turns, found)
    return [replace(turn, confidence=each) for turn, each in zip(turns, sure, strict=True)]


def _voiceprint(chunks: Sequence[DiarizedChunk], labels: Sequence[Labels], speaker: int) -> Voiceprint:
    """Return a speaker's voiceprint: the mean of the voiceprints of all chunks, weighted by seconds of speech.

    A local speaker counts with the share of their hops that linking gave to `speaker`. The share is squared in the
    weight, because the rest of a local voiceprint is somebody else's voice. One of overlapped speech counts only where
    the others hold too little.
    """
    heard: list[_Share] = []
    for chunk, own in zip(chunks, labels, strict=True):
        for k, local in enumerate(chunk.speakers):
            kept = float((own[chunk.labels == k] == speaker).mean())
            if local.voice and kept:
                heard.append(_Share(local.voice, kept, local.is_overlapped))
    alone = [share for share in heard if not share.is_overlapped]
    chosen = alone if sum(share.seconds for share in alone) >= ENOUGH_ALONE_S else heard
    captures = [share.voice.capture for share in chosen]
    weights = [share.kept * share.seconds for share in chosen]
    total: NDArray[np.float32] = np.array(weights, np.float32) @ np.stack([share.voice.vector for share in chosen])
    capture = Capture(
        net_speech_s=sum(share.seconds for share in chosen),
        snr_db=float(np.average([one.snr_db for one in captures], weights=weights)),
        narrowband=bool(np.average([one.narrowband for one in captures], weights=weights) >= 0.5),
    )
    return Voiceprint(chosen[0].voice.model_id, total / np.float32(np.linalg.norm(total)), capture)
