"""The recipe of a diarize job: sound of any length and networks in, who spoke when out; memory stays bounded.

The recording is taken in pieces of one or two minutes. The speakers of each piece are told apart as those of a short
recording are; in the end the speakers of all pieces are linked to each other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Piece, Samples, Stream, total_s
from shared.domain.diarization import Diarization, SpeakerHints, Turn, label
from shared.domain.quality import Capture
from shared.domain.results import RecordingDiarization
from shared.domain.voiceprints import Voiceprint
from worker.confidence import frame_confidence, probabilities, turn_confidence
from worker.diarize import Labels
from worker.link import link
from worker.parts import LocalSpeaker, Part, listen
from worker.pipelines.voiceprint import Nets
from worker.steps import Steps


def diarize_recording(
    stream: Stream, nets: Nets, steps: Steps, hints: SpeakerHints, *, voices: bool
) -> RecordingDiarization:
    """Tell the speakers of a recording apart, and make their voiceprints if `voices` says so.

    Raises
    ------
    JobFailure
        Whatever the decoder meets before the last block of the stream.
    """
    parts = []
    steps.progress(0.0)
    for piece in _pieces(stream, nets, steps):
        parts.append(listen(piece, nets.embedder, steps, hints, voices))
        if stream.claimed_s:
            steps.progress(min(1.0, piece.span.end_s / stream.claimed_s))
    with steps("link"):
        numbers = link([part.speakers for part in parts], nets.embedder.card.clustering, hints)
        people = _people(parts, numbers)
        diarization, turn_sure, frame_sure = _whole(parts, numbers, people)
    return RecordingDiarization(
        diarization=diarization,
        turn_confidence=turn_sure,
        frame_confidence=frame_sure,
        voices={label(k): _voiceprint(locals_) for k, locals_ in enumerate(people)} if voices else {},
        speech_s=sum(total_s(part.speech) for part in parts),
        audio_s=parts[-1].span.end_s,
        warning=hints.unmet(len(people)) if people else "Nobody speaks in the recording.",
        timings_s=steps.seconds,
    )


def _pieces(stream: Stream, nets: Nets, steps: Steps) -> Iterator[Piece]:
    detector = nets.vad.listen()
    for block in _timed(stream.blocks, steps):
        with steps("vad"):
            pieces = detector.hear(block)
        yield from pieces
    yield detector.end()


def _timed(blocks: Iterator[Samples], steps: Steps) -> Iterator[Samples]:
    while True:
        with steps("decode"):
            block = next(blocks, None)
        if block is None:
            return
        yield block


def _people(parts: Sequence[Part], numbers: Sequence[Labels]) -> list[list[LocalSpeaker]]:
    """Return the local speakers of each speaker of the recording."""
    people: dict[int, list[LocalSpeaker]] = {}
    for part, own in zip(parts, numbers, strict=True):
        for speaker, number in zip(part.speakers, own.tolist(), strict=True):
            people.setdefault(number, []).append(speaker)
    return [people[number] for number in sorted(people)]


def _whole(
    parts: Sequence[Part], numbers: Sequence[Labels], people: Sequence[Sequence[LocalSpeaker]]
) -> tuple[Diarization, list[Mapping[str, int]], NDArray[np.uint8]]:
    """Return the diarization, and how sure it is of each turn and of each frame."""
    centroids = np.array([_mean((s.centroid, s.seconds) for s in locals_) for locals_ in people])
    turns: list[Turn] = []
    turn_sure: list[Mapping[str, int]] = []
    frame_sure = []
    for part, own in zip(parts, numbers, strict=True):
        labels, found = own[part.labels], probabilities(part, centroids)
        spoken = part.turns(labels)
        turns += spoken
        turn_sure += turn_confidence(part, spoken, found)
        frame_sure.append(frame_confidence(part, labels, found))
    return Diarization(turns), turn_sure, np.concatenate(frame_sure)


def _voiceprint(locals_: Sequence[LocalSpeaker]) -> Voiceprint:
    """Return one voiceprint of a speaker's voiceprints in all pieces."""
    voices = [speaker.voice for speaker in locals_ if speaker.voice]
    seconds = np.array([voice.capture.net_speech_s for voice in voices])
    capture = Capture(
        net_speech_s=float(seconds.sum()),
        snr_db=float(np.average([voice.capture.snr_db for voice in voices], weights=seconds)),
        narrowband=bool(np.average([voice.capture.narrowband for voice in voices], weights=seconds) >= 0.5),
    )
    return Voiceprint(voices[0].model_id, _mean((v.vector, v.capture.net_speech_s) for v in voices), capture)


def _mean(weighted: Iterable[tuple[NDArray[np.float32], float]]) -> NDArray[np.float32]:
    """Return the mean direction of weighted vectors, L2 norm 1."""
    vectors, weights = zip(*weighted, strict=True)
    total: NDArray[np.float32] = np.array(weights, np.float32) @ np.stack(vectors)
    return total / np.float32(np.linalg.norm(total))
