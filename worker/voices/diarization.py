"""Diarization of recordings of any length, in bounded memory.

The recording is read in chunks of one or two minutes. Each chunk is diarized like a short recording. At the end the
speakers of all chunks are linked to each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Chunk, Samples, Stream, Track, total_s
from shared.domain.diarization import Diarization, SpeakerHints, Turn, label
from shared.domain.quality import Capture
from shared.domain.results import FrameConfidence, RecordingDiarization, sentences
from shared.domain.speech import Transcript
from shared.domain.voiceprints import Voiceprint
from shared.networks import Recogniser
from worker.voices.chunks import DiarizedChunk, diarize_chunk
from worker.voices.clustering import Embeddings, Labels
from worker.voices.confidence import frame_confidence, probabilities, turn_confidence
from worker.voices.linking import directions, link
from worker.voices.progress import Steps
from worker.voices.transcription import Transcriber
from worker.voices.voiceprint import Nets


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
    for chunk in _with_progress(_chunks(stream, nets, steps), stream.track, steps):
        chunks.append(diarize_chunk(chunk, nets.embedder, steps, hints, voices))
        if transcriber:
            transcriber.hear(chunk, chunks[-1].turns(chunks[-1].labels))
    with steps("link"):
        labels = link(chunks, nets.embedder.card.clustering, hints)
        speakers = directions(chunks, labels)
        diarization, frames_sure = _whole(chunks, labels, speakers)
    transcript = transcriber.transcript(diarization.turns) if transcriber else None
    return RecordingDiarization(
        diarization=diarization,
        exclusive=None,
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


def _chunks(stream: Stream, nets: Nets, steps: Steps) -> Iterator[Chunk]:
    detector = nets.vad.listen()
    for block in _timed(stream.blocks, steps):
        with steps("vad"):
            chunks = detector.hear(block)
        yield from chunks
    yield detector.end()


def _timed(blocks: Iterator[Samples], steps: Steps) -> Iterator[Samples]:
    while True:
        with steps("decode"):
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _whole(
    chunks: Sequence[DiarizedChunk], labels: Sequence[Labels], speakers: Embeddings
) -> tuple[Diarization, FrameConfidence]:
    """Return the diarization, and its confidence along the recording."""
    turns: list[Turn] = []
    frames_sure = []
    for chunk, own in zip(chunks, labels, strict=True):
        found = probabilities(chunk, speakers)
        spoken = chunk.turns(own)
        sure = turn_confidence(chunk, spoken, found)
        turns += [replace(turn, confidence=each) for turn, each in zip(spoken, sure, strict=True)]
        frames_sure.append(frame_confidence(chunk, own, found))
    return Diarization(turns), FrameConfidence(np.concatenate(frames_sure))


def _voiceprint(chunks: Sequence[DiarizedChunk], labels: Sequence[Labels], speaker: int) -> Voiceprint:
    """Return a speaker's voiceprint: the mean of the voiceprints of all chunks, weighted by seconds of speech.

    A local speaker counts with the share of their hops that linking gave to `speaker`. The share is squared in the
    weight, because the rest of a local voiceprint is somebody else's voice.
    """
    heard: list[tuple[Voiceprint, float, float]] = []
    for chunk, own in zip(chunks, labels, strict=True):
        for k, local in enumerate(chunk.speakers):
            kept = float((own[chunk.labels == k] == speaker).mean())
            if local.voice and kept:
                heard.append((local.voice, kept * local.seconds, kept * kept * local.seconds))
    voices, seconds, weights = zip(*heard, strict=True)
    total: NDArray[np.float32] = np.array(weights, np.float32) @ np.stack([voice.vector for voice in voices])
    capture = Capture(
        net_speech_s=sum(seconds),
        snr_db=float(np.average([voice.capture.snr_db for voice in voices], weights=weights)),
        narrowband=bool(np.average([voice.capture.narrowband for voice in voices], weights=weights) >= 0.5),
    )
    return Voiceprint(voices[0].model_id, total / np.float32(np.linalg.norm(total)), capture)
