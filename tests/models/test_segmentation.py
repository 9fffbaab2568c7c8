"""A segmentation model that is installed: exports are told by their form, and overlap is found where it is."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import segmentation
from models.install import main
from models.registry import sha256_of
from models.segmentation import PyannoteSegmentation, inspect
from models.vad import BUNDLED, SileroVad
from shared.domain.audio import Segment, Waveform, total_s
from shared.domain.errors import ModelInstallError
from shared.networks import Embedder
from tests.support.file_server import serving
from tests.support.overlaps import Overlapped, overlapped
from tests.support.segmentation_onnx import METADATA, RATE_HZ, with_pilot, write_powerset, write_speakers
from tests.support.speech import Clip
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint

pytestmark = pytest.mark.nemo

#: From the first sample on, near the edges of windows, across them, short, long, and up to the end.
OVERLAPS = [Segment(*edges_s) for edges_s in [(0.0, 0.5), (4.8, 5.3), (9.9, 10.2), (12.0, 12.15), (20.0, 31.0)]]
#: A frame's half, and a rounding to frames.
TOLERANCE_S = 0.03


@pytest.fixture(scope="module")
def powerset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "segmentation.onnx"
    write_powerset(path)
    return path


@pytest.fixture(scope="module")
def speech(clips: list[Clip]) -> np.ndarray:
    return np.concatenate([clip.samples for clip in clips] * 2)


def edges_s(segments: list[Segment]) -> list[float]:
    return [edge_s for segment in segments for edge_s in (segment.start_s, segment.end_s)]


def opened(path: Path) -> PyannoteSegmentation:
    return PyannoteSegmentation(inspect(path), path)


WRITERS = {
    "powerset": lambda path: write_powerset(path),
    "powerset without metadata": lambda path: write_powerset(path, {}),
    "powerset of one length": lambda path: write_powerset(path, {}, batch=1, length=160_000),
    "powerset of 5 s": lambda path: write_powerset(path, {}, length=80_000),
    "four speakers in pairs": lambda path: write_powerset(path, {}, num_classes=11),
    "speakers": lambda path: write_speakers(path, {}),
    "four speakers of 10 s": lambda path: write_speakers(path, {}, length=160_000, num_speakers=4),
}


@pytest.mark.parametrize(
    ("kind", "window", "num_speakers", "is_powerset"),
    [
        ("powerset", 160_000, 3, True),
        ("powerset without metadata", 160_000, 3, True),
        ("powerset of one length", 160_000, 3, True),
        ("powerset of 5 s", 80_000, 3, True),
        ("four speakers in pairs", 160_000, 4, True),
        ("speakers", 80_000, 3, False),
        ("four speakers of 10 s", 160_000, 4, False),
    ],
)
def test_an_export_is_told_by_its_form(
    kind: str, window: int, num_speakers: int, is_powerset: bool, tmp_path: Path, speech: np.ndarray
) -> None:
    path = tmp_path / "network.onnx"
    WRITERS[kind](path)
    layout = inspect(path)
    assert (layout.window, layout.num_speakers, layout.powerset) == (window, num_speakers, is_powerset)
    assert (layout.field, layout.shift, layout.sha256) == (991, 270, sha256_of(path))
    if kind != "four speakers in pairs":
        # There the pilot stands for one speaker: the class of a pair comes later.
        found = opened(path).overlaps(with_pilot(speech, OVERLAPS))
        assert edges_s(found) == pytest.approx(edges_s(OVERLAPS), abs=TOLERANCE_S)


def test_one_speaker_of_many_is_no_overlap(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "network.onnx"
    WRITERS["four speakers in pairs"](path)
    assert opened(path).overlaps(with_pilot(speech, OVERLAPS)) == []


def test_speech_without_overlap_has_none(powerset: Path, speech: np.ndarray) -> None:
    assert opened(powerset).overlaps(with_pilot(speech, [])) == []


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.07, 1.0, 9.99, 10.0, 10.01, 14.9, 15.0, 15.03, 47.123])
def test_overlap_is_found_at_both_ends_of_recordings_of_any_length(powerset: Path, seconds: float) -> None:
    samples = np.random.default_rng(1).normal(0, 0.01, round(seconds * RATE_HZ)).astype(np.float32)
    net = opened(powerset)
    whole = net.overlaps(with_pilot(samples, [Segment(0.0, seconds)])) if len(samples) else net.overlaps(samples)
    if seconds < 0.06:
        # Less than a frame hears.
        assert total_s(whole) < 0.05
        return
    assert len(whole) == 1
    assert edges_s(whole) == pytest.approx([0.0, seconds], abs=0.07)
    assert whole[0].start_s >= 0.0 and whole[0].end_s <= seconds
    end = Segment(max(0.0, seconds - 0.4), seconds)
    assert edges_s(net.overlaps(with_pilot(samples, [end])))[-1] == pytest.approx(seconds, abs=0.07)


def test_windows_cover_a_recording_in_steps_of_half_a_window(powerset: Path) -> None:
    net = opened(powerset)
    heard: list[int] = []
    run = segmentation.run
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segmentation, "run", lambda session, window: heard.append(len(window)) or run(session, window))
        net.probabilities(np.zeros(30 * RATE_HZ, np.float32))
    assert heard == [160_000] * 5


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.write_bytes(b"no network"), "no ONNX file that onnxruntime can open"),
        (lambda path: path.write_bytes(b""), "no ONNX file that onnxruntime can open"),
        (lambda path: path.write_bytes(BUNDLED.read_bytes()), "its input is not sound of the shape"),
        (lambda path: write_powerset(path, METADATA | {"sample_rate": "8000"}), "sound at 8000 Hz, where 16000"),
        (lambda path: write_powerset(path, channels=2), "of 2 channels at once"),
        (lambda path: write_powerset(path, batch=32), "takes 32 recordings"),
        (lambda path: write_powerset(path, {}, length=1600), "it hears 1600 samples at once"),
        (lambda path: write_powerset(path, METADATA | {"window_size": "9" * 12}), "it hears 999999999999 samples"),
        (lambda path: write_powerset(path, length=80_000), "cannot hear 160000 samples"),
        (lambda path: write_powerset(path, METADATA | {"receptive_field_shift": "320"}), "gives 589 frames"),
        (lambda path: write_powerset(path, METADATA | {"num_speakers": "4"}), "7 classes are not the sets"),
        (lambda path: write_powerset(path, METADATA | {"powerset_max_classes": "3"}), "of whom 3 speak at once"),
        (lambda path: write_powerset(path, {}, num_classes=9), "9 classes are not the sets of speakers"),
        (lambda path: write_powerset(path, last="Identity"), "neither log probabilities"),
        (lambda path: write_powerset(path, last="Softmax"), "neither log probabilities"),
        (lambda path: write_speakers(path, {}, num_speakers=9), "nor a probability of each of 2 to 4 speakers"),
    ],
    ids=["text", "empty", "Silero", "8 kHz", "stereo", "batches", "short", "endless", "other length", "other frames",
         "4 of 7", "triples", "9 classes", "logits", "softmax", "9 speakers"],
)  # fmt: skip
def test_what_is_no_segmentation_model_is_refused_and_nothing_is_left(
    write: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "network.onnx"
    write(path)
    with pytest.raises(ModelInstallError, match=reason):
        inspect(path)
    weights = tmp_path / "weights"
    assert main(["segmentation", "--from", str(path), "--weights-dir", str(weights)]) == 1
    assert "segmentation was not installed. The file is not a" in capsys.readouterr().err
    assert list(weights.iterdir()) == []


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_pyannotes_architecture_that_torch_exports_is_taken(tmp_path: Path, speech: np.ndarray) -> None:
    from tests.support.pyannet import export_pyannet

    export_pyannet(tmp_path / "segmentation.onnx")
    source = str(tmp_path / "segmentation.onnx")
    assert main(["segmentation", "--from", source, "--weights-dir", str(tmp_path / "weights")]) == 0
    net = segmentation.load(tmp_path / "weights")
    assert net is not None
    assert (net.layout.window, net.layout.num_speakers, net.layout.powerset) == (160_000, 3, True)
    found = net.probabilities(speech)
    assert len(found) == (len(speech) - 991) // 270 + 1
    assert 0.0 < found.min() <= found.max() < 1.0


def test_weights_in_a_file_of_their_own_are_taken_along(powerset: Path, tmp_path: Path, speech: np.ndarray) -> None:
    import onnx

    beside = tmp_path / "segmentation.onnx"
    onnx.save(onnx.load(powerset), beside, save_as_external_data=True, location="segmentation.onnx.data")
    assert (tmp_path / "segmentation.onnx.data").stat().st_size > 1000
    assert main(["segmentation", "--from", str(beside), "--weights-dir", str(tmp_path / "weights")]) == 0
    (tmp_path / "segmentation.onnx.data").unlink()
    net = segmentation.load(tmp_path / "weights")
    assert net is not None and len(net.overlaps(with_pilot(speech, OVERLAPS))) == len(OVERLAPS)


def test_without_a_file_the_command_says_what_to_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segmentation", "--weights-dir", str(tmp_path)]) == 1
    assert "FROM=segmentation.onnx" in capsys.readouterr().err


def test_the_command_installs_a_file_from_the_network(
    powerset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], speech: np.ndarray
) -> None:
    with serving(powerset) as server:
        for _ in range(2):
            assert main(["segmentation", "--from", server.url("file"), "--weights-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"Installed segmentation@{sha256_of(powerset)[:8]} in {tmp_path / 'segmentation'}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["segmentation"]
    net = segmentation.load(tmp_path)
    assert net is not None and net.layout == segmentation.installed(tmp_path) == segmentation.verify(tmp_path)
    assert len(net.overlaps(with_pilot(speech, OVERLAPS))) == len(OVERLAPS)


def test_damage_is_noticed_before_a_worker_starts(powerset: Path, tmp_path: Path) -> None:
    assert segmentation.verify(tmp_path) is None and segmentation.load(tmp_path) is None
    main(["segmentation", "--from", str(powerset), "--weights-dir", str(tmp_path)])
    network = tmp_path / "segmentation" / "segmentation.onnx"
    network.write_bytes(network.read_bytes()[:-1])
    with pytest.raises(ModelInstallError, match=r"segmentation\.onnx .* is damaged or missing; install it again"):
        segmentation.load(tmp_path)
    network.unlink()
    with pytest.raises(ModelInstallError, match="damaged or missing"):
        segmentation.verify(tmp_path)
    (tmp_path / "segmentation" / "segmentation.json").write_text('{"window": 1}')
    with pytest.raises(ModelInstallError, match=r"segmentation\.json .* is damaged; install it again"):
        segmentation.installed(tmp_path)


def test_a_worker_that_loads_it_needs_no_onnx_and_no_torch(powerset: Path, tmp_path: Path) -> None:
    main(["segmentation", "--from", str(powerset), "--weights-dir", str(tmp_path)])
    code = f"""
import sys
from pathlib import Path
from models import segmentation
assert segmentation.load(Path({str(tmp_path)!r}))
print(sorted({{"torch", "nemo", "onnx", "librosa", "urllib3"}} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


@pytest.fixture(scope="module")
def in_turn(clips: list[Clip]) -> Overlapped:
    return overlapped([(clips[0], 0.0, 1.0), (clips[2], 1.0, 1.0), (clips[1], 1.0, 1.0), (clips[3], 1.0, 1.0)])


def test_turns_overlap_where_the_network_hears_two(
    powerset: Path, in_turn: Overlapped, vad: SileroVad, ge2e: Embedder
) -> None:
    waveform = Waveform(with_pilot(in_turn.samples, in_turn.overlaps), RATE_HZ)
    found = make_voiceprint(waveform, Nets(vad, ge2e, opened(powerset)), Steps())
    assert edges_s(list(found.diarization.overlaps)) == pytest.approx(edges_s(in_turn.overlaps), abs=TOLERANCE_S)
    for overlap in found.diarization.overlaps:
        middle_s = (overlap.start_s + overlap.end_s) / 2
        at = {t.speaker for t in found.diarization.turns if t.segment.start_s <= middle_s < t.segment.end_s}
        assert at == {"SPEAKER_00", "SPEAKER_01"}
