"""Conformer-CTC speech recognisers of NVIDIA NeMo in onnxruntime: log-mel features, log probabilities, greedy words.

Gulati et al., "Conformer: Convolution-augmented Transformer for Speech Recognition" (Interspeech 2020); Graves et al.,
"Connectionist temporal classification" (ICML 2006). `models.installation.export_ctc` makes the two files
from a .nemo file.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.features import HOP, nemo_features
from models.runtime import open_session
from shared.domain.audio import SAMPLE_RATE_HZ, Samples
from shared.domain.models import RecogniserCard

NETWORK_FILE = "recogniser.onnx"
VOCABULARY_FILE = "vocabulary.json"

#: Longest stretch that the network hears at once. It was trained on such, and attention's memory grows by the square.
MAX_STRETCH_S = 20
#: A longer recording is cut in the middle of its quietest 200 ms.
_PAUSE_HOPS = 20

#: SentencePiece's sign of a space.
_SPACE = "\u2581"


@dataclass(frozen=True)
class Vocabulary:
    """Word pieces of a recogniser, by the number of its output; the output behind the last is CTC's blank."""

    pieces: Sequence[str]
    #: Marks that lose the space before them, as NeMo writes them.
    punctuation: str

    def write(self, path: Path) -> None:
        """Store the vocabulary as JSON."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Vocabulary":
        """Read a stored vocabulary."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def text(self, log_probs: NDArray[np.float32]) -> str:
        """Return the text of the best output of each frame, shape (num_frames, num_pieces + 1).

        Greedy CTC decoding: repeats count once, unless a blank separates them.
        """
        best = log_probs.argmax(axis=1)
        changes = np.diff(best, prepend=-1) != 0
        kept = best[changes & (best != len(self.pieces))]
        text = " ".join("".join(self.pieces[number] for number in kept).replace(_SPACE, " ").split())
        return re.sub(rf" ([{re.escape(self.punctuation)}])", r"\1", text) if self.punctuation else text


class NemoCtc:
    """A Conformer-CTC recogniser of any size."""

    def __init__(self, card: RecogniserCard, folder: Path, threads: int = 1) -> None:
        self.card = card
        self._network = open_session(folder / NETWORK_FILE, threads)
        self.vocabulary = Vocabulary.read(folder / VOCABULARY_FILE)

    def transcribe(self, samples: Samples) -> str:
        """Return the words of speech (num_samples,) at 16 kHz, in the form the recogniser was trained on.

        A long recording is heard in stretches of 20 s or less, which end in its pauses.
        """
        texts = [self.vocabulary.text(self.log_probs(stretch)) for stretch in stretches(samples)]
        return " ".join(text for text in texts if text)

    def log_probs(self, samples: Samples) -> NDArray[np.float32]:
        """Return the log probabilities of word pieces and blank, shape (num_frames, num_pieces + 1).

        Raises
        ------
        ValueError
            The samples do not fill one frame (10 ms).
        """
        return self._network.run(["log_probs"], {"features": nemo_features(samples)[np.newaxis]})[0][0]


def stretches(samples: Samples) -> Iterator[Samples]:
    """Cut a recording where it is quiet, into stretches of `MAX_STRETCH_S` at most. A rest below 10 ms is left out."""
    longest = MAX_STRETCH_S * SAMPLE_RATE_HZ
    while len(samples) > longest:
        end = _quietest(samples[:longest])
        yield samples[:end]
        samples = samples[end:]
    if len(samples) >= HOP:
        yield samples


def _quietest(samples: Samples) -> int:
    # In the second half, so that parts are long: words at a cut lose their context.
    start = len(samples) // 2
    hops = samples[start : start + (len(samples) - start) // HOP * HOP].reshape(-1, HOP)
    energy = np.square(hops, dtype=np.float64).sum(axis=1)
    quietest = sliding_window_view(energy, _PAUSE_HOPS).sum(axis=1).argmin()
    return start + (int(quietest) + _PAUSE_HOPS // 2) * HOP
