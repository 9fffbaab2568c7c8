"""Cards of the neural networks, as `models/manifest.toml` states them; no network is loaded for them."""

import re
from dataclasses import dataclass

from shared.domain.calibration import Calibration

#: Names of pyannoteAI's models. In a request they mean the default model, so no model here may have one.
VENDOR_MODEL = re.compile(r"(precision|community)-\d+")


@dataclass(frozen=True, kw_only=True)
class ClusteringThresholds:
    """Thresholds for clustering one model's embeddings; another model's scores need others."""

    #: Lengths of the windows that are embedded round each hop, in seconds.
    windows_s: tuple[float, ...]
    #: Seconds from one hop to the next.
    hop_s: float
    #: Most speakers looked for in one recording.
    max_speakers: int
    #: Least silhouette (of cosines) at which a recording is split: `split_gate` plus `split_gate_s` divided by the
    #: seconds of speech. The second term is there because the overlapping windows of little speech always form groups.
    split_gate: float
    split_gate_s: float
    #: Silhouette that each speaker beyond two must add.
    split_penalty: float
    #: Price of a change of speaker, in cosine times seconds.
    switch_cost_s: float
    #: Least speech of a speaker, in seconds; the hops of one with less go to the nearest other speaker.
    min_speaker_s: float
    #: Least cosine of two centroids at which the speakers are merged.
    merge_cosine: float
    #: Least cosine of two centroids at which speakers of different chunks of a long recording are linked.
    link_cosine: float
    #: Least cosine at which a hop repeats an earlier one: the same sound, played again.
    repeat_cosine: float


@dataclass(frozen=True, kw_only=True)
class ListedCalibration:
    """Calibration of a model, as clients see it."""

    #: Name of the data that it was fitted on.
    data: str
    #: Time of the fit, ISO 8601, UTC.
    fitted_at: str


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """A model in the list that clients see."""

    handle: str
    #: The card's revision; None until the weights are installed.
    version: str | None
    dimension: int
    sample_rate_hz: int
    min_speech_s: float
    licence: str
    installed: bool
    calibrated: bool
    #: None without one, and of a worker of an earlier release.
    calibration: ListedCalibration | None = None
    #: Whether jobs that name no model use this one.
    default: bool

    @property
    def model_id(self) -> str:
        """Name and revision, as stored in every voiceprint: `ge2e@1`."""
        return f"{self.handle}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Speaker model: an entry of the manifest, as it is installed."""

    #: Short name, as users write it: `titanet_large`.
    handle: str
    #: Changes whenever the vectors change; voiceprints of two revisions are not comparable.
    revision: str
    #: Which wrapper runs it: `titanet`, `ge2e`, or `nemo_speaker` or `onnx` for a model of the user's own.
    architecture: str
    #: Length of an embedding.
    dimension: int
    sample_rate_hz: int
    #: Least net speech for a voiceprint, in seconds.
    min_speech_s: float
    #: SPDX identifier or name of the weights' licence.
    licence: str
    #: URL or name of the place that the weights come from.
    source: str
    clustering: ClusteringThresholds
    #: Calibration stored under the handle; it may be that of another revision.
    fitted: Calibration | None = None

    @property
    def model_id(self) -> str:
        """Name and revision, as stored in every voiceprint: `ge2e@1`."""
        return f"{self.handle}@{self.revision}"

    @property
    def calibration(self) -> Calibration | None:
        """Return the calibration of this revision; without one the scores give only an order."""
        return self.fitted if self.fitted and self.fitted.model_id == self.model_id else None


@dataclass(frozen=True, kw_only=True)
class RecogniserCard:
    """Speech recogniser, as `models/recognisers.toml` states it."""

    #: Short name, as users write it: `moonshine_tiny_en`.
    handle: str
    revision: str
    #: Which wrapper runs it: `moonshine` or `nemo_ctc`.
    architecture: str
    #: Primary language subtag (BCP 47): `en`.
    language: str
    sample_rate_hz: int
    #: SPDX identifier or name of the weights' licence.
    licence: str
    #: URL or name of the place that the weights come from.
    source: str

    @property
    def recogniser_id(self) -> str:
        """Name and revision: `moonshine_tiny_en@1`."""
        return f"{self.handle}@{self.revision}"
