"""Installing an ONNX file with a descriptor: it is checked, tried on speech, and found by its handle."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import registry, tuned
from models.fbank import kaldi_fbank
from models.features import nemo_features
from models.install import handle_of, main
from models.onnx_embedder import OnnxEmbedder, Wiring
from models.registry import Record
from shared.domain.audio import Segment
from shared.domain.errors import ModelInstallError
from tests.support.corpora import UNCALIBRATED
from tests.support.file_server import serving
from tests.support.readme import block
from tests.support.speech import Clip

# The onnx package builds the networks, and only the full set has it.
pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]

WESPEAKER = 'sample_rate = 16000\nlicence = "CC-BY-4.0"\nfeatures = "fbank"\nwindow = "hamming"\nscale = 32768\n'
CAMPPLUS = 'sample_rate = 16000\nlicence = "Apache-2.0"\nfeatures = "fbank"\nwindow = "povey"\nmin_speech = 2.5\n'
REDIMNET = 'sample_rate = 16000\nlicence = "MIT"\nfeatures = "waveform"\n'
NEMO_MEL = 'sample_rate = 16000\nlicence = "MIT"\nfeatures = "nemo_mel"\n'

Network = Callable[..., Path]


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Write a small network with its descriptor; returns its path."""

    def write(descriptor: str | None = WESPEAKER, *, kind: str = "fbank", name: str = "own", **facts: Any) -> Path:
        from tests.support import onnx_networks

        path = tmp_path / f"{name}.onnx"
        getattr(onnx_networks, f"write_{kind}_network")(path, **facts)
        if descriptor:
            path.with_suffix(".toml").write_text(descriptor)
        return path

    return write


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def install(path: Path | str, weights: Path, *more: str) -> int:
    return main([*more, "--from", str(path), "--weights-dir", str(weights), *UNCALIBRATED])


def opened(handle: str, weights: Path) -> OnnxEmbedder:
    embedder = registry.load(registry.installed_card(handle, weights), weights)
    assert isinstance(embedder, OnnxEmbedder)
    return embedder


def refusal(path: Path | str, weights: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """Return what an installation is refused with, having seen that nothing is left behind."""
    assert install(path, weights, *more) == 1
    assert list(weights.glob("*")) == []
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "kind", "facts"),
    [
        ("wespeaker", "fbank", {"input_name": "feats", "output_name": "embs"}),
        ("3d-speaker", "fbank", {"input_name": "feature", "output_name": "embedding"}),
        ("redimnet", "waveform", {}),
    ],
)
def test_the_readmes_descriptors_fit_what_those_toolkits_export(
    network: Network, weights: Path, name: str, kind: str, facts: dict
) -> None:
    descriptor = block("models/README.md", name)
    assert install(network(descriptor, kind=kind, **facts), weights, "own") == 0
    licence = registry.installed_card("own", weights).licence
    assert f'licence = "{licence}"' in descriptor


def test_an_own_network_is_listed_and_loaded_by_its_handle(
    network: Network, weights: Path, capsys: pytest.CaptureFixture[str], clips: list[Clip]
) -> None:
    assert install(network(CAMPPLUS, name="CAM++ (mine).v1"), weights) == 0
    card = registry.installed_card("cam_mine_v1", weights)
    assert (card.architecture, card.dimension, card.min_speech_s, card.licence) == ("onnx", 32, 2.5, "Apache-2.0")
    assert card.model_id == f"cam_mine_v1@1.{Record.read(weights / 'cam_mine_v1').sha256[:8]}"
    assert [model.handle for model in registry.listed(weights)][-1] == "cam_mine_v1"
    assert registry.listed(weights, "cam_mine_v1")[-1].default
    said = capsys.readouterr().out
    assert f"Installed {card.model_id} in" in said
    assert "ge2e@1 is still the default; TIMBRE_MODEL=cam_mine_v1 makes" in said
    embeddings = [opened("cam_mine_v1", weights).embed(clip.samples) for clip in clips[::2]]
    assert embeddings[0].shape == (32,)
    assert float(embeddings[0] @ embeddings[1]) < 0.999


@pytest.mark.parametrize("layout", ["time,mels", "mels,time"])
def test_fbank_reaches_the_network_scaled_and_without_its_mean(
    network: Network, weights: Path, clips: list[Clip], layout: str
) -> None:
    assert install(network(layout=layout, input_name="x"), weights) == 0
    embedder = opened("own", weights)
    samples = clips[0].samples[:48_000]
    features = kaldi_fbank(samples * np.float32(32_768), 80, "hamming")
    expected = embedder.embed_batch((features - features.mean(axis=0))[np.newaxis])[0]
    assert float(embedder.embed(samples) @ expected) / np.linalg.norm(expected) == pytest.approx(1.0, abs=1e-5)


def test_a_segment_is_heard_as_if_it_were_cut_out(network: Network, weights: Path, clips: list[Clip]) -> None:
    assert install(network(), weights) == 0
    embedder = opened("own", weights)
    samples = clips[0].samples
    segments = [Segment(0.5, 2.0), Segment(1.0, 2.5), Segment(0.3, 1.3), Segment(2.0, 99.0), Segment(99.0, 100.0)]
    pooled = embedder.pool(embedder.encode(samples), segments)
    np.testing.assert_allclose(np.linalg.norm(pooled[:4], axis=1), 1.0, atol=1e-5)
    for segment, embedding in zip(segments[:4], pooled, strict=False):
        cut = samples[round(segment.start_s * 16_000) : round(segment.end_s * 16_000)]
        assert float(embedder.embed(cut) @ embedding) == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(pooled[4]).all()
    assert embedder.pool(embedder.encode(samples), []).shape == (0, 32)


def test_a_short_segment_is_heard_again_until_it_is_long_enough(
    network: Network, weights: Path, clips: list[Clip]
) -> None:
    assert install(network(REDIMNET, kind="waveform"), weights) == 0
    embedder = opened("own", weights)
    short = clips[0].samples[16_000:17_600]
    assert float(embedder.embed(short) @ embedder.embed(np.tile(short, 5))) == pytest.approx(1.0, abs=1e-5)


def test_a_network_of_samples_hears_the_very_samples(network: Network, weights: Path, clips: list[Clip]) -> None:
    assert install(network(REDIMNET, kind="waveform"), weights) == 0
    embedder = opened("own", weights)
    samples = clips[0].samples[:16_000]
    expected = embedder._session.run(None, {"audio": samples[np.newaxis]})[0][0]
    assert float(embedder.embed(samples) @ expected) / np.linalg.norm(expected) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="160 samples"):
        embedder.encode(samples[:159])


def test_samples_may_have_an_axis_of_one_channel(network: Network, weights: Path) -> None:
    assert install(network(REDIMNET, kind="waveform", shape=("B", 1, "samples")), weights) == 0
    assert opened("own", weights)._wiring.rank == 3


def test_a_nemo_export_gets_its_features_and_their_length(network: Network, weights: Path, clips: list[Clip]) -> None:
    path = network(NEMO_MEL, layout="mels,time", input_name="audio_signal", length="length")
    assert install(path, weights) == 0
    embedder = opened("own", weights)
    samples = clips[0].samples[:32_000]
    expected = embedder._session.run(
        None, {"audio_signal": nemo_features(samples)[np.newaxis], "length": np.array([200])}
    )[0][0]
    assert float(embedder.embed(samples) @ expected) / np.linalg.norm(expected) == pytest.approx(1.0, abs=1e-5)


def test_long_speech_is_heard_in_parts(network: Network, weights: Path, clips: list[Clip]) -> None:
    assert install(network(), weights) == 0
    embedder = opened("own", weights)
    minutes = np.tile(clips[0].samples, 1 + 16_000 * 150 // len(clips[0].samples))[: 16_000 * 150]
    frames = embedder.encode(minutes)
    parts = list(embedder._parts(Segment(0.0, 150.0), len(frames)))
    assert [part.stop - part.start for part in parts] == [4999, 4999, 5000]
    assert parts[0].start == 0
    assert parts[-1].stop == len(frames)
    assert np.linalg.norm(embedder.embed(minutes)) == pytest.approx(1.0, abs=1e-5)


def test_a_batch_that_is_fixed_at_one_is_heard_window_by_window(network: Network, weights: Path) -> None:
    assert install(network(batch=1), weights) == 0
    embedder = opened("own", weights)
    assert not embedder._wiring.batched
    frames = embedder.encode(np.random.default_rng(1).normal(0, 0.1, 64_000).astype(np.float32))
    assert embedder.pool(frames, [Segment(i / 2, i / 2 + 1.5) for i in range(5)]).shape == (5, 32)


def test_other_features_of_one_network_are_another_revision(network: Network, weights: Path) -> None:
    assert install(network(), weights, "first") == 0
    assert install(network(CAMPPLUS), weights, "second") == 0
    first, second = (Record.read(weights / name) for name in ("first", "second"))
    assert first.files == second.files
    assert first.sha256 != second.sha256


def test_own_models_are_behind_those_of_the_manifest_the_oldest_first(network: Network, weights: Path) -> None:
    path = network()
    for name in ("b", "a"):
        assert install(path, weights, name) == 0
    for name, year in (("b", 2026), ("a", 2027)):
        record = json.loads((weights / name / "record.json").read_text())
        (weights / name / "record.json").write_text(
            json.dumps(record | {"installed_at": f"{year}-01-01T00:00:00+00:00"})
        )
    assert [card.handle for card in registry.installed(weights)] == ["ge2e", "b", "a"]
    assert registry.default_card(weights).handle == "ge2e"


def test_a_network_from_an_address_needs_a_descriptor_here(
    network: Network, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = network()
    with serving(path) as server:
        assert "is not a .nemo file" in refusal(server.url("file"), weights, capsys)
        assert install(server.url("file"), weights, "mine", "--descriptor", str(path.with_suffix(".toml"))) == 0
    assert Record.read(weights / "mine").own is not None


def test_weights_in_a_file_beside_the_network_are_taken_along(
    network: Network, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    path = network()
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="own.data", size_threshold=0)
    before = len(path.read_bytes())
    with serving(path) as server:
        toml = str(path.with_suffix(".toml"))
        assert "keeps its weights in other files" in refusal(server.url("file"), weights, capsys, "--descriptor", toml)
    assert install(path, weights) == 0
    assert len((weights / "own" / "network.onnx").read_bytes()) > before + 160 * 32 * 4 - 1000
    path.with_name("own.data").unlink()
    assert install(path, weights, "other") == 1
    assert "names weights that are not beside it: own.data" in capsys.readouterr().err


def test_weights_outside_of_the_folder_are_refused(
    network: Network, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    folder = tmp_path / "inner"
    folder.mkdir()
    path = network()
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="own.data", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../own.data"
    moved = folder / "own.onnx"
    moved.write_bytes(model.SerializeToString())
    moved.with_suffix(".toml").write_text(WESPEAKER)
    assert "not beside it: own.data" in refusal(moved, weights, capsys)
    (folder / "link.data").symlink_to(tmp_path / "own.data")
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "link.data"
    moved.write_bytes(model.SerializeToString())
    assert "not beside it" in refusal(moved, weights, capsys)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "a\0b"
    moved.write_bytes(model.SerializeToString())
    assert "in no possible place" in refusal(moved, weights, capsys)


@pytest.mark.parametrize(
    ("facts", "descriptor", "reason"),
    [
        ({}, None, "There is no descriptor"),
        ({}, "sample_rate = ", "cannot be read"),
        ({}, 'features = "fbank"\n', "sample_rate: Missing data"),
        ({}, WESPEAKER.replace("16000", "8000"), "sample_rate: Must be one of: 16000."),
        ({}, WESPEAKER.replace("hamming", "hann"), "window: Must be one of: hamming, povey."),
        ({}, WESPEAKER.replace('window = "hamming"', ""), "window: Missing"),
        ({}, WESPEAKER + "colour = 3\n", "colour: Unknown field"),
        ({}, WESPEAKER + "dimension = 256\n", "gives 32 numbers, not the 256"),
        ({}, WESPEAKER + 'input = "x"\n', "has no input 'x'; it has feats"),
        ({}, WESPEAKER + 'output = "y"\n', "has no output 'y'; it has embs"),
        ({}, WESPEAKER + 'layout = "mels,time"\n', "does not fit fbank"),
        ({}, WESPEAKER + "mels = 64\n", "must say the layout: the network takes (B, T, 80)"),
        ({}, REDIMNET, "takes (B, T, 80), which does not fit waveform"),
        ({"time": 200}, WESPEAKER, "takes (B, 200, 80): export it with a free axis of time"),
        ({"batch": 4}, WESPEAKER, "takes (4, T, 80), which does not fit"),
        ({"domain": "com.example"}, WESPEAKER, "operators of the domain com.example"),
        ({"fault": "constant"}, WESPEAKER, "gives different people one embedding"),
        ({"fault": "broken"}, WESPEAKER, "no usable embedding"),
        ({"fault": "framewise"}, WESPEAKER, "The network fails on 0.50 s of speech"),
        ({"fault": "drifting"}, WESPEAKER, "not deterministic"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    network: Network, weights: Path, capsys: pytest.CaptureFixture[str], facts: dict, descriptor: str, reason: str
) -> None:
    assert reason in refusal(network(descriptor, **facts), weights, capsys)


def test_features_may_keep_their_mean(network: Network, weights: Path, clips: list[Clip]) -> None:
    assert install(network(WESPEAKER + 'mean = "none"\n'), weights) == 0
    embedder = opened("own", weights)
    samples = clips[0].samples[:16_000]
    expected = embedder.embed_batch(kaldi_fbank(samples * np.float32(32_768), 80, "hamming")[np.newaxis])[0]
    assert float(embedder.embed(samples) @ expected) / np.linalg.norm(expected) == pytest.approx(1.0, abs=1e-5)


def test_a_file_that_is_no_network_is_refused(
    network: Network, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.installation import onnx_file

    path = network()
    whole = path.read_bytes()
    for content in (b"", b"<html>Sign in</html>", whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert "not an ONNX file" in refusal(path, weights, capsys)
    path.write_bytes(whole)
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 1000)
    assert "too large" in refusal(path, weights, capsys)


def test_a_name_that_timbre_knows_stays_what_it_is(
    network: Network, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = network()
    assert "titanet_large is made of a .nemo file" in refusal(path, weights, capsys, "titanet_large")
    assert "stt_de_conformer_ctc_large is made of" in refusal(path, weights, capsys, "stt_de_conformer_ctc_large")
    assert "ge2e comes with Timbre" in refusal(path, weights, capsys, "ge2e")
    assert "MODEL may have 40 small letters" in refusal(path, weights, capsys, "../evil")
    assert "a name of pyannoteAI" in refusal(path, weights, capsys, "precision-2")


def test_an_unknown_name_needs_a_file(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ecapa", "--weights-dir", str(weights)]) == 1
    assert "no model 'ecapa'; the models are titanet_large, " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])


def test_the_setting_says_where_models_are_installed(
    network: Network, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMBRE_WEIGHTS_DIR", str(weights))
    assert main(["--from", str(network()), *UNCALIBRATED]) == 0
    assert [card.handle for card in registry.installed(weights)] == ["ge2e", "own"]


def test_tuned_thresholds_outlast_a_new_installation_of_the_same_weights(network: Network, weights: Path) -> None:
    path = network()
    assert install(path, weights) == 0
    card = registry.installed_card("own", weights)
    kept = tuned.Tuned(
        model=card.model_id, data="x", tuned_at="x", der_before=9.0, der_after=8.0, thresholds={"merge_cosine": 0.4}
    )
    tuned.write(kept, tuned.tuned_file(card, weights))
    assert install(path, weights) == 0
    assert registry.installed_card("own", weights).clustering.merge_cosine == 0.4
    tuned.tuned_file(card, weights).write_text("{")
    assert install(path, weights) == 0
    assert registry.installed_card("own", weights) == card


def test_a_file_that_is_none_and_an_interruption_leave_nothing(
    network: Network, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = network()
    os.mkfifo(path.with_name("pipe.onnx"))
    path.with_name("pipe.toml").write_text(WESPEAKER)
    assert "is a named pipe" in refusal(path.with_name("pipe.onnx"), weights, capsys)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    assert "own was not installed: interrupted" in refusal(path, weights, capsys)


@pytest.mark.parametrize(
    ("source", "handle"),
    [
        ("/x/My Model-v2.NEMO", "my_model-v2"),
        ("https://example.org/files/resnet34_LM.onnx?key=1", "resnet34_lm"),
        ("модель.onnx", "own"),
        ("a" * 60 + ".onnx", "a" * 40),
    ],
)
def test_a_model_without_a_name_gets_that_of_its_file(source: str, handle: str) -> None:
    assert handle_of(source) == handle


def test_a_damaged_own_model_is_noticed(network: Network, weights: Path) -> None:
    assert install(network(), weights) == 0
    (weights / "own" / "network.onnx").write_bytes(b"broken")
    with pytest.raises(ModelInstallError, match=r"network.onnx of the model own is damaged"):
        opened("own", weights)
    record = json.loads((weights / "own" / "record.json").read_text())
    record["own"]["features"] = {"layout": 3}
    record["files"] = {}
    (weights / "own" / "record.json").write_text(json.dumps(record))
    with pytest.raises(ModelInstallError, match=r"record.json of the model own is damaged"):
        opened("own", weights)


def test_the_wiring_says_what_the_descriptor_leaves_out(network: Network, weights: Path) -> None:
    assert install(network(), weights) == 0
    own = Record.read(weights / "own").own
    assert own is not None
    wiring = Wiring(**own.features)
    assert (wiring.input, wiring.output, wiring.layout, wiring.batched) == ("feats", "embs", "time,mels", True)


def test_the_onnx_package_is_asked_for_where_it_is_missing(
    network: Network, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.installation import onnx_source

    path = network()
    monkeypatch.setattr(onnx_source.importlib.util, "find_spec", lambda name: None)
    assert "needs the onnx package; `make models` sets it up" in refusal(path, weights, capsys)
