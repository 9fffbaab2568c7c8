"""What the manifest promises, which model is the default, and what a worker must not need."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models import registry
from models.registry import RECORD_FILE, Record, entry, installed, installed_card, load, manifest
from shared.domain.errors import ModelInstallError

RECORD = Record(sha256="ab" * 32, files={}, nemo_version="3.0.0", parity=1e-9, installed_at="2026-11-01T00:00:00+00:00")


def pretend_installed(handle: str, weights_dir: Path) -> None:
    (weights_dir / handle).mkdir()
    RECORD.write(weights_dir / handle)


def test_the_manifest_names_each_model_and_where_it_comes_from() -> None:
    cards = {handle: known.card for handle, known in manifest().items()}
    assert list(cards) == ["titanet_large", "titanet_small", "ge2e"]
    assert {handle: (card.architecture, card.dimension) for handle, card in cards.items()} == {
        "titanet_large": ("titanet", 192),
        "titanet_small": ("titanet", 192),
        "ge2e": ("ge2e", 256),
    }
    assert all(card.licence and card.source for card in cards.values())


def test_without_nemo_models_ge2e_is_the_default(tmp_path: Path) -> None:
    assert [card.model_id for card in installed(tmp_path / "nothing")] == ["ge2e@1"]
    assert registry.default_card(tmp_path).handle == "ge2e"


def test_the_first_installed_model_of_the_manifest_is_the_default(tmp_path: Path) -> None:
    pretend_installed("titanet_small", tmp_path)
    assert registry.default_card(tmp_path).handle == "titanet_small"
    pretend_installed("titanet_large", tmp_path)
    assert registry.default_card(tmp_path).handle == "titanet_large"
    assert [card.handle for card in installed(tmp_path)] == list(manifest())


def test_an_installed_models_revision_names_its_weights(tmp_path: Path) -> None:
    pretend_installed("titanet_large", tmp_path)
    assert installed_card("titanet_large", tmp_path).model_id == "titanet_large@1.abababab"


def test_a_calibration_counts_for_the_revision_it_was_fitted_on_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = registry.MANIFEST.read_text().replace("ge2e.calibration", "titanet_small.calibration")
    monkeypatch.setattr(registry, "MANIFEST", tmp_path / "manifest.toml")
    registry.MANIFEST.write_text(text.replace('model = "ge2e@1"', 'model = "titanet_small@1.abababab"'))
    assert not calibrated("titanet_small", tmp_path)
    pretend_installed("titanet_small", tmp_path)
    assert calibrated("titanet_small", tmp_path)
    assert installed_card("titanet_small", tmp_path).calibration is not None
    replace(RECORD, sha256="cd" * 32).write(tmp_path / "titanet_small")
    assert not calibrated("titanet_small", tmp_path)
    assert installed_card("titanet_small", tmp_path).calibration is None


def calibrated(handle: str, weights_dir: Path) -> bool:
    return next(model.calibrated for model in registry.listed(weights_dir) if model.handle == handle)


def test_a_half_installed_model_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "titanet_large").mkdir()
    (tmp_path / "titanet_large" / "encoder.onnx").write_bytes(b"x")
    assert [card.handle for card in installed(tmp_path)] == ["ge2e"]


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(ModelInstallError, match="no model 'ecapa'; the models are titanet_large, titanet_small, ge2e"):
        entry("ecapa")


def test_a_model_that_is_not_installed_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(ModelInstallError, match="make models MODEL=titanet_large"):
        load(entry("titanet_large").card, tmp_path)


def test_a_record_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "titanet_large").mkdir()
    (tmp_path / "titanet_large" / RECORD_FILE).write_text(json.dumps({"sha256": "ab"}))
    with pytest.raises(ModelInstallError, match=r"record.json of the model titanet_large is damaged"):
        installed(tmp_path)


def test_the_bundled_files_are_those_of_the_manifest_and_of_silero() -> None:
    bundled = Path(registry.__file__).parent / "bundled"
    assert registry.sha256_of(bundled / "ge2e.onnx") == entry("ge2e").sha256
    assert registry.sha256_of(bundled / "silero_vad_16k_sequence.onnx") == (
        "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
    )
    assert {path.name for path in bundled.glob("*.LICENSE")} == {
        "ge2e.LICENSE",
        "moonshine.LICENSE",
        "silero_vad.LICENSE",
    }


def test_embedding_with_the_bundled_model_needs_neither_torch_nor_nemo(tmp_path: Path) -> None:
    assert modules_after_embedding("ge2e", tmp_path) == []


@pytest.mark.nemo
@pytest.mark.filterwarnings("ignore")
def test_embedding_with_an_installed_titanet_needs_neither_torch_nor_nemo(weights_dir: Path) -> None:
    assert modules_after_embedding("titanet_large", weights_dir) == []


def modules_after_embedding(handle: str, weights_dir: Path) -> list[str]:
    """Embed two seconds in a fresh interpreter and return which of the heavy modules it has loaded."""
    code = f"""
import json, sys
from pathlib import Path
import numpy as np
from models import registry
from models.vad import SileroVad
weights_dir = Path({str(weights_dir)!r})
samples = np.random.default_rng(0).normal(0.0, 0.1, 32_000).astype(np.float32)
SileroVad().speech_segments(samples)
registry.load(registry.installed_card({handle!r}, weights_dir), weights_dir).embed(samples)
print(json.dumps(sorted({{"torch", "nemo", "onnx", "librosa", "scipy", "urllib3", "omegaconf"}} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)
