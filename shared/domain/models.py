"""What the house knows of a neural network without loading it: its card, as `models/manifest.toml` states it."""

from dataclasses import dataclass

from shared.domain.calibration import Calibration


@dataclass(frozen=True, kw_only=True)
class ClusteringThresholds:
    """How one model's embeddings are told apart. Scores of two models are not comparable, so neither are these."""

    #: Lengths of the windows that are embedded round each hop, and from one hop to the next, in seconds.
    windows_s: tuple[float, ...]
    hop_s: float
    #: Most speakers looked for in one recording.
    max_speakers: int
    #: Least silhouette (cosine) at which a recording is split: the gate, and `split_gate_s` over the seconds of speech,
    #: since the overlapping windows of little speech always look like groups. What each speaker beyond two must add.
    split_gate: float
    split_gate_s: float
    split_penalty: float
    #: What a change of speaker must win: cosine times seconds.
    switch_cost_s: float
    #: Speakers with less speech than this are given to their nearest neighbour, in seconds.
    min_speaker_s: float
    #: Speakers whose centroids have at least this cosine are one.
    merge_cosine: float
    #: Speakers of different minutes of a long recording whose centroids have at least this cosine are one.
    link_cosine: float


@dataclass(frozen=True, kw_only=True)
class ListedModel:
    """One line of the list of models that clients see."""

    handle: str
    #: The card's revision; None until it is known, with the weights.
    version: str | None
    dimension: int
    sample_rate_hz: int
    min_speech_s: float
    licence: str
    installed: bool
    calibrated: bool
    #: Whether jobs that name no model are given this one.
    default: bool

    @property
    def model_id(self) -> str:
        """Name and revision, as stored in every voiceprint: `ge2e@1`."""
        return f"{self.handle}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One entry of the manifest."""

    #: Short name, as users write it: `titanet_large`.
    handle: str
    #: Changes whenever vectors change; voiceprints of two revisions are not comparable.
    revision: str
    #: Which wrapper runs it: `titanet` or `ge2e`.
    architecture: str
    #: Length of an embedding.
    dimension: int
    sample_rate_hz: int
    #: Least net speech for a voiceprint, in seconds.
    min_speech_s: float
    #: SPDX identifier or name of the weights' licence, and where the weights come from.
    licence: str
    source: str
    clustering: ClusteringThresholds
    #: The calibration that is stored under the handle, which may be that of another revision.
    fitted: Calibration | None = None

    @property
    def model_id(self) -> str:
        """Name and revision, as stored in every voiceprint: `ge2e@1`."""
        return f"{self.handle}@{self.revision}"

    @property
    def calibration(self) -> Calibration | None:
        """Return what was fitted on this very revision; None: scores of the model mean nothing but an order."""
        return self.fitted if self.fitted and self.fitted.model_id == self.model_id else None
