"""`make calibrate`: what it fits is stored with the name of the model, and counts for no other weights."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from models import registry
from models.install import install
from tests.eval import calibrate
from tests.support.manifests import COLUMNS, talk
from tests.support.speech import DATA, read_clips


@pytest.fixture
def long_and_short(tmp_path: Path) -> Path:
    """A long recording of each of three people to fit on, and short ones to test on."""
    path, clips = tmp_path / "manifest.csv", read_clips()
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for speaker in sorted({clip.speaker for clip in clips}):
            talk(tmp_path / speaker, [clip for clip in clips if clip.speaker == speaker])
            rows.writerow((f"{speaker}.flac", speaker, "long", "single", ""))
        rows.writerows(
            (DATA / f"{name}.flac", name[:4], "short", "single", "")
            for name in ("1688-142285-0005", "2609-156975-0000", "2609-156975-0009")
        )
    return path


@pytest.fixture
def models_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the models' manifest, which may be written to."""
    stored = tmp_path / "manifest.toml"
    stored.write_text(registry.MANIFEST.read_text())
    monkeypatch.setattr(registry, "MANIFEST", stored)


@pytest.mark.usefixtures("models_manifest")
def test_calibration_is_fitted_stored_and_reported(long_and_short: Path) -> None:
    before = registry.entry("ge2e").card.calibration

    done = fitted_on(long_and_short, "ge2e")

    assert done.exit_code == 0, done.output
    assert "mean Cllr" in done.output
    assert "fitted and tested on 1688, 2609." in done.output
    fitted = registry.entry("ge2e").card.calibration
    assert fitted is not None
    assert before is not None
    assert (fitted.model_id, fitted.data) == ("ge2e@1", "three")
    assert fitted.weights.shape == before.weights.shape


@pytest.mark.nemo
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("models_manifest")
def test_a_calibration_counts_for_no_other_weights_of_the_same_name(
    long_and_short: Path, weights_dir: Path, tmp_path: Path
) -> None:
    from tests.support.titanet_nemo import build_titanet_nemo

    done = fitted_on(long_and_short, "titanet_large", weights_dir)
    assert done.exit_code == 0, done.output
    build_titanet_nemo(tmp_path / "other.nemo", filters=16)
    install(registry.entry("titanet_large").card, str(tmp_path / "other.nemo"), tmp_path / "others", print)

    assert calibrated(weights_dir) == {"titanet_large": True, "titanet_small": False, "ge2e": True}
    assert calibrated(tmp_path / "others") == {"titanet_large": False, "titanet_small": False, "ge2e": True}
    assert registry.load(registry.default_card(weights_dir), weights_dir).card.calibration is not None
    assert registry.load(registry.default_card(tmp_path / "others"), tmp_path / "others").card.calibration is None


def fitted_on(manifest: Path, model: str, weights_dir: Path = registry.WEIGHTS_DIR) -> Result:
    """Run the command that fits the calibration of `model` and stores it."""
    command = [str(manifest), "--model", model, "--fit", "long", "--test", "short", "--data", "three"]
    return CliRunner().invoke(calibrate.main, [*command, "--weights-dir", str(weights_dir)])


def calibrated(weights_dir: Path) -> dict[str, bool]:
    """Return what clients are told of each model."""
    return {model.handle: model.calibrated for model in registry.listed(weights_dir)}
