"""`python -m tests.bench [--threads N] [--repeats N] [--without-nemo]`: compare times with NeMo's, on the same cores.

A full-size titanet_large with random weights is built with NeMo once and kept in the folder. Time does not depend on
the weights, but the number of speakers found does. So splitting is forbidden for one speaker and forced for three; then
the dominant speaker is encoded again. The least time of several repeats counts. A folder with a network that an earlier
version exported measures that one; delete it for a new one.
"""

import itertools
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import soundfile

from models import registry
from models.features import nemo_features
from models.install import install
from models.titanet import TitaNet
from models.vad import SileroVad
from shared.domain.audio import Segment, Waveform
from shared.networks import Embedder
from tests.support.speech import DATA
from worker.recordings.decoder import ProcessDecoder
from worker.voices.progress import Steps
from worker.voices.voiceprint import Nets, make_voiceprint

_SECONDS = 30.0
_RATE_HZ = 16_000
#: Measured jobs of a process, after one to warm it up.
_JOBS = 3
#: Name of a recording -> most speakers found in it.
_RECORDINGS = {"one speaker": 1, "three speakers": 3}


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Settings of the benchmark: the folder with the network and the recordings, threads, repeats."""

    folder: Path
    threads: int
    repeats: int

    @property
    def weights(self) -> Path:
        return self.folder / "weights"

    @property
    def nemo_file(self) -> Path:
        return self.folder / "titanet_large.nemo"

    def recording(self, name: str) -> Path:
        return self.folder / f"{name}.flac"


@click.command()
@click.option("--threads", default=2, show_default=True, help="Of onnxruntime and of torch.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--without-nemo", is_flag=True, help="Leave NeMo's pipeline and torch's forward out.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("build/bench"))
def main(threads: int, repeats: int, without_nemo: bool, folder: Path) -> None:
    """Print the times and their ratios."""
    warnings.simplefilter("ignore")
    bench = Bench(folder=folder, threads=threads, repeats=repeats)
    _prepare(bench)
    report: dict[str, object] = {"threads": threads, "worker": _worker_start(bench)}
    report["throughput"] = {f"{p}x{t}": _throughput(bench, p, t) for p, t in ((1, 2), (2, 1))}
    for name in _RECORDINGS:
        report[name] = _measure(bench, name)
        if not without_nemo:
            report[name] |= _measure_nemo(bench, name)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(_lines(report)))


def _prepare(bench: Bench) -> None:
    """Build the recordings, and the full-size network unless the folder has one."""
    if registry.default_card(bench.weights).handle != "titanet_large":
        from tests.support.titanet_nemo import build_titanet_nemo

        bench.folder.mkdir(parents=True, exist_ok=True)
        build_titanet_nemo(bench.nemo_file, filters=1024, channels=3072)
        titanet = registry.entry("titanet_large").card
        install(titanet, str(bench.nemo_file), bench.weights, lambda line: print(line, file=sys.stderr))
    for name in _RECORDINGS:
        soundfile.write(bench.recording(name), _sound(name), _RATE_HZ)


def _sound(name: str) -> np.ndarray:
    """Return 30 s of speech of the tests' clips: of one speaker, or of three in turn."""
    clips = sorted(DATA.glob("[0-9]*.flac"))
    chosen = clips if name == "three speakers" else [clip for clip in clips if clip.name.startswith("1688")]
    sounds = itertools.cycle([soundfile.read(clip, dtype="float32")[0] for clip in chosen])
    return np.concatenate([next(sounds) for _ in range(12)])[: round(_SECONDS * _RATE_HZ)]


def _decode(decoder: ProcessDecoder, path: Path) -> Waveform:
    with path.open("rb") as file:
        return decoder.decode(file, _SECONDS)


def _measure(bench: Bench, name: str) -> dict[str, object]:
    """Time the whole path, its steps and the bare network, in turn, so that other load affects all of them."""
    decoder = ProcessDecoder(_SECONDS)
    waveform = _decode(decoder, bench.recording(name))
    titanet = _titanet(bench, _RECORDINGS[name])
    ge2e = registry.load(registry.entry("ge2e").card, threads=bench.threads)
    vad = SileroVad(threads=bench.threads)
    taken: dict[str, list[dict[str, float]]] = {"titanet_large": [], "ge2e": []}

    def whole_path(embedder: Embedder) -> None:
        steps = Steps()
        with steps("decode"):
            decoded = _decode(decoder, bench.recording(name))
        make_voiceprint(decoded, Nets(vad, embedder), steps)
        taken[embedder.card.handle].append(steps.seconds)

    features = nemo_features(waveform.samples)
    bare, encoder, ours, bundled = _least(
        [
            lambda: titanet.pool(titanet.encode_features(features), [Segment(0.0, _SECONDS)]),
            lambda: titanet.encode_features(features),
            lambda: whole_path(titanet),
            lambda: whole_path(ge2e),
        ],
        bench.repeats,
    )
    decoder.stop()
    return {
        "ours_s": ours,
        "bare_onnxruntime_s": bare,
        "bare_encoder_s": encoder,
        "bundled_s": bundled,
        "steps_s": _fastest(taken["titanet_large"]),
        "bundled_steps_s": _fastest(taken["ge2e"]),
        "speech_s": sum(s.duration_s for s in vad.speech_segments(waveform.samples)),
    }


def _titanet(bench: Bench, speakers: int) -> TitaNet:
    card = registry.installed_card("titanet_large", bench.weights)
    forced = replace(card.clustering, max_speakers=speakers, split_gate=-2.0, merge_cosine=2.0, min_speaker_s=0.0)
    return TitaNet(replace(card, clustering=forced), bench.weights / card.handle, bench.threads)


def _fastest(runs: list[dict[str, float]]) -> dict[str, float]:
    return min(runs, key=lambda steps: sum(steps.values()))


def _measure_nemo(bench: Bench, name: str) -> dict[str, object]:
    import torch

    from tests.bench.nemo_pipeline import SCALES, NemoPipeline

    torch.set_num_threads(bench.threads)
    decoder = ProcessDecoder(_SECONDS)
    waveform = _decode(decoder, bench.recording(name))
    decoder.stop()
    nemo = NemoPipeline(bench.nemo_file, bench.folder / "nemo")
    (forward,) = _least([lambda: nemo.forward(waveform.samples)], bench.repeats)
    speech = SileroVad().speech_segments(waveform.samples)
    # torch and numba load files at first use.
    nemo.pipeline(waveform, speech, "general")()
    pipelines = {scales: _seconds(nemo.pipeline(waveform, speech, scales)) for scales in SCALES}
    return {"bare_torch_s": forward, "nemo_s": pipelines}


def _seconds(thing: Callable[[], object]) -> float:
    started = time.perf_counter()
    thing()
    return time.perf_counter() - started


def _least(things: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the least wall seconds of each of `things`, after one run to warm up."""
    rounds = [[_seconds(thing) for thing in things] for _ in range(repeats + 1)]
    return [min(taken) for taken in zip(*rounds[1:], strict=True)]


def _worker_start(bench: Bench) -> dict[str, float]:
    return min(
        (_said(_worker(bench, bench.threads, 1)) for _ in range(bench.repeats)), key=lambda worker: worker["ready_s"]
    )


def _throughput(bench: Bench, processes: int, threads: int) -> float:
    """Return the jobs of 30 s per second of `processes` with `threads` each."""
    running = [_worker(bench, threads, _JOBS) for _ in range(processes)]
    return sum(_JOBS / _said(process)["jobs_s"] for process in running)


def _worker(bench: Bench, threads: int, jobs: int) -> subprocess.Popen[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "TIMBRE_WEIGHTS_DIR": str(bench.weights.resolve()),
        "TIMBRE_INFERENCE_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.bench.worker", str(bench.recording("one speaker")), str(jobs)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _said(process: subprocess.Popen[str]) -> dict[str, float]:
    # The last line; those before it are the log's.
    return json.loads(process.communicate()[0].splitlines()[-1])


def _lines(report: dict) -> list[str]:
    worker = report["worker"]
    lines = [
        f"random weights of full size, {report['threads']} threads, {_SECONDS:g} s of sound, least of several runs",
        f"worker ready after {worker['ready_s']:.1f} s, RSS {worker['rss_mb']} MB after two jobs, "
        f"peak {worker['peak_rss_mb']}",
        "jobs a second, processes x threads: "
        + ", ".join(f"{key} {value:.2f}" for key, value in report["throughput"].items()),
    ]
    for name in _RECORDINGS:
        lines += _recording_lines(name, report[name])
    return lines


def _recording_lines(name: str, found: dict) -> list[str]:
    ours = found["ours_s"]
    bare = found["bare_onnxruntime_s"]
    lines = ["", f"{name}, {found['speech_s']:.1f} s of speech"]
    if "nemo_s" in found:
        torch = found["bare_torch_s"]
        lines += [
            f"  (a) NeMo's pipeline, {scales} {nemo:.2f} s: ours is {nemo / ours:.1f} times as fast"
            for scales, nemo in found["nemo_s"].items()
        ]
        lines += [f"  (b) torch's bare forward {torch:.2f} s: ours takes {ours / torch:.2f} of it"]
    return [
        *lines,
        f"  (b) onnxruntime's bare pass {bare:.2f} s (encoder {found['bare_encoder_s']:.2f}): "
        f"ours takes {ours / bare:.2f} of it",
        f"  (c) ours {ours:.2f} s",
        f"  (d) {_described(found['steps_s'])}",
        f"  bundled ge2e {found['bundled_s']:.2f} s: {_described(found['bundled_steps_s'])}",
    ]


def _described(steps: dict[str, float]) -> str:
    return ", ".join(f"{step} {s:.3f}" for step, s in steps.items())


if __name__ == "__main__":
    main()
