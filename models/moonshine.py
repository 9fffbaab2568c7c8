"""Moonshine, an English speech recogniser (Jeffries et al. 2024, arXiv:2410.15608, MIT licence), in onnxruntime.

An encoder turns 16 kHz samples into 41.7 frames a second. A decoder with cached keys and values then writes one token a
pass, each time the likeliest.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from models.runtime import open_session
from models.vad import SileroVad
from shared.domain.audio import Samples, Segment
from shared.domain.models import RecogniserCard

ENCODER_FILE = "moonshine_tiny_en_encoder.ort"
DECODER_FILE = "moonshine_tiny_en_decoder.ort"
TOKENIZER_FILE = "moonshine_tiny_en_tokenizer.bin"

_START = 1
_END = 2
_BEFORE_WORD = "▁".encode()
#: Most tokens for a second of sound, as Moonshine's authors limit them, and for any recording.
_TOKENS_PER_S = 6.5
_TOKENS_AT_LEAST = 6
#: A group of up to `_LONGEST_LOOP` tokens that comes `_LOOPS` times or more, up to the limit, is a loop without end.
_LONGEST_LOOP = 12
_LOOPS = 4

#: Longest stretch of speech that is heard at once.
_LONGEST_S = 15.0
#: Silence that is kept on each side of speech.
_MARGIN_S = 0.3
#: The encoder needs a few frames.
_SHORTEST_S = 0.25
#: Added to a pause, so that the middle of a stretch counts where no pause is longer than another.
_ANY_PAUSE_S = 0.05


class Moonshine:
    """Speech recogniser from three files: encoder, decoder and tokens."""

    def __init__(self, card: RecogniserCard, folder: Path, threads: int = 1) -> None:
        self.card = card
        self._vad = SileroVad(threads=threads)
        self._encoder = open_session(folder / ENCODER_FILE, threads)
        self._decoder = open_session(folder / DECODER_FILE, threads)
        self._tokens = read_tokens((folder / TOKENIZER_FILE).read_bytes())
        self._states = [one.name for one in self._decoder.get_outputs()[1:]]
        self._empty = {
            _past(state.name): np.zeros((1, state.shape[1], 0, state.shape[3]), np.float32)
            for state in self._decoder.get_outputs()[1:]
        }

    def transcribe(self, samples: Samples) -> str:
        """Return the words of speech (num_samples,) at 16 kHz, as text; empty where nobody speaks."""
        rate = self.card.sample_rate_hz
        speech = self._vad.speech_segments(samples)
        texts = []
        for stretch in stretches(speech, len(samples) / rate):
            pieces = [samples[round(piece.start_s * rate) : round(piece.end_s * rate)] for piece in stretch]
            texts.append(self._transcribe_stretch(np.concatenate(pieces)))
        return " ".join(filter(None, texts))

    def _transcribe_stretch(self, samples: Samples) -> str:
        rate = self.card.sample_rate_hz
        padded = np.pad(samples, (0, max(0, round(_SHORTEST_S * rate) - len(samples))))
        inputs = np.ascontiguousarray(padded[np.newaxis], np.float32)
        mask = np.ones(inputs.shape, np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": inputs, "attention_mask": mask})
        most = _TOKENS_AT_LEAST + round(len(samples) / rate * _TOKENS_PER_S)
        return self._text(self._decode(hidden, mask, most))

    def _decode(self, hidden: Samples, mask: Any, most: int) -> list[int]:
        fixed = {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        states = self._empty
        tokens = [_START]
        while len(tokens) <= most:
            step = {"input_ids": np.array([tokens[-1:]]), "use_cache_branch": np.array([len(tokens) > 1])}
            logits, *new = self._decoder.run(None, fixed | states | step)
            states = self._updated(states, new, first=len(tokens) == 1)
            token = int(logits[0, -1].argmax())
            if token == _END:
                return tokens[1:]
            tokens.append(token)
        return without_loop(tokens[1:])

    def _updated(self, states: Mapping[str, Any], new: Iterable[Any], first: bool) -> dict[str, Any]:
        # The encoder's keys and values are computed once; later passes return empty ones.
        return {
            _past(name): state if first or ".decoder." in name else states[_past(name)]
            for name, state in zip(self._states, new, strict=True)
        }

    def _text(self, tokens: list[int]) -> str:
        joined = b"".join(self._tokens[token] for token in tokens).replace(_BEFORE_WORD, b" ")
        return joined.decode(errors="ignore").strip()


def read_tokens(table: bytes) -> list[bytes]:
    """Return the bytes of each token, of a table that has a byte with its length in front of each.

    Control tokens such as `</s>` and `<<ST_1>>` are empty. A single byte is part of a character in UTF-8.
    """
    tokens = []
    place = 0
    while place < len(table):
        end = place + 1 + table[place]
        tokens.append(table[place + 1 : end])
        place = end
    return [b"" if len(token) > 1 and token[:1] == b"<" and token[-1:] == b">" else token for token in tokens]


def without_loop(tokens: list[int]) -> list[int]:
    """Return tokens with one group of the loop that ends them, if there is one.

    Only what reached its limit is to be judged so: people repeat words too, and then the decoder ends by itself.
    """
    for length in range(1, _LONGEST_LOOP + 1):
        end = tokens[-length * _LOOPS :]
        if len(end) == length * _LOOPS and end == end[:length] * _LOOPS:
            first = len(tokens) - length
            while first > 0 and tokens[first - 1] == tokens[first - 1 + length]:
                first -= 1
            return tokens[: first + length]
    return tokens


def stretches(speech: Sequence[Segment], seconds: float) -> list[list[Segment]]:
    """Return the pieces of a recording of `seconds` that are heard at once: all its speech, in order.

    No stretch has more than 15 s. One ends at a long pause near its middle. Pauses longer than 0.6 s lose the rest.
    """
    middles = [(before.end_s + after.start_s) / 2 for before, after in pairwise(speech)]
    pieces: list[_Piece] = []
    for segment, left_s, right_s in zip(speech, [0.0, *middles], [*middles, seconds], strict=False):
        start_s = max(left_s, segment.start_s - _MARGIN_S)
        end_s = min(right_s, segment.end_s + _MARGIN_S)
        pieces += _cut_evenly(Segment(start_s, end_s), pause_s=2 * (segment.start_s - left_s))
    return [[piece.segment for piece in stretch] for stretch in _grouped(pieces)] if pieces else []


@dataclass(frozen=True)
class _Piece:
    """Piece of speech, and the pause before it."""

    segment: Segment
    pause_s: float


def _cut_evenly(segment: Segment, pause_s: float) -> Iterator[_Piece]:
    count = math.ceil(segment.duration_s / _LONGEST_S)
    edges = np.linspace(segment.start_s, segment.end_s, count + 1).tolist()
    for i, (start_s, end_s) in enumerate(pairwise(edges)):
        yield _Piece(Segment(start_s, end_s), 0.0 if i else pause_s)


def _grouped(pieces: list[_Piece]) -> list[list[_Piece]]:
    ends_s = list(accumulate(piece.segment.duration_s for piece in pieces))
    if ends_s[-1] <= _LONGEST_S or len(pieces) == 1:
        return [pieces]

    def worth(place: int) -> float:
        shorter_s = min(ends_s[place - 1], ends_s[-1] - ends_s[place - 1])
        return (pieces[place].pause_s + _ANY_PAUSE_S) * min(1.0, shorter_s / (_LONGEST_S / 3))

    place = max(range(1, len(pieces)), key=worth)
    return [*_grouped(pieces[:place]), *_grouped(pieces[place:])]


def _past(name: str) -> str:
    return name.replace("present", "past_key_values")
