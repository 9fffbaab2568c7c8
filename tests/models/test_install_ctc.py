"""Installing a speech recogniser of NeMo: a small Conformer-CTC is served, fetched, exported, proved and used."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import recognisers, registry
from models.install import install, main
from models.nemo_ctc import NemoCtc
from models.recognisers import InstalledRecognisers
from models.registry import Record, sha256_of
from shared.domain.audio import Samples
from shared.domain.errors import LanguageNotInstalled, ModelInstallError
from shared.domain.models import RecogniserCard
from shared.settings import Settings
from tests.support.file_server import serving
from tests.support.nemo_files import changed
from tests.support.sounds import DATA
from tests.support.speech import Clip
from tests.support.stacks import bugs, first_client, running
from worker.bootstrap import require_model

# NeMo and torch warn of what is deprecated in their own code.
pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]

GERMAN = "stt_de_conformer_ctc_large"
SPANISH = "stt_es_conformer_ctc_large"
RATE_HZ = 16_000
ONE_PERSON = DATA / "2609-156975-0000.flac"


def quiet(line: str) -> None:
    """Take a line of progress and drop it."""


def card(handle: str = GERMAN) -> RecogniserCard:
    return recognisers.manifest()[handle].card


def noise(seconds: float) -> Samples:
    samples = np.random.default_rng(5).normal(0.0, 0.1, round(seconds * RATE_HZ))
    return samples.astype(np.float32)


@pytest.fixture(scope="module")
def ctc_weights(ctc_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder in which a recogniser was installed as the German one over HTTP, another as the Spanish one."""
    from tests.support.ctc_nemo import build_ctc_nemo

    folder = tmp_path_factory.mktemp("recognisers")
    with serving(ctc_file) as server:
        assert main([GERMAN, "--from", server.url("file"), "--weights-dir", str(folder)]) == 0
    other = tmp_path_factory.mktemp("other") / "other.nemo"
    build_ctc_nemo(other, seed=8, pieces=56)
    assert main([SPANISH, "--from", str(other), "--weights-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def german(ctc_weights: Path) -> NemoCtc:
    found = InstalledRecognisers(ctc_weights).find("de-DE")
    assert isinstance(found, NemoCtc)
    return found


@pytest.fixture(scope="module")
def nemo(ctc_file: Path) -> Any:
    """The same recogniser in NeMo itself."""
    from models.installation.export_ctc import restore

    return restore(ctc_file, card())


def test_what_was_installed_is_on_record(ctc_weights: Path, ctc_file: Path) -> None:
    record = Record.read(ctc_weights / GERMAN)
    assert record.sha256 == sha256_of(ctc_file)
    assert set(record.files) == {"recogniser.onnx", "vocabulary.json"}
    assert record.nemo_version == "3.0.0"
    assert 0.0 <= record.parity < 2e-3
    assert {path.name for path in ctc_weights.iterdir()} == {GERMAN, SPANISH}


def test_a_recogniser_is_found_by_its_language_and_english_stays_the_first(ctc_weights: Path, german: NemoCtc) -> None:
    found = InstalledRecognisers(ctc_weights)
    assert german.card.recogniser_id == f"{GERMAN}@1.{Record.read(ctc_weights / GERMAN).sha256[:8]}"
    assert found.find("ES").card.handle == SPANISH
    assert found.find("es-MX") is found.find("es")
    assert found.find(None).card.language == "en"
    with pytest.raises(
        LanguageNotInstalled, match=r"'fr'.*: en, de, es\..*`make models MODEL=stt_fr_conformer_ctc_large`"
    ):
        found.find("fr-FR")


def test_the_language_of_the_settings_is_that_of_requests_without_one(ctc_weights: Path) -> None:
    found = InstalledRecognisers(ctc_weights, language="es-MX")
    assert found.find(None).card.handle == SPANISH
    assert found.find("de").card.handle == GERMAN
    require_model(Settings(data_dir=ctc_weights, weights_dir=ctc_weights, language="de"))


def test_an_installed_recogniser_is_no_speaker_model(ctc_weights: Path) -> None:
    assert registry.default_card(ctc_weights).handle == "ge2e"


@pytest.mark.parametrize("seconds", [0.01, 0.0413, 0.7, 2.3337, 7.77, 20.0])
def test_log_probabilities_are_those_nemo_gives(german: NemoCtc, nemo: Any, clips: list[Clip], seconds: float) -> None:
    from models.installation.export_ctc import reference_log_probs

    samples = np.concatenate([clip.samples for clip in clips])[: round(seconds * RATE_HZ)]
    np.testing.assert_allclose(german.log_probs(samples), reference_log_probs(nemo, samples), atol=2e-3)


def test_the_words_are_those_nemo_transcribes(german: NemoCtc, nemo: Any, clips: list[Clip]) -> None:
    sounds = [*(clip.samples for clip in clips[:4]), noise(3.0), np.zeros(RATE_HZ, np.float32)]
    theirs = [heard.text for heard in nemo.transcribe(sounds, batch_size=1, verbose=False)]
    assert [german.transcribe(samples) for samples in sounds] == [" ".join(text.split()) for text in theirs]
    assert len(set(theirs)) == len(sounds)


def test_a_long_recording_is_its_stretches_and_a_pause(german: NemoCtc, clips: list[Clip]) -> None:
    one, other = clips[0].samples, clips[2].samples
    pause = np.zeros(RATE_HZ // 5, np.float32)
    # 17 s, a pause, and more: the cut lies in the middle of the pause.
    first = np.concatenate([np.resize(one, 17 * RATE_HZ), pause[: len(pause) // 2]])
    second = np.concatenate([pause[len(pause) // 2 :], other])
    assert german.transcribe(np.concatenate([first, second])) == " ".join(
        [german.transcribe(first), german.transcribe(second)]
    )
    assert german.transcribe(np.zeros(100, np.float32)) == ""


def test_a_worker_of_that_folder_hears_german_where_the_settings_say_so(
    ctc_weights: Path, german: NemoCtc, tmp_path: Path
) -> None:
    with running(tmp_path, weights_dir=ctc_weights, language="de", worker_processes=1) as stack:
        client = first_client(stack)
        url = client.upload("one", ONE_PERSON.read_bytes())
        job = client.post("/v1/diarize", url=url, transcription=True).json()
        output = client.wait(job["jobId"], within_s=120)["output"]
        assert bugs(stack) == []
    assert german.card.recogniser_id in output["warning"]
    said = "".join(turn["text"] for turn in output["turnLevelTranscription"]).replace(" ", "")
    # Its weights are random, so that it says nonsense, but only in its own pieces.
    assert len(said) > 20
    assert set(said) <= set("".join(german.vocabulary.pieces))
    assert set(said) & set("\u00e4\u00f6\u00fc\u00df")


def test_transcribing_needs_neither_torch_nor_nemo_nor_sentencepiece(ctc_weights: Path) -> None:
    code = f"""
import json, sys
from pathlib import Path
import numpy as np
from models.recognisers import InstalledRecognisers
InstalledRecognisers(Path({str(ctc_weights)!r})).find("de").transcribe(np.ones(32_000, np.float32))
print(json.dumps(sorted({{"torch", "nemo", "onnx", "librosa", "sentencepiece", "omegaconf"}} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []


def test_the_command_says_what_it_did_and_replaces_what_was_there(
    ctc_weights: Path, ctc_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shutil.copytree(ctc_weights, tmp_path / "weights")
    assert main([SPANISH, "--from", str(ctc_file), "--weights-dir", str(weights)]) == 0
    said = capsys.readouterr()
    assert f"Installed {SPANISH}@1.{sha256_of(ctc_file)[:8]} in {weights / SPANISH}" in said.out
    assert f"sha256 of the .nemo file: {sha256_of(ctc_file)}" in said.out
    assert "largest difference of a log probability to NeMo 3.0.0: " in said.out
    assert "recognises speech in: es" in said.out
    assert {path.name for path in weights.iterdir()} == {GERMAN, SPANISH}
    assert Record.read(weights / SPANISH).sha256 == sha256_of(ctc_file)


def test_the_bundled_recogniser_needs_no_installation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["moonshine_tiny_en", "--weights-dir", str(tmp_path)]) == 0
    assert "nothing to install" in capsys.readouterr().out


def test_an_unknown_name_is_refused_with_those_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stt_xx", "--weights-dir", str(tmp_path)]) == 1
    assert f"titanet_small, ge2e, moonshine_tiny_en, {GERMAN}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["recogniser.onnx", "vocabulary.json"])
def test_a_damaged_file_is_noticed_when_the_recogniser_is_opened(ctc_weights: Path, tmp_path: Path, name: str) -> None:
    weights = shutil.copytree(ctc_weights, tmp_path / "weights")
    with (weights / GERMAN / name).open("r+b") as file:
        file.write(b"broken")
    found = InstalledRecognisers(weights)
    with pytest.raises(
        ModelInstallError, match=f"{name} of the model {GERMAN} is damaged .*make models MODEL={GERMAN}"
    ):
        found.find("de")
    assert found.find("es").card.handle == SPANISH


def refusal(source: Path, weights_dir: Path) -> str:
    """Return what installing a file is refused with, having seen that nothing is left behind."""
    with pytest.raises(ModelInstallError) as refused:
        install(card(), str(source), weights_dir, quiet)
    assert list(weights_dir.iterdir()) == []
    return str(refused.value)


def test_a_truncated_file_is_refused(ctc_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.nemo"
    cut.write_bytes(ctc_file.read_bytes()[:-100_000])
    assert "cannot restore the file" in refusal(cut, tmp_path / "weights")


def test_a_speaker_model_is_no_recogniser_and_a_recogniser_no_speaker_model(
    nemo_file: Path, ctc_file: Path, tmp_path: Path
) -> None:
    assert "target is EncDecSpeakerLabelModel, not EncDecCTCModelBPE" in refusal(nemo_file, tmp_path / "a")
    with pytest.raises(ModelInstallError, match="target is EncDecCTCModelBPE, not EncDecSpeakerLabelModel"):
        install(registry.entry("titanet_small").card, str(ctc_file), tmp_path / "b", quiet)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("EncDecCTCModelBPE", "EncDecRNNTBPEModel", "target is EncDecRNNTBPEModel, not EncDecCTCModelBPE"),
        (
            "modules.ConformerEncoder",
            "modules.ConvASREncoder",
            "encoder._target_ is ConvASREncoder, not ConformerEncod",
        ),
        ("type: bpe", "type: wpe", "tokenizer.type is wpe, not bpe"),
        (
            "normalize: per_feature",
            "normalize: all_features",
            "preprocessor.normalize is all_features, not per_feature",
        ),
        ("sample_rate: 16000", "sample_rate: 8000", "preprocessor.sample_rate is 8000, not 16000"),
    ],
)
def test_a_recogniser_of_another_kind_is_refused(
    ctc_file: Path, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert reason in refusal(changed(ctc_file, tmp_path / "other.nemo", old, new), tmp_path / "weights")


def test_a_recogniser_that_computes_something_else_once_exported_is_refused(ctc_file: Path, tmp_path: Path) -> None:
    # A setting that the check of the kind does not look at: only the comparison of log probabilities can notice.
    other = changed(ctc_file, tmp_path / "other.nemo", "dither: 1.0e-05", "preemph: 0.0")
    assert "does not compute what NeMo does" in refusal(other, tmp_path / "weights")


def test_a_recogniser_whose_pieces_are_joined_otherwise_is_refused(tmp_path: Path) -> None:
    from tests.support.ctc_nemo import build_ctc_nemo

    build_ctc_nemo(tmp_path / "bytes.nemo", pieces=300, in_bytes=True)
    assert "does not write what NeMo does" in refusal(tmp_path / "bytes.nemo", tmp_path / "weights")
