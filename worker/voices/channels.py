"""Diarization by channels: each channel of a recording, as of a recorded call, is a speaker of its own.

No voices are compared, so no embedding is made. Leaks between channels were silenced when the sound was decoded
(`shared/sound/crosstalk.py`). What is kept of an hour is some 0.1 MB a channel.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import SAMPLE_RATE_HZ, SPEECH_FRAME_S, ChannelStream, Chunk, Segment, named, total_s
from shared.domain.diarization import Diarization, Turn, label, merge_turns
from shared.domain.results import FRAME_S, FrameConfidence, RecordingDiarization, sentences
from shared.domain.speech import Transcript
from shared.networks import Recogniser, SpeechDetector
from worker.voices.clustering import MIN_TURN_S
from worker.voices.diarization import timed_blocks
from worker.voices.progress import Steps
from worker.voices.transcription import Transcriber

_ONE = "The recording has one channel, so all its speech is of one speaker; without `channel` speakers are told apart."


@dataclass(eq=False)
class _Channel:
    """Speech of one channel so far."""

    speaker: str
    transcriber: Transcriber | None
    turns: list[Turn] = field(default_factory=list)
    #: Probability of speech in each `SPEECH_FRAME_S`, in %.
    activity: list[NDArray[np.uint8]] = field(default_factory=list)

    def take(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        found = [Turn(segment, self.speaker) for segment in chunk.speech]
        # The end of a chunk may cut a turn in two.
        self.turns = [*self.turns[:-1], *merge_turns([*self.turns[-1:], *found])]
        self.activity.append(np.round(100 * chunk.probabilities).astype(np.uint8))
        if self.transcriber:
            self.transcriber.hear(chunk, found)


def diarize_channels(
    stream: ChannelStream, vad: SpeechDetector, steps: Steps, recogniser: Recogniser | None = None
) -> RecordingDiarization:
    """Diarize a recording whose channels hold a speaker each, and recognise its words.

    The speaker of channel 1 is `SPEAKER_01`, whether or not anybody speaks on channel 0.

    Parameters
    ----------
    recogniser : None where the words are not asked for.

    Raises
    ------
    JobFailure
        The decoder refuses the recording, at any block of the stream.
    """
    channels = {
        k: _Channel(label(k), Transcriber(recogniser, steps) if recogniser else None)
        for k in stream.track.channels.used
    }
    audio_s = _hear(stream, channels, vad, steps)
    speaking = {k: channel for k, channel in channels.items() if channel.turns}
    turns = sorted((turn for channel in speaking.values() for turn in channel.turns), key=lambda turn: turn.segment)
    activity = {channel.speaker: np.concatenate(channel.activity) for channel in speaking.values()}
    transcript = _transcript(speaking.values(), recogniser)
    return RecordingDiarization(
        diarization=Diarization(_sure(turns, activity), channels={one.speaker: k for k, one in speaking.items()}),
        exclusive=_sure(_exclusive(turns), activity),
        frame_confidence=_frame_confidence(turns, activity, audio_s),
        voices={},
        speech_s=total_s(_union(turns)),
        audio_s=audio_s,
        track=stream.track,
        warning=_warning(stream, speaking, transcript),
        timings_s=steps.seconds,
        transcript=transcript,
    )


def _hear(stream: ChannelStream, channels: Mapping[int, _Channel], vad: SpeechDetector, steps: Steps) -> float:
    """Let each channel take its chunks; returns the length of the recording in seconds."""
    detectors = {k: vad.listen() for k in channels}
    count = 0
    steps.progress(0.0)
    for block in timed_blocks(stream.blocks, steps):
        for k, detector in detectors.items():
            with steps("vad"):
                chunks = detector.hear(block[k])
            for chunk in chunks:
                channels[k].take(chunk)
        count += block.shape[1]
        steps.progress(min(1.0, count / SAMPLE_RATE_HZ / max(stream.track.duration_s, FRAME_S)))
    for k, detector in detectors.items():
        channels[k].take(detector.end())
    return count / SAMPLE_RATE_HZ


def _union(turns: Iterable[Turn]) -> Iterator[Segment]:
    """Yield the part of each turn, in order of their start, in which nobody of those before speaks any more."""
    end_s = 0.0
    for turn in turns:
        yield Segment(max(end_s, turn.segment.start_s), turn.segment.end_s)
        end_s = max(end_s, turn.segment.end_s)


def _exclusive(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns, one speaker at a time: whoever speaks first goes on, and the other begins after them."""
    parts = zip(_union(turns), turns, strict=True)
    return [replace(turn, segment=part) for part, turn in parts if part.duration_s >= MIN_TURN_S]


def _sure(turns: Sequence[Turn], activity: Mapping[str, NDArray[np.uint8]]) -> list[Turn]:
    """Return the turns with the mean probability that somebody speaks on the channel of each speaker."""
    return [
        replace(turn, confidence={speaker: _mean(one, turn.segment) for speaker, one in activity.items()})
        for turn in turns
    ]


def _mean(activity: NDArray[np.uint8], segment: Segment) -> int:
    first = min(int(segment.start_s / SPEECH_FRAME_S), len(activity) - 1)
    return round(float(activity[first : max(first + 1, round(segment.end_s / SPEECH_FRAME_S))].mean()))


def _frame_confidence(
    turns: Sequence[Turn], activity: Mapping[str, NDArray[np.uint8]], audio_s: float
) -> FrameConfidence:
    """Return in turns the probability of speech of their speakers, the least of those, elsewhere that of silence."""
    times_s = FRAME_S * (np.arange(int(np.ceil(audio_s / FRAME_S - 0.5))) + 0.5)
    found = np.full(len(times_s), 100, np.uint8)
    for speaker, one in activity.items():
        heard = one[np.minimum((times_s / SPEECH_FRAME_S).astype(np.intp), len(one) - 1)]
        inside = np.zeros(len(times_s), np.bool)
        for turn in turns:
            if turn.speaker == speaker:
                inside[slice(*np.searchsorted(times_s, (turn.segment.start_s, turn.segment.end_s)))] = True
        found = np.minimum(found, np.where(inside, heard, 100 - heard))
    return FrameConfidence(found)


def _transcript(channels: Iterable[_Channel], recogniser: Recogniser | None) -> Transcript | None:
    """Return the words of all channels in order of their turns; those of one channel are recognised apart."""
    if recogniser is None:
        return None
    told = [one.transcriber.transcript(one.turns) for one in channels if one.transcriber]
    turns = sorted((turn for transcript in told for turn in transcript.turns), key=lambda turn: turn.segment)
    card = recogniser.card
    return Transcript(turns=turns, recogniser_id=card.recogniser_id, language=card.language)


def _warning(stream: ChannelStream, speaking: Mapping[int, _Channel], transcript: Transcript | None) -> str | None:
    track = stream.track
    empty = [k for k in track.voices if k not in track.channels.used]
    silent = [k for k in range(track.channels.number) if k not in speaking and k not in empty]
    return sentences(
        _ONE if track.channels.number == 1 else None,
        _copied(empty) if empty else None,
        f"Nobody speaks on {named(silent)}." if silent else None,
        track.warning,
        transcript.warning if transcript else None,
    )


def _copied(channels: Sequence[int]) -> str:
    return (
        f"No sound of its own is on {named(channels)}, only that of another channel, which counts once; without "
        "`channel` speakers are told apart."
    )
