"""`python -m tests.bench [--threads N] [--repeats N] [--without-nemo]`: ratios, one run, the same cores and sound.

A full-size titanet_large with random weights is built through NeMo (once, kept under build/bench): time does not
depend on the weights. Which voices are found does, so for one speaker splitting is forbidden, and for three it is
forced: the path that encodes the dominant speaker again is taken. The least of several repeats counts.
"""

import io
import itertools
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import soundfile

from models import registry
from models.features import titanet_features
from models.install import install
from models.titanet import TitaNet
from models.vad import SileroVad
from worker.decode import AvDecoder
from worker.pipelines.voiceprint import Nets, make_voiceprint
from worker.steps import Steps

FOLDER = Path("build/bench")
_DATA = Path(__file__).parents[1] / "data"
_SECONDS = 30


@click.command()
@click.option("--threads", default=2, show_default=True, help="Of onnxruntime and of torch.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--without-nemo", is_flag=True, help="Leave NeMo's pipeline and torch's forward out.")
def main(threads: int, repeats: int, without_nemo: bool) -> None:
    """Print how long each thing takes, and the ratios."""
    warnings.simplefilter("ignore")
    weights = _weights()
    card = registry.installed_card("titanet_large", weights)
    report: dict[str, object] = {"threads": threads, "worker": _worker_start(weights, threads)}
    for name, most in (("one speaker", 1), ("three speakers", 4)):
        forced = replace(card.clustering, max_speakers=most, split_gate=-2.0, merge_cosine=2.0, min_speaker_s=0.0)
        nets = Nets(
            SileroVad(threads=threads), TitaNet(replace(card, clustering=forced), weights / card.handle, threads)
        )
        report[name] = _measure(_flac(name), nets, repeats)
        if not without_nemo:
            report[name] |= _measure_nemo(_flac(name), threads, repeats)
    report["throughput"] = {f"{p}x{t}": _throughput(weights, p, t) for p, t in ((1, 2), (2, 1))}
    _show(report)
    (FOLDER / "report.json").write_text(json.dumps(report, indent=1) + "\n")


def _weights() -> Path:
    """Return a weights folder with the full-size network, made on first use."""
    weights, nemo_file = FOLDER / "weights", FOLDER / "titanet_large.nemo"
    if registry.installed(weights)[0].handle != "titanet_large":
        from tests.models.titanet_nemo import build_titanet_nemo

        FOLDER.mkdir(parents=True, exist_ok=True)
        build_titanet_nemo(nemo_file, filters=1024, channels=3072)
        install(registry.entry("titanet_large"), str(nemo_file), weights, lambda line: print(line, file=sys.stderr))
    return weights


def _flac(name: str) -> bytes:
    """Return 30 s of speech of the tests' clips as a FLAC file: of one speaker, or of three in turn."""
    clips = sorted(_DATA.glob("[0-9]*.flac"))
    chosen = clips if name == "three speakers" else [clip for clip in clips if clip.name.startswith("1688")]
    sounds = itertools.cycle([soundfile.read(clip, dtype="float32")[0] for clip in chosen])
    joined = np.concatenate([next(sounds) for _ in range(12)])[: _SECONDS * 16_000]
    file = io.BytesIO()
    soundfile.write(file, joined, 16_000, format="FLAC")
    return file.getvalue()


def _measure(flac: bytes, nets: Nets, repeats: int) -> dict[str, object]:
    waveform = AvDecoder(30.0).decode(io.BytesIO(flac))
    features = titanet_features(waveform.samples)[np.newaxis]
    encoder = nets.embedder._encoder
    steps: list[dict[str, float]] = []

    def whole_path() -> None:
        taken = Steps()
        with taken("decode"):
            decoded = AvDecoder(30.0).decode(io.BytesIO(flac))
        make_voiceprint(decoded, nets, taken)
        steps.append(taken.seconds)

    # In turn, so that a busy neighbour slows all alike.
    bare, ours = _least([lambda: encoder.run(["frames"], {"features": features}), whole_path], repeats)
    return {
        "ours_s": ours,
        "bare_onnxruntime_s": bare,
        "steps_s": min(steps, key=lambda s: sum(s.values())),
        "speech_s": sum(s.duration_s for s in nets.vad.speech_segments(waveform.samples)),
    }


def _measure_nemo(flac: bytes, threads: int, repeats: int) -> dict[str, float]:
    import torch

    from tests.bench.nemo_pipeline import NemoPipeline

    torch.set_num_threads(threads)
    waveform = AvDecoder(30.0).decode(io.BytesIO(flac))
    nemo = NemoPipeline(FOLDER / "titanet_large.nemo", FOLDER / "nemo")
    diarizer = nemo.prepare(waveform, SileroVad().speech_segments(waveform.samples))
    forward, pipeline = _least(
        [lambda: nemo.forward(waveform.samples), lambda: nemo.run(diarizer, waveform)], max(1, repeats - 1)
    )
    return {"nemo_pipeline_s": pipeline, "bare_torch_s": forward}


def _least(things: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the least wall seconds of each of `things`, after one run to warm up."""
    seconds: list[list[float]] = [[] for _ in things]
    for _ in range(repeats + 1):
        for thing, taken in zip(things, seconds, strict=True):
            started = time.perf_counter()
            thing()
            taken.append(time.perf_counter() - started)
    return [min(taken[1:]) for taken in seconds]


_START = """
import sys, time
started = time.perf_counter()
from worker.bootstrap import make_nets
import worker.app
from shared.settings import Settings
nets = make_nets(Settings.from_env())
ready = time.perf_counter() - started
import io, pathlib
from worker.decode import AvDecoder
from worker.pipelines.voiceprint import make_voiceprint
from worker.steps import Steps
flac = pathlib.Path(sys.argv[1]).read_bytes()
took = []
for _ in range(int(sys.argv[2])):
    begun = time.perf_counter()
    make_voiceprint(AvDecoder(30.0).decode(io.BytesIO(flac)), nets, Steps())
    took.append(time.perf_counter() - begun)
status = dict(line.split(":") for line in open("/proc/self/status"))
memory = {name: int(status[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM")}
print(ready, memory["VmRSS"], memory["VmHWM"], sum(took))
"""


def _start(weights: Path, threads: int, jobs: int) -> subprocess.Popen[str]:
    sound = FOLDER / "one.flac"
    sound.write_bytes(_flac("one speaker"))
    environment = {
        "PATH": "/usr/bin:/bin", "TIMBRE_WEIGHTS_DIR": str(weights.resolve()), "TIMBRE_INFERENCE_THREADS": str(threads),
    }  # fmt: skip
    command = [sys.executable, "-c", _START, str(sound), str(jobs)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _worker_start(weights: Path, threads: int) -> dict[str, float]:
    said = [_start(weights, threads, 2).communicate()[0].split() for _ in range(2)]
    best = min(said, key=lambda words: float(words[0]))
    return {"ready_s": float(best[0]), "rss_mb": int(best[1]), "peak_rss_mb": int(best[2])}


def _throughput(weights: Path, processes: int, threads: int) -> float:
    """Return jobs of 30 s a second, of `processes` with `threads` each."""
    jobs = 4
    running = [_start(weights, threads, jobs) for _ in range(processes)]
    longest = max(float(process.communicate()[0].split()[3]) for process in running)
    return processes * jobs / longest


def _show(report: dict) -> None:
    worker = report["worker"]
    print(f"random weights of full size, {report['threads']} threads, {_SECONDS} s of sound, least of several runs")
    print(
        f"worker ready after {worker['ready_s']:.1f} s, "
        f"RSS {worker['rss_mb']} MB after two jobs, peak {worker['peak_rss_mb']}"
    )
    for name in ("one speaker", "three speakers"):
        found = report[name]
        ours, bare = found["ours_s"], found["bare_onnxruntime_s"]
        print(f"\n{name}, {found['speech_s']:.1f} s of speech: ours (c) {ours:.2f} s")
        if "nemo_pipeline_s" in found:
            nemo, torch = found["nemo_pipeline_s"], found["bare_torch_s"]
            print(f"  (a) NeMo's pipeline {nemo:.2f} s: ours is {nemo / ours:.1f} times as fast")
            print(f"  (b) torch's bare forward {torch:.2f} s: ours takes {ours / torch:.2f} of it")
        print(f"  (b') onnxruntime's bare encoder pass {bare:.2f} s: ours takes {ours / bare:.2f} of it")
        print("  (d) " + ", ".join(f"{step} {s:.3f}" for step, s in found["steps_s"].items()))
    print("\njobs a second: " + ", ".join(f"{key} {value:.2f}" for key, value in report["throughput"].items()))


if __name__ == "__main__":
    main()
