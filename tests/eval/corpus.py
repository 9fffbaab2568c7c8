"""`python -m tests.eval.corpus MANIFEST --dataset NAME`: make the speech that models are calibrated on.

It takes one recording of each speaker of the dataset who is in no mixture of MANIFEST, so that mixtures stay a test.
Those with too little speech to be cut in halves are left out.
"""

import csv
from pathlib import Path

import av
import click

from models.calibration.channels import through
from models.calibration.corpus import MANIFEST, SHIPPED, read_samples
from models.calibration.listening import LEAST_S
from models.vad import SileroVad
from shared.domain.audio import SAMPLE_RATE_HZ, total_s
from tests.eval.recordings import Row, read_manifest

#: Bits a second: 2.4 MB for 106 speakers. Fits on such copies are as good as fits on the originals.
_BIT_RATE = 16_000


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dataset", required=True)
@click.option("--source", default="LibriSpeech train-clean-100", show_default=True)
@click.option("--licence", default="CC BY 4.0", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=SHIPPED)
def main(manifest: Path, dataset: str, source: str, licence: str, out: Path) -> None:
    """Write an Opus file for each speaker, and a manifest, to the folder OUT."""
    rows = read_manifest(manifest)
    mixed = {speaker for row in rows if row.kind == "mixture" for speaker in row.speaker.split(";")}
    chosen = {row.speaker: row for row in rows if row.dataset == dataset and row.kind == "single"}
    out.mkdir(parents=True, exist_ok=True)
    vad = SileroVad()
    with (out / MANIFEST).open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "speaker", "licence", "source"))
        for speaker in sorted(chosen.keys() - mixed):
            path = _encoded(chosen[speaker], out)
            if _speech_s(path, vad) >= LEAST_S:
                table.writerow((path.name, speaker.rpartition(":")[2], licence, source))
            else:
                path.unlink()


def _encoded(row: Row, out: Path) -> Path:
    path = (out / row.path.name).with_suffix(".opus")
    with av.open(str(row.path)) as source, av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono", bit_rate=_BIT_RATE)
        frames = list(source.decode(audio=0))
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=SAMPLE_RATE_HZ)
        packets = [
            packet for frame in [*frames, None] for out in resampler.resample(frame) for packet in stream.encode(out)
        ]
        container.mux(packets + stream.encode(None))
    return path


def _speech_s(path: Path, vad: SileroVad) -> float:
    return total_s(vad.speech_segments(through("clean", read_samples(path)).samples))


if __name__ == "__main__":
    main()
