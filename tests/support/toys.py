"""Toy voices, models and calibrations: two or sixteen dimensions, no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from shared.domain.audio import Segment
from shared.domain.calibration import Calibration
from shared.domain.diarization import Turn
from shared.domain.errors import LanguageNotInstalled
from shared.domain.models import ClusteringThresholds, ModelCard, RecogniserCard
from shared.domain.quality import Capture, Condition
from shared.domain.voiceprints import Voiceprint
from worker.voices.chunks import DiarizedChunk, LocalSpeaker
from worker.voices.clustering import centroids

CLEAN = Capture(net_speech_s=20.0, snr_db=30.0, narrowband=False)
THRESHOLDS = ClusteringThresholds(
    windows_s=(1.5, 1.0), hop_s=0.5, max_speakers=4, split_gate=0.1, split_gate_s=0.5, split_penalty=0.02,
    switch_cost_s=0.01, min_speaker_s=1.0, merge_cosine=0.9, link_cosine=0.8, repeat_cosine=1.1,
)  # fmt: skip
CARD = ModelCard(
    handle="toy", revision="1", architecture="toy", dimension=16, sample_rate_hz=16_000, min_speech_s=1.0,
    licence="none", source="none", clustering=THRESHOLDS,
)  # fmt: skip
ZERO = np.zeros(2, np.float32)
NONE = np.zeros((0, 2), np.float32)
_WEIGHTS = np.array([-10.0, 0, 0, 0, 20.0, 0, 0, 0])


def voices(*who: int, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Return one embedding per window: orthogonal voices with a little noise, shape (len(who), 16)."""
    rng = np.random.default_rng(seed)
    raw = np.eye(16, dtype=np.float32)[list(who)] + noise * rng.standard_normal((len(who), 16)).astype(np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@dataclass
class ToyEmbedder:
    """Embedder whose `frames` hold one voice number per second of the joined speech."""

    card: ModelCard = CARD

    def pool(self, frames: Sequence[int], spans: Sequence[Segment]) -> np.ndarray:
        """Return the embedding of the voice in the middle of each span."""
        return voices(*(frames[int((s.start_s + s.end_s) / 2)] for s in spans))

    def pool_windows(self, frames: Sequence[int], windows: Sequence[Segment]) -> np.ndarray:
        """Return the embedding of each window of diarization."""
        return self.pool(frames, windows)


def toy_calibration(means: Mapping[str, np.ndarray] = MappingProxyType({}), nuisance: np.ndarray = NONE) -> Calibration:
    """Return a calibration of the model toy@1 that weighs the cosine alone; means that are left out are zero."""
    all_means = {condition.value: means.get(condition, ZERO) for condition in Condition}
    return Calibration(
        model_id="toy@1", data="toy", fitted_at="2026-01-01T00:00:00+00:00", weights=_WEIGHTS, means=all_means,
        nuisance=nuisance,
    )  # fmt: skip


def voiceprint(x: float, y: float, capture: Capture = CLEAN, model: str = "toy@1") -> Voiceprint:
    """Return a voiceprint in two dimensions."""
    return Voiceprint(model, np.array([x, y], np.float32), capture)


def turn(start_s: float, end_s: float, speaker: str) -> Turn:
    """Return a turn."""
    return Turn(Segment(start_s, end_s), speaker)


def chunk(heard: Sequence[int], said: Sequence[int], speech: Sequence[Segment] | None = None) -> DiarizedChunk:
    """Return a chunk with the labels that its clustering said; one segment of speech unless others are given."""
    embeddings = voices(*heard, seed=len(heard))
    labels = np.array(said)
    middles = centroids(embeddings, labels)
    seconds = np.bincount(labels) * THRESHOLDS.hop_s
    return DiarizedChunk(
        segment=Segment(0.0, 60.0), speech=speech or [Segment(0.0, len(heard) * THRESHOLDS.hop_s)],
        activity=np.zeros(0, np.uint8),
        speakers=[LocalSpeaker(centroid=m, seconds=s, voice=None) for m, s in zip(middles, seconds, strict=True)],
        hop_s=THRESHOLDS.hop_s, labels=labels, coordinates=embeddings.astype(np.float16),
        basis=np.eye(16, dtype=np.float16),
    )  # fmt: skip


#: Recogniser that `Reader` is.
RECOGNISER = RecogniserCard(
    handle="reader", revision="1", architecture="toy", language="en", sample_rate_hz=16_000, licence="none",
    source="none",
)  # fmt: skip
#: Sound of a word, and of the silence behind it, in samples.
_WORD, _GAP = 6_400, 1_600


def sound_of(*numbers: int) -> np.ndarray:
    """Return sound of 0.5 s for each number, which `Reader` takes for a word; 0 is silence."""
    heard = np.repeat(np.array(numbers, np.float32), _WORD + _GAP).reshape(-1, _WORD + _GAP)
    heard[:, _WORD:] = 0.0
    return heard.ravel()


@dataclass
class Reader:
    """Speech recogniser that reads the numbers of `sound_of` as `w1`, `w2`, ...; a piece of a word is a word to it.

    Negative numbers are the same words.
    """

    card: RecogniserCard = RECOGNISER
    #: Seconds of each sound that it was given.
    heard_s: list[float] = field(default_factory=list)

    def transcribe(self, samples: np.ndarray) -> str:
        """Return the numbers as words."""
        self.heard_s.append(len(samples) / self.card.sample_rate_hz)
        starts = np.flatnonzero(np.diff(samples, prepend=0.0)) if len(samples) else []
        return " ".join(f"w{abs(samples[i]):g}" for i in starts if samples[i])


@dataclass
class OneRecogniser:
    """Recognisers of which one is there, of English, or none."""

    recogniser: Reader = field(default_factory=Reader)
    installed: bool = True
    #: Languages that were asked for.
    asked: list[str | None] = field(default_factory=list)

    def find(self, language: str | None) -> Reader:
        """Return it; raises LanguageNotInstalled for another language."""
        self.asked.append(language)
        if not self.installed or (language and language.split("-")[0].lower() != "en"):
            raise LanguageNotInstalled("Only English is installed.")
        return self.recogniser
