"""Installing a NeMo model: a TitaNet made by NeMo is served, fetched, exported, proved and installed."""

import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import registry
from models.install import install, main
from models.installation.download import fetch
from models.registry import Entry, Record, entry, sha256_of
from shared.domain.audio import Samples, Segment
from shared.domain.errors import ModelInstallError
from shared.networks import Embedder
from tests.support.corpora import UNCALIBRATED, write_corpus
from tests.support.file_server import FileServer
from tests.support.nemo_files import changed
from tests.support.speech import Clip

# NeMo and torch warn of what is deprecated in their own code.
pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]


Reference = Callable[[Samples], NDArray[np.float32]]


def quiet(line: str) -> None:
    """Take a line of progress and drop it."""


@pytest.fixture(scope="module")
def titanet(weights_dir: Path) -> Embedder:
    return registry.load(registry.installed_card("titanet_large", weights_dir), weights_dir, threads=2)


@pytest.fixture(scope="module")
def reference(nemo_file: Path) -> Reference:
    """NeMo's own embedding of samples, L2 norm 1."""
    from models.installation.export import reference_embedding, restore

    model = restore(nemo_file, entry("titanet_large").card)
    return lambda samples: reference_embedding(model, samples)


def test_the_installed_model_becomes_the_default(weights_dir: Path, nemo_file: Path) -> None:
    record = Record.read(weights_dir / "titanet_large")
    assert record.sha256 == sha256_of(nemo_file)
    assert record.nemo_version == "3.0.0"
    assert 0.0 <= record.parity < 1e-6
    assert registry.default_card(weights_dir).model_id == f"titanet_large@1.{record.sha256[:8]}"
    assert [path.name for path in weights_dir.iterdir()] == ["titanet_large"]


@pytest.mark.parametrize("seconds", [0.7, 1.0, 1.505, 2.3337, 4.0, 7.77, 12.0])
def test_an_embedding_is_the_one_nemo_gives(
    titanet: Embedder, reference: Reference, clips: list[Clip], seconds: float
) -> None:
    samples = np.concatenate([clip.samples for clip in clips])[: round(seconds * 16_000)]
    ours = titanet.embed(samples)
    assert ours.shape == (192,)
    assert ours.dtype == np.float32
    assert 1.0 - float(ours @ reference(samples)) < 1e-6


def test_pooling_the_whole_recording_is_embedding_it(
    titanet: Embedder, reference: Reference, clips: list[Clip]
) -> None:
    samples = clips[1].samples
    pooled = titanet.pool(titanet.encode(samples), [Segment(0.0, len(samples) / 16_000)])
    assert pooled.shape == (1, 192)
    assert 1.0 - float(pooled[0] @ reference(samples)) < 1e-6


def test_the_network_reacts_to_what_it_hears(titanet: Embedder, clips: list[Clip]) -> None:
    first, second = titanet.embed(clips[0].samples), titanet.embed(clips[2].samples)
    assert float(first @ second) < 0.9


def test_pooling_many_spans_is_pooling_each(titanet: Embedder, clips: list[Clip]) -> None:
    frames = titanet.encode(clips[0].samples)
    windows = [Segment(0.013 + 0.2 * i, 0.013 + 0.2 * i + 1.5) for i in range(11)]
    spans = [*windows, Segment(0.0, 0.004), Segment(3.0, 99.0), Segment(99.0, 100.0)]
    together = titanet.pool(frames, spans)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    for span, embedding in zip(spans, together, strict=True):
        np.testing.assert_allclose(titanet.pool(frames, [span])[0], embedding, atol=1e-5)
    assert titanet.pool(frames, []).shape == (0, 192)


def test_the_command_says_what_it_did(nemo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["titanet_small", "--from", str(nemo_file), "--weights-dir", str(tmp_path), *UNCALIBRATED]) == 0
    said = capsys.readouterr()
    assert f"Installed titanet_small@1.{sha256_of(nemo_file)[:8]} in {tmp_path / 'titanet_small'}" in said.out
    assert f"sha256 of the .nemo file: {sha256_of(nemo_file)}" in said.out
    assert "largest 1 - cosine to NeMo 3.0.0: " in said.out
    assert "is now the default" in said.out
    for step in ("Fetching", "Loading NeMo", "Restoring", "Exporting"):
        assert f"{step}" in said.err


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech of few people: enough for a fit, and too little for a network of random weights to be of use."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), speakers=4)


def test_an_installation_ends_with_a_calibration_and_stays_if_that_fails(
    nemo_file: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["titanet_small", "--from", str(nemo_file), "--weights-dir", str(tmp_path), "--corpus", str(corpus)]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "Calibrating" in said
    assert re.search(r"titanet_small is installed, but it was not calibrated: .* cannot tell speakers apart", said)
    assert "`make calibrate MODEL=titanet_small` tries again" in said
    listed = registry.listed(tmp_path)[1]
    assert (listed.installed, listed.calibrated, listed.calibration) == (True, False, None)
    assert registry.load(registry.default_card(tmp_path), tmp_path).card.calibration is None


def test_a_manifest_that_does_not_fit_is_refused_before_anything_is_installed(
    nemo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["titanet_small", "--from", str(nemo_file), "--weights-dir", str(tmp_path / "weights")]
    assert main([*command, "--calibrate-on", str(tmp_path / "mine.csv")]) == 1
    assert (
        f"titanet_small was not installed. The manifest {tmp_path / 'mine.csv'} cannot be read"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "weights").exists()


def test_installing_again_replaces_what_was_there(nemo_file: Path, tmp_path: Path) -> None:
    for _ in range(2):
        install(entry("titanet_small").card, str(nemo_file), tmp_path, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["titanet_small"]


def test_a_damaged_file_is_noticed_when_the_model_is_opened(nemo_file: Path, tmp_path: Path) -> None:
    install(entry("titanet_small").card, str(nemo_file), tmp_path, quiet)
    with (tmp_path / "titanet_small" / "decoder.onnx").open("r+b") as file:
        file.write(b"broken")
    with pytest.raises(ModelInstallError, match=r"decoder.onnx of the model titanet_small is damaged"):
        registry.load(entry("titanet_small").card, tmp_path)


def test_a_bundled_model_needs_no_installation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ge2e", "--weights-dir", str(tmp_path)]) == 0
    assert "nothing to install" in capsys.readouterr().out


def refusal(known: Entry, source: str, weights_dir: Path) -> str:
    """Return what installing `source` is refused with, having seen that nothing is left behind."""
    with pytest.raises(ModelInstallError) as refused:
        install(known.card, source, weights_dir, quiet, sha256=known.sha256)
    assert list(weights_dir.iterdir()) == []
    return str(refused.value)


def test_a_file_with_the_wrong_checksum_is_refused(nemo_server: FileServer, tmp_path: Path) -> None:
    pinned = replace(entry("titanet_large"), sha256="0" * 64)
    assert "wrong checksum" in refusal(pinned, nemo_server.url("file"), tmp_path)


def test_a_file_with_the_pinned_checksum_is_accepted(nemo_file: Path, tmp_path: Path) -> None:
    assert fetch(str(nemo_file), tmp_path / "out", quiet, sha256_of(nemo_file)) == sha256_of(nemo_file)


def test_a_missing_file_is_refused(nemo_server: FileServer, tmp_path: Path) -> None:
    assert "answers 404" in refusal(entry("titanet_large"), nemo_server.url("missing?key=secret"), tmp_path)
    assert "cannot be read" in refusal(entry("titanet_large"), str(tmp_path / "missing"), tmp_path)


def test_a_truncated_file_is_refused(nemo_file: Path, tmp_path: Path) -> None:
    for share in (0.9, 0.01, 0.0):
        cut = tmp_path / "cut.nemo"
        cut.write_bytes(nemo_file.read_bytes()[: int(nemo_file.stat().st_size * share)])
        reason = refusal(entry("titanet_large"), str(cut), tmp_path / f"weights{share}")
        assert "cannot restore the file" in reason or "cut short" in reason


def test_a_file_that_is_not_a_nemo_model_is_refused(tmp_path: Path) -> None:
    page, archive = tmp_path / "page.html", tmp_path / "archive.tar"
    page.write_text("<html>Sign in to continue</html>")
    with tarfile.open(archive, "w") as tar:
        tar.add(page, "page.html")
    assert "not a .nemo file" in refusal(entry("titanet_large"), str(page), tmp_path / "a")
    assert "cannot restore the file" in refusal(entry("titanet_large"), str(archive), tmp_path / "b")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("emb_sizes: 192", "emb_sizes: 512", "decoder.emb_sizes is 512, not 192"),
        ("pool_mode: attention", "pool_mode: xvector", "decoder.pool_mode is xvector, not attention"),
        ("modules.ConvASREncoder", "modules.ECAPAEncoder", "encoder._target_ is ECAPAEncoder, not ConvASREncoder"),
        ("EncDecSpeakerLabelModel", "EncDecCTCModel", "target is EncDecCTCModel, not EncDecSpeakerLabelModel"),
        ("stride:\n    - 1\n", "stride:\n    - 2\n", "frames are not 10 ms apart"),
        ("sample_rate: 16000", "sample_rate: 8000", "preprocessor.sample_rate is 8000, not 16000"),
    ],
)
def test_a_model_of_another_architecture_is_refused(
    nemo_file: Path, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    other = changed(nemo_file, tmp_path / "other.nemo", old, new)
    assert reason in refusal(entry("titanet_large"), str(other), tmp_path / "weights")


def test_a_model_that_computes_something_else_once_exported_is_refused(nemo_file: Path, tmp_path: Path) -> None:
    # A setting that the architecture check does not look at: only the comparison of embeddings can notice.
    other = changed(nemo_file, tmp_path / "other.nemo", "dither: 1.0e-05", "preemph: 0.0")
    assert "does not compute what NeMo does" in refusal(entry("titanet_large"), str(other), tmp_path / "weights")


def test_a_weights_folder_that_cannot_be_made_is_said_plainly(
    nemo_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below_a_file = str(nemo_file / "weights")
    assert main(["titanet_small", "--from", str(nemo_file), "--weights-dir", below_a_file]) == 1
    assert "titanet_small was not installed. " in capsys.readouterr().err


def test_a_refused_installation_leaves_the_older_one_in_place(
    nemo_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(entry("titanet_small").card, str(nemo_file), tmp_path, quiet)
    assert main(["titanet_small", "--from", str(tmp_path / "missing"), "--weights-dir", str(tmp_path)]) == 1
    assert "titanet_small was not installed. The file" in capsys.readouterr().err
    assert registry.load(entry("titanet_small").card, tmp_path).card.handle == "titanet_small"
