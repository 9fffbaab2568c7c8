"""What the manifest promises, which model is the default, and what a worker must not need."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models import registry
from models.calibration import store
from models.calibration.store import Fitted, HeldOut
from models.registry import RECORD_FILE, OwnModel, Record, entry, installed, installed_card, load, manifest
from shared.domain.errors import ModelInstallError
from tests.support.toys import toy_calibration

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


def test_a_calibration_counts_for_the_weights_it_was_fitted_on_only(tmp_path: Path) -> None:
    pretend_installed("titanet_small", tmp_path)
    assert not calibrated("titanet_small", tmp_path)
    write_calibration("titanet_small@1.abababab", RECORD.sha256, "titanet_small", tmp_path)
    assert calibrated("titanet_small", tmp_path)
    assert installed_card("titanet_small", tmp_path).calibration is not None
    replace(RECORD, sha256="abababab" + "cd" * 28).write(tmp_path / "titanet_small")
    assert not calibrated("titanet_small", tmp_path)
    assert installed_card("titanet_small", tmp_path).calibration is None


def test_an_own_calibration_of_the_bundled_model_wins_unless_it_is_of_other_weights(tmp_path: Path) -> None:
    bundled = default_data(tmp_path)
    for model_id, sha256 in (("ge2e@1", "ab" * 32), ("ge2e@0", entry("ge2e").sha256)):
        write_calibration(model_id, str(sha256), "ge2e", tmp_path)
        assert default_data(tmp_path) == bundled
    write_calibration("ge2e@1", str(entry("ge2e").sha256), "ge2e", tmp_path)
    assert default_data(tmp_path) == "toy"


def test_a_damaged_calibration_is_named(tmp_path: Path) -> None:
    write_calibration("ge2e@1", str(entry("ge2e").sha256), "ge2e", tmp_path)
    path = registry.calibration_file(entry("ge2e").card, tmp_path)
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ModelInstallError, match=r"ge2e/calibration.json is damaged: delete it, and calibrate"):
        registry.default_card(tmp_path)


def write_calibration(model_id: str, weights_sha256: str, handle: str, weights_dir: Path) -> None:
    """Store a toy's calibration as that of a model."""
    fitted = Fitted(
        replace(toy_calibration(), model_id=model_id),
        HeldOut(speakers=2, recordings=2, cllr=0.1, eer=0.0, false_accepts_at_90=0.0),
    )
    store.write(fitted, weights_sha256, registry.calibration_file(entry(handle).card, weights_dir))


def default_data(weights_dir: Path) -> str:
    """Return what clients are told of the calibration of ge2e."""
    listed = next(model for model in registry.listed(weights_dir) if model.handle == "ge2e")
    assert listed.calibration is not None
    return listed.calibration.data


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
        registry.default_card(tmp_path)


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


def test_a_record_of_an_earlier_release_is_read(tmp_path: Path) -> None:
    stored = {
        "sha256": "ab" * 32,
        "files": {},
        "nemo_version": "3.0.0",
        "parity": 1e-9,
        "installed_at": "2026-11-01T00:00:00+00:00",
    }
    (tmp_path / "titanet_large").mkdir()
    (tmp_path / "titanet_large" / RECORD_FILE).write_text(json.dumps(stored))
    assert installed_card("titanet_large", tmp_path).model_id == "titanet_large@1.abababab"
    assert [card.handle for card in installed(tmp_path)] == ["titanet_large", "ge2e"]


def test_a_folder_that_is_no_speaker_model_is_passed_over(tmp_path: Path) -> None:
    pretend_installed("stt_de_conformer_ctc_large", tmp_path)
    (tmp_path / ".installing-x" / "own").mkdir(parents=True)
    assert [card.handle for card in installed(tmp_path)] == ["ge2e"]


OWN = OwnModel(
    architecture="onnx", dimension=32, sample_rate_hz=16_000, min_speech_s=1.0, licence="MIT", source="x", features={}
)


@pytest.mark.parametrize("damaged", ["own", "titanet_large"])
@pytest.mark.parametrize("record", ["{", "null", "[" * 100_000, json.dumps({**vars(RECORD), "sha256": 5})])
def test_a_damaged_model_stops_no_worker_that_uses_another(damaged: str, record: str, tmp_path: Path) -> None:
    replace(RECORD, own=OWN).write(folder_of("other", tmp_path))
    (folder_of(damaged, tmp_path) / RECORD_FILE).write_text(record)
    assert installed_card("other", tmp_path).handle == "other"
    listed = {model.handle: model.installed for model in registry.listed(tmp_path, "other")}
    assert listed["other"] and not listed.get(damaged)
    assert [card.handle for card in installed(tmp_path)] == ["ge2e", "other"]
    (fault,) = registry.faults(tmp_path)
    assert f"record.json of the model {damaged} is damaged" in str(fault)
    with pytest.raises(ModelInstallError, match=f"record.json of the model {damaged} is damaged"):
        installed_card(damaged, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"means": {}},
        {"means": []},
        {"means": None},
        {"weights": 5},
        {"weights": []},
        {"weights": [float("nan")] * 8},
        {"nuisance": None},
        {"model": None, "means": None},
    ],
)
def test_a_calibration_with_other_values_is_damaged_or_of_another_model(change: dict, tmp_path: Path) -> None:
    write_calibration("ge2e@1", str(entry("ge2e").sha256), "ge2e", tmp_path)
    path = registry.calibration_file(entry("ge2e").card, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    if "model" in change:
        assert registry.default_card(tmp_path).calibration is not None
        return
    with pytest.raises(ModelInstallError, match=r"ge2e/calibration.json is damaged: delete it, and calibrate"):
        registry.default_card(tmp_path)


def folder_of(handle: str, weights_dir: Path) -> Path:
    (weights_dir / handle).mkdir()
    return weights_dir / handle
