"""Installing any NeMo speaker model: ECAPA-TDNN, SpeakerNet and finetunes, which NeMo itself makes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.features import NemoMel
from models.install import main
from models.registry import OwnModel, Record, sha256_of
from shared.domain.audio import Segment
from shared.networks import Embedder
from tests.support.corpora import UNCALIBRATED
from tests.support.nemo_files import changed
from tests.support.speech import Clip

# NeMo and torch warn of what is deprecated in their own code.
pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]

#: Kind -> what builds it, the length of its embeddings, and its features.
KINDS: dict[str, tuple[str, dict, int, NemoMel]] = {
    "speakernet": (
        "build_conv_nemo",
        {
            "emb_sizes": [64, 48],
            "pool_mode": "xvector",
            "se": False,
            "num_classes": 21,
            "preprocessor": {"features": 64, "window_size": 0.02},
        },
        48,
        NemoMel(num_mels=64, window=320),
    ),
    "mean": ("build_conv_nemo", {"emb_sizes": 40, "pool_mode": "tap", "num_classes": 2}, 40, NemoMel()),
    "unmasked": ("build_conv_nemo", {"emb_sizes": 512, "conv_mask": False}, 512, NemoMel()),
    "ecapa_xvector": ("build_ecapa_nemo", {"pool_mode": "xvector"}, 64, NemoMel()),
}


@pytest.fixture(scope="module")
def ecapa_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.titanet_nemo import build_ecapa_nemo

    path = tmp_path_factory.mktemp("ecapa") / "My ECAPA.nemo"
    build_ecapa_nemo(path)
    return path


@pytest.fixture(scope="module")
def own_weights(ecapa_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder in which the command installed an ECAPA-TDNN under the name of its file."""
    folder = tmp_path_factory.mktemp("own")
    assert main(["--from", str(ecapa_file), "--weights-dir", str(folder), *UNCALIBRATED]) == 0
    return folder


@pytest.fixture(scope="module")
def ecapa(own_weights: Path) -> Embedder:
    return registry.load(registry.installed_card("my_ecapa", own_weights), own_weights)


def test_an_ecapa_is_on_record_with_its_card(own_weights: Path, ecapa_file: Path) -> None:
    record = Record.read(own_weights / "my_ecapa")
    assert record.sha256 == sha256_of(ecapa_file)
    assert record.parity is not None
    assert 0.0 <= record.parity < 1e-6
    card = registry.installed_card("my_ecapa", own_weights)
    assert card.model_id == f"my_ecapa@1.{record.sha256[:8]}"
    assert (card.architecture, card.dimension, card.min_speech_s) == ("nemo_speaker", 64, 1.0)
    assert card.clustering == registry.entry("titanet_large").card.clustering
    assert card.source == "My ECAPA.nemo"
    assert [model.handle for model in registry.listed(own_weights)][-1] == "my_ecapa"


def test_its_embeddings_are_nemos_own(ecapa: Embedder, ecapa_file: Path, clips: list[Clip]) -> None:
    from models.installation.export import reference_embedding, restore_own

    model = restore_own(ecapa_file)
    for seconds in (0.7, 2.3337, 4.0):
        samples = clips[2].samples[: round(seconds * 16_000)]
        assert 1.0 - float(ecapa.embed(samples) @ reference_embedding(model, samples)) < 1e-6


def test_it_reacts_to_what_it_hears(ecapa: Embedder, clips: list[Clip]) -> None:
    assert float(ecapa.embed(clips[0].samples) @ ecapa.embed(clips[2].samples)) < 0.95
    pooled = ecapa.pool(ecapa.encode(clips[0].samples), [Segment(0.0, 0.004), Segment(1.0, 2.5)])
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_other_kinds_compute_what_nemo_does(kind: str, tmp_path: Path, clips: list[Clip]) -> None:
    from models.installation import export
    from tests.support import titanet_nemo

    builder, facts, dimension, mel = KINDS[kind]
    path = tmp_path / "model.nemo"
    build: Callable[..., None] = getattr(titanet_nemo, builder)
    build(path, **facts)
    model = export.restore_own(path)
    assert export.dimension_of(model) == dimension
    assert export.mel_of(model) == mel
    own = OwnModel(
        architecture="nemo_speaker",
        dimension=dimension,
        sample_rate_hz=16_000,
        min_speech_s=1.0,
        licence="none",
        source="none",
        features=vars(mel),
    )
    samples = clips[4].samples[:37_337]
    reference = export.reference_embedding(model, samples)
    assert export.export_checked(model, own.card("own"), tmp_path) < 1e-6
    embedder = registry.open_own(own.card("own"), own, tmp_path)
    assert 1.0 - float(embedder.embed(samples) @ reference) < 1e-6
    # Of one frame there is no deviation.
    assert np.isfinite(embedder.pool(embedder.encode(samples), [Segment(0.5, 0.501)])).all()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("pool_mode: attention", "pool_mode: gram", "decoder.pool_mode is gram, not attention or xvector or tap"),
        ("modules.ECAPAEncoder", "modules.ConformerEncoder", "encoder._target_ is ConformerEncoder, not"),
        ("EncDecSpeakerLabelModel", "EncDecDiarLabelModel", "target is EncDecDiarLabelModel, not"),
        ("sample_rate: 16000", "sample_rate: 8000", "preprocessor.sample_rate is 8000, not 16000"),
        ("normalize: per_feature", "normalize: all_features", "preprocessor.normalize is all_features, not"),
        ("window_stride: 0.01", "window_stride: 0.02", "preprocessor.window_stride is 0.02, not 0.01"),
        ("dither: 1.0e-05", "preemph: 0.0", "does not compute what NeMo does"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_a_sentence(
    ecapa_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, reason: str
) -> None:
    other = changed(ecapa_file, tmp_path / "other.nemo", old, new)
    weights = tmp_path / "weights"
    assert main(["--from", str(other), "--weights-dir", str(weights)]) == 1
    assert reason in capsys.readouterr().err
    assert list(weights.iterdir()) == []


def test_a_finetune_under_a_known_name_is_told_to_take_another(
    ecapa_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["titanet_large", "--from", str(ecapa_file), "--weights-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "not a model like titanet_large" in said
    assert "encoder._target_ is ECAPAEncoder, not ConvASREncoder" in said
    assert "give your own model another name with MODEL=" in said
