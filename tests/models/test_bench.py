"""`make bench` with a small network: does it still run, and time everything?"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models.vad import SileroVad
from shared.domain.audio import Waveform
from tests.bench.__main__ import main
from tests.support.speech import Clip

pytestmark = [pytest.mark.nemo, pytest.mark.filterwarnings("ignore")]


def test_bench_times_each_step(weights_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(weights_dir, tmp_path / "weights")
    done = CliRunner().invoke(main, ["--folder", str(tmp_path), "--repeats", "1", "--without-nemo"])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    for name in ("one speaker", "three speakers"):
        assert set(report[name]["steps_s"]) == {"decode", "vad", "encode", "diarize", "embed"}
        assert min(report[name][key] for key in ("ours_s", "bare_onnxruntime_s", "bundled_s")) > 0
        assert f"\n{name}, 2" in done.output
    assert set(report["throughput"]) == {"1x2", "2x1"}
    assert report["worker"]["rss_mb"] > 0


def test_what_bench_measures_against_finds_a_speaker(
    nemo_file: Path, vad: SileroVad, clips: list[Clip], tmp_path: Path
) -> None:
    from tests.bench.nemo_pipeline import NemoPipeline

    waveform = Waveform(np.concatenate([clip.samples for clip in clips[1:3]]), 16_000)
    nemo = NemoPipeline(nemo_file, tmp_path)
    run = nemo.pipeline(waveform, vad.speech_segments(waveform.samples), "general")
    assert run().shape == nemo.forward(waveform.samples).shape == (1, 192)
