"""`python -m tests.bench.search [--identities 100000] [--threads 1,2]`: time of a search beside a bare dot product.

A file of voiceprint strings is made. For each number of BLAS threads a process of its own builds a gallery from it.
Then searches alternate with products of the same matrix and the probe's vector, so that other load affects both.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np

from models.registry import default_card
from shared.domain.calibration import Calibration
from shared.domain.quality import Capture
from shared.domain.search import Entry, Gallery, search
from shared.domain.voiceprints import Voiceprint
from shared.settings import Settings

#: Spread of the voices around the mean: that of the bundled model's voices.
SPREAD = 0.05
CANDIDATES = 5


@click.command()
@click.option("--identities", default=100_000, show_default=True)
@click.option("--threads", default="1,2", show_default=True, help="Of BLAS; one run for each number.")
@click.option("--searches", default=200, show_default=True)
@click.option("--strings", type=click.Path(exists=True, path_type=Path), help="Measure here, with the file's strings.")
def main(identities: int, threads: str, searches: int, strings: Path | None) -> None:
    """Print the figures of each run."""
    if strings:
        print(json.dumps(measure(strings, searches)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "strings"
        with path.open("w") as file:
            file.writelines(f"{voice.encode()}\n" for voice in voices(identities))
        for number in threads.split(","):
            command = [sys.executable, "-m", "tests.bench.search", "--strings", str(path), "--searches", str(searches)]
            environment = os.environ | {"OPENBLAS_NUM_THREADS": number}
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
            print(line(number, json.loads(done.stdout)), flush=True)


def calibration() -> Calibration:
    found = default_card(Settings().weights_dir).calibration
    assert found, "the default model has no calibration"
    return found


def voices(num: int) -> Iterator[Voiceprint]:
    """Yield random voices, in all conditions."""
    rng = np.random.default_rng(0)
    fitted = calibration()
    for number in range(num):
        vector = fitted.means["clean"] + SPREAD * rng.standard_normal(len(fitted.means["clean"])).astype(np.float32)
        capture = Capture(net_speech_s=rng.uniform(2, 20), snr_db=rng.uniform(5, 40), narrowband=number % 3 == 0)
        yield Voiceprint(fitted.model_id, vector / np.linalg.norm(vector), capture)


def entries(path: Path) -> Iterator[Entry]:
    with path.open() as file:
        for number, text in enumerate(file):
            name = f"{number:026}"
            yield Entry(key=name, identity=name, voiceprint=Voiceprint.decode(text.strip()))


def measure(path: Path, searches: int) -> dict[str, float]:
    fitted = calibration()
    (probe,) = voices(1)
    before = rss_bytes()
    begun = time.perf_counter()
    gallery = Gallery.build(fitted.model_id, probe.dimension, entries(path), fitted)
    built_s = time.perf_counter() - begun
    held = rss_bytes() - before
    matrix = np.stack([entry.voiceprint.vector for entry in entries(path)])

    def one_search() -> object:
        return search(gallery, probe, limit=CANDIDATES, least_confidence=0)

    pairs = [(seconds(one_search), seconds(lambda: matrix @ probe.vector)) for _ in range(searches)]
    changed_s = seconds(lambda: gallery.put([Entry(key="new", identity="new", voiceprint=probe)]))
    removed_s = seconds(lambda: gallery.remove("new"))
    ours, bare = np.array(pairs).T * 1000
    times = {"search": ours, "dot": bare}
    return {
        "identities": gallery.num_identities,
        "built_s": built_s,
        "held_mb": held / 1e6,
        "nbytes_mb": gallery.nbytes / 1e6,
        "matrix_mb": matrix.nbytes / 1e6,
        "working_mb": working_bytes(one_search) / 1e6,
        "put_ms": 1000 * changed_s,
        "remove_ms": 1000 * removed_s,
        **{f"{name}_p{p}_ms": float(np.percentile(ms, p)) for name, ms in times.items() for p in (50, 95)},
    }


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def working_bytes(work: Callable[[], object]) -> int:
    """Return the most bytes that `work` takes beside those there before."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def line(threads: str, found: dict[str, float]) -> str:
    ratios = ", ".join(f"p{p} {found[f'search_p{p}_ms'] / found[f'dot_p{p}_ms']:.2f}" for p in (50, 95))
    return (
        f"{found['identities']:,.0f} identities, {threads} BLAS thread(s):\n"
        f"  search p50 {found['search_p50_ms']:.1f} ms, p95 {found['search_p95_ms']:.1f} ms; "
        f"bare dot p50 {found['dot_p50_ms']:.1f} ms, p95 {found['dot_p95_ms']:.1f} ms; ratio {ratios}\n"
        f"  memory: gallery {found['held_mb']:.0f} MB (by its own count {found['nbytes_mb']:.0f}), "
        f"bare matrix {found['matrix_mb']:.0f} MB; a search takes {found['working_mb']:.1f} MB more\n"
        f"  built from strings in {found['built_s']:.1f} s; one voiceprint put in {found['put_ms']:.2f} ms, "
        f"removed in {found['remove_ms']:.2f} ms"
    )


if __name__ == "__main__":
    main()
