"""`make calibrate`: what it fits is stored with the name and the weights of the model, and counts for no other."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from pydub import AudioSegment

from models import registry
from models.calibration.__main__ import main
from models.calibration.calibrate import calibrate
from models.calibration.corpus import SHIPPED, read_corpus, read_samples
from shared.domain.audio import Samples, Segment
from shared.domain.errors import CalibrationError
from shared.networks import Embedder, Frames
from tests.support.corpora import long_recordings, write_corpus
from tests.support.sounds import RATE, encode, read
from tests.support.toys import CARD

GE2E_SHA256 = registry.entry("ge2e").sha256


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech of six people."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def test_the_bundled_model_is_calibrated_anew_and_clients_are_told(corpus: Path, tmp_path: Path) -> None:
    before = registry.default_card(tmp_path).calibration

    done = calibrated_on(corpus, "ge2e", tmp_path)

    assert done.exit_code == 0, done.output
    assert "Calibrating" in done.stderr
    assert f"Calibrated ge2e@1: {tmp_path / 'ge2e' / 'calibration.json'}" in done.stdout
    assert "6 speakers, each judged by a fit on others: Cllr 0." in done.stdout
    stored = json.loads((tmp_path / "ge2e" / "calibration.json").read_text())
    assert (stored["model"], stored["weights_sha256"]) == ("ge2e@1", GE2E_SHA256)
    assert stored["data"].startswith("few (CC BY 4.0), 6 speakers")
    assert stored["held_out"]["speakers"] == 6
    assert 0.0 < stored["held_out"]["cllr"] < 0.5
    assert 0.0 <= stored["held_out"]["false_accepts_at_90"] <= stored["held_out"]["eer"] + 0.1
    fitted = registry.default_card(tmp_path).calibration
    assert fitted is not None
    assert before is not None
    assert (fitted.data, fitted.fitted_at) == (stored["data"], stored["fitted_at"])
    assert fitted.weights.shape == before.weights.shape
    # What comes with Timbre was made by this command, on more people: the directions of the means are nearly the same.
    for condition, mean in before.means.items():
        middle = fitted.means[condition]
        assert mean @ middle > 0.9 * np.linalg.norm(mean) * np.linalg.norm(middle)
    listed = next(model for model in registry.listed(tmp_path) if model.handle == "ge2e")
    assert listed.calibration is not None
    assert listed.calibration.data == stored["data"]
    assert listed.calibration.fitted_at == stored["fitted_at"]


def calibrated_on(corpus: Path, model: str, weights_dir: Path, *options: str) -> Result:
    """Run the command that calibrates `model`."""
    command = ["--model", model, "--corpus", str(corpus), "--weights-dir", str(weights_dir), *options]
    return CliRunner().invoke(main, command)


def write_manifest(path: Path, rows: Sequence[tuple[object, ...]], header: Sequence[str] = ("file", "speaker")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_own_recordings_of_any_format_count_in_addition(corpus: Path, tmp_path: Path) -> None:
    rows = []
    for number, (one, codec) in enumerate(zip(long_recordings(3, skipped=6), ("mp3", "wav-mulaw", "m4a"), strict=True)):
        sound = read(one.path)
        # Two recordings of each person, the second in stereo.
        (tmp_path / f"{number}.{codec}").write_bytes(encode(sound, codec))
        (tmp_path / f"{number} stereo.flac").write_bytes(stereo(sound))
        rows += [(f"{number}.{codec}", f"person {number}"), (f"{number} stereo.flac", f"person {number}")]
    (tmp_path / "word.flac").write_bytes(encode(read(long_recordings(1)[0].path)[:2000], "flac"))
    manifest = write_manifest(tmp_path / "mine.csv", [*rows, ("word.flac", "person 3")])

    done = calibrated_on(corpus, "ge2e", tmp_path, "--on", str(manifest))

    assert done.exit_code == 0, done.output
    assert "9 speakers, each judged by a fit on others" in done.stdout
    assert "1 of 13 recordings have less than 6 s of speech and were left out" in done.stdout
    stored = json.loads((tmp_path / "ge2e" / "calibration.json").read_text())
    assert stored["data"].startswith("few (CC BY 4.0), 6 speakers; mine.csv, 4 speakers")
    assert (stored["held_out"]["speakers"], stored["held_out"]["recordings"]) == (9, 12)


def stereo(sound: AudioSegment) -> bytes:
    """Return a file whose second channel is the first turned over."""
    both = AudioSegment.from_mono_audiosegments(sound, sound.invert_phase())
    file = io.BytesIO()
    soundfile.write(file, np.array(both.get_array_of_samples(), np.int16).reshape(-1, 2), RATE, format="FLAC")
    return file.getvalue()


@pytest.mark.parametrize(
    ("rows", "header", "reason"),
    [
        (
            [("missing.wav", "ada")],
            ("file", "speaker"),
            r"Line 2 of the manifest .*mine.csv names .*missing.wav, which",
        ),
        ([("text.wav", "ada")], ("file", "speaker"), r"The recording .*text.wav cannot be decoded: "),
        ([("mine.csv", "")], ("file", "speaker"), r"Line 2 of the manifest .*mine.csv names no file or no speaker"),
        ([("mine.csv",)], ("file", "speaker"), r"Line 2 of the manifest .*mine.csv names no file or no speaker"),
        ([("mine.csv", "ada")], ("path", "who"), r"mine.csv needs a first line with the columns file and speaker"),
        ([], ("file", "speaker"), r"The manifest .*mine.csv names no recordings"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_by_name(
    corpus: Path, tmp_path: Path, rows: list[tuple[str, ...]], header: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "text.wav").write_text("no sound\n" * 100)
    manifest = write_manifest(tmp_path / "mine.csv", rows, header)
    done = calibrated_on(corpus, "ge2e", tmp_path / "weights", "--on", str(manifest))
    assert done.exit_code == 1
    assert re.search(f"No model was calibrated. .*{reason}", done.stderr, re.DOTALL), done.stderr
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"\xff\xfe\x00file", "cannot be read"), (b"", "needs a first line")],
)
def test_a_manifest_that_cannot_be_read_is_refused(
    corpus: Path, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    manifest = tmp_path / "mine.csv"
    if content is not None:
        manifest.write_bytes(content)
    done = calibrated_on(corpus, "ge2e", tmp_path / "weights", "--on", str(manifest))
    assert done.exit_code == 1
    assert f"The manifest {manifest}" in done.stderr
    assert reason in done.stderr


def test_a_model_that_is_not_there_is_not_calibrated(corpus: Path, tmp_path: Path) -> None:
    done = calibrated_on(corpus, "titanet_large", tmp_path)
    assert done.exit_code == 1
    assert "The model titanet_large is not installed; run `make models MODEL=titanet_large`" in done.stderr


class Broken(Embedder):
    """Embedder whose vectors are not-a-number."""

    def encode(self, samples: Samples) -> Frames:
        return samples

    def pool(self, frames: Frames, segments: Sequence[Segment]) -> np.ndarray:
        return np.full((len(segments), 16), np.nan, np.float32)


def test_a_model_that_gives_no_numbers_is_refused(corpus: Path) -> None:
    with pytest.raises(CalibrationError, match=r"toy@1 gives vectors whose length is not 1"):
        calibrate(Broken(CARD), read_corpus(corpus))


def test_the_corpus_that_comes_with_timbre_is_whole_small_and_attributed() -> None:
    found = read_corpus()
    speakers = {one.speaker for one in found.recordings}
    assert len(speakers) == len(found.recordings) >= 80
    assert {one.path.name for one in found.recordings} == {path.name for path in SHIPPED.glob("*.opus")}
    assert 2e6 < sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3e6
    assert "LibriSpeech" in (SHIPPED / "LICENSE").read_text()
    assert found.name == f"LibriSpeech train-clean-100 (CC BY 4.0), {len(speakers)} speakers"
    bundled = registry.default_card(SHIPPED / "no weights").calibration
    assert bundled is not None
    assert bundled.data.startswith(found.name)
    assert 5.0 < len(read_samples(found.recordings[0].path)) / 16_000 < 20.0
