"""Transcription (ASR): the words of a recording, and the turns that they belong to.

A long recording is transcribed chunk by chunk, while the sound of a chunk is there. Its turns are known only at the
end, when the speakers of all chunks are linked. So each word gets a time, and goes to the turn of that time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.domain.audio import Chunk, Segment, Waveform, total_s
from shared.domain.diarization import Diarization, Turn, outside
from shared.domain.speech import SpokenTurn, Transcript
from shared.networks import Recogniser
from worker.voices.clustering import with_short_turns_joined
from worker.voices.progress import Steps

#: Longest pause within a stretch, and its greatest length, in seconds: words are told apart by their sentence. In mixed
#: clips of LibriSpeech 4.6 % of the words were others than in whole clips where each turn was a stretch of its own, and
#: 2.2 % so.
_PAUSE_S = 1.0
_LONGEST_S = 15.0
#: Longest sound that is kept on each side of a stretch's speech, as far as nobody else speaks.
_MARGIN_S = 0.3
#: Shortest turn beside another, in seconds: hops on the edge of a speech segment may be given to a neighbour, and would
#: cut a word in two.
_SHORT_S = 0.4
#: Longest end of a stretch that waits for the next chunk, and the time in which its quietest moment is looked for.
_WAITING_S = 5.0
_MOMENT_S = 0.05
#: Times that differ by no more are equal.
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Word:
    """Word of a recording, and the time of its middle."""

    at_s: float
    text: str


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Speech of one speaker that is recognised in one go, and its sound with some silence on both sides."""

    speech: list[Segment]
    #: Start of the sound in the recording, in seconds.
    start_s: float
    waveform: Waveform

    @property
    def end_s(self) -> float:
        return self.speech[-1].end_s


class Transcriber:
    """Transcriber of a recording that comes in chunks; it keeps words, and only a few seconds of sound."""

    def __init__(self, recogniser: Recogniser, steps: Steps) -> None:
        self._recogniser = recogniser
        self._steps = steps
        self._words: list[Word] = []
        #: End of the last chunk's speech, which the chunk's end cut off.
        self._waiting: _Stretch | None = None

    def hear(self, chunk: Chunk, turns: Sequence[Turn]) -> None:
        """Take the next chunk, and its turns: of speakers that are not linked yet."""
        found = self._continued(_stretches(chunk, turns))
        if found and found[-1].end_s >= chunk.segment.end_s - _ROUNDING_S:
            before, self._waiting = _cut(found.pop())
            found += before
        for stretch in found:
            self._recognise(stretch)

    def transcript(self, turns: Sequence[Turn]) -> Transcript:
        """Return the words by the recording's turns; to be called after the last chunk."""
        if self._waiting:
            self._recognise(self._waiting)
        return _transcript(by_turns(self._words, turns), self._recogniser)

    def _continued(self, found: list[_Stretch]) -> list[_Stretch]:
        """Return the stretches of a chunk after what waited for them."""
        waiting = self._waiting
        self._waiting = None
        if waiting is None:
            return found
        if found and found[0].speech[0].start_s <= waiting.end_s + _ROUNDING_S:
            return [_joined(waiting, found[0]), *found[1:]]
        return [waiting, *found]

    def _recognise(self, stretch: _Stretch) -> None:
        with self._steps("transcribe"):
            text = self._recogniser.transcribe(stretch.waveform.samples)
        self._words += timed(text, stretch.speech)


def transcribe_speaker(
    waveform: Waveform, diarization: Diarization, speaker: str, recogniser: Recogniser, steps: Steps
) -> Transcript:
    """Return the words of one speaker of a short recording, as one turn; the other speakers are silenced."""
    alone = replace(waveform, samples=waveform.samples.copy())
    own = diarization.segments(speaker)
    for segment in outside([turn.segment for turn in diarization.turns if turn.speaker != speaker], own):
        alone.crop(segment)[:] = 0.0
    whole = Segment(own[0].start_s, own[-1].end_s)
    with steps("transcribe"):
        text = recogniser.transcribe(alone.crop(whole))
    return _transcript([SpokenTurn(segment=whole, speaker=speaker, text=text)] if text else [], recogniser)


def timed(text: str, speech: Sequence[Segment]) -> Iterator[Word]:
    """Yield the words of `text` with the times they have if all letters of the speech take equally long."""
    words = text.split()
    lengths = np.array([1 + len(word) for word in words])
    middles_s = (np.cumsum(lengths) - lengths / 2) * (total_s(speech) / max(1, lengths.sum()))
    edges_s = np.cumsum([0.0, *(segment.duration_s for segment in speech)])
    owners = np.clip(np.searchsorted(edges_s, middles_s, "right") - 1, 0, len(speech) - 1)
    for word, owner, middle_s in zip(words, owners.tolist(), middles_s.tolist(), strict=True):
        yield Word(speech[owner].start_s + middle_s - float(edges_s[owner]), word)


def by_turns(words: Sequence[Word], turns: Sequence[Turn]) -> list[SpokenTurn]:
    """Return the words by turns, each in that of its time or the nearest; turns without words are left out.

    Parameters
    ----------
    turns : in order and disjoint; those of one speaker with short pauses between them are one.
    """
    whole = [Turn(Segment(own[0].segment.start_s, own[-1].segment.end_s), own[0].speaker) for own in _grouped(turns)]
    texts: dict[int, list[str]] = {}
    for word, owner in zip(words, _nearest(np.array([word.at_s for word in words]), whole), strict=True):
        texts.setdefault(owner, []).append(word.text)
    return [
        SpokenTurn(segment=whole[i].segment, speaker=whole[i].speaker, text=" ".join(said))
        for i, said in sorted(texts.items())
    ]


def _nearest(times_s: NDArray[np.float64], turns: Sequence[Turn]) -> list[int]:
    """Return the index of the turn at each time, or of the nearest one."""
    starts_s = np.array([turn.segment.start_s for turn in turns])
    ends_s = np.array([turn.segment.end_s for turn in turns])
    before = np.clip(np.searchsorted(starts_s, times_s, "right") - 1, 0, None)
    after = np.minimum(before + 1, len(turns) - 1)
    nearer = starts_s[after] - times_s < times_s - ends_s[before]
    found: list[int] = np.where(nearer, after, before).tolist()
    return found


def _stretches(chunk: Chunk, turns: Sequence[Turn]) -> list[_Stretch]:
    groups = _grouped(turns)
    starts_s = [group[0].segment.start_s for group in groups]
    ends_s = [group[-1].segment.end_s for group in groups]
    whole = chunk.segment
    return [
        _stretch(chunk, group, Segment(max(before_s, start_s - _MARGIN_S), min(after_s, end_s + _MARGIN_S)))
        for group, start_s, end_s, before_s, after_s in zip(
            groups, starts_s, ends_s, [whole.start_s, *ends_s], [*starts_s[1:], whole.end_s], strict=False
        )
    ]


def _stretch(chunk: Chunk, turns: Sequence[Turn], sound: Segment) -> _Stretch:
    waveform = Waveform(chunk.join([sound]), chunk.waveform.sample_rate_hz)
    return _Stretch([turn.segment for turn in turns], sound.start_s, waveform)


def _grouped(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Return turns in groups of one speaker, each as long as a stretch may be."""
    groups: list[list[Turn]] = []
    for turn in with_short_turns_joined(turns, _SHORT_S):
        if groups and _continues(groups[-1], turn):
            groups[-1].append(turn)
        else:
            groups.append([turn])
    return groups


def _continues(group: Sequence[Turn], turn: Turn) -> bool:
    pause_s = turn.segment.start_s - group[-1].segment.end_s
    length_s = turn.segment.end_s - group[0].segment.start_s
    # The end of a chunk cuts a turn in two, which touch.
    near = pause_s <= _ROUNDING_S or (pause_s <= _PAUSE_S and length_s <= _LONGEST_S)
    return near and turn.speaker == group[0].speaker


def _joined(one: _Stretch, other: _Stretch) -> _Stretch:
    samples = np.concatenate([one.waveform.samples, other.waveform.samples])
    return _Stretch(one.speech + other.speech, one.start_s, Waveform(samples, one.waveform.sample_rate_hz))


def _cut(stretch: _Stretch) -> tuple[list[_Stretch], _Stretch]:
    """Return the part to recognise now, and the end that waits: from a quiet moment on, or all."""
    before_s = stretch.waveform.duration_s - _WAITING_S
    if before_s <= 0.0:
        return [], _part(stretch, Segment(stretch.start_s, stretch.end_s))
    end = stretch.waveform.crop(Segment(before_s, stretch.waveform.duration_s))
    moment = round(_MOMENT_S * stretch.waveform.sample_rate_hz)
    loudness = np.square(end[: len(end) // moment * moment].reshape(-1, moment)).mean(axis=1)
    cut_s = stretch.start_s + before_s + (int(loudness.argmin()) + 0.5) * _MOMENT_S
    now = _part(stretch, Segment(stretch.start_s, cut_s))
    return [now] if now.speech else [], _part(stretch, Segment(cut_s, stretch.end_s))


def _part(stretch: _Stretch, sound: Segment) -> _Stretch:
    """Return the part of a stretch within `sound`, with samples of its own: the chunk's are not held."""
    within = Segment(sound.start_s - stretch.start_s, sound.end_s - stretch.start_s)
    samples = stretch.waveform.crop(within).copy()
    parts = [Segment(max(s.start_s, sound.start_s), min(s.end_s, sound.end_s)) for s in stretch.speech]
    return _Stretch(list(filter(None, parts)), sound.start_s, Waveform(samples, stretch.waveform.sample_rate_hz))


def _transcript(turns: Sequence[SpokenTurn], recogniser: Recogniser) -> Transcript:
    card = recogniser.card
    return Transcript(turns=turns, recogniser_id=card.recogniser_id, language=card.language)
