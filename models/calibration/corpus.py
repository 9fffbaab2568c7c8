"""Speech that models are calibrated on: the corpus that comes with Timbre, and recordings of the user's own."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from shared.domain.audio import SAMPLE_RATE_HZ, Planar, Samples
from shared.domain.errors import CalibrationError
from shared.sound.conditioning import Survey

#: Folder of the corpus that comes with Timbre.
SHIPPED = Path(__file__).parent / "corpus"
MANIFEST = "manifest.csv"
#: Beginning of a recording that is heard: halves of it are longer than the speech that counts.
_MOST_S = 60.0


@dataclass(frozen=True)
class Recording:
    """Recording of one person."""

    path: Path
    #: Unique over all manifests.
    speaker: str


@dataclass(frozen=True)
class Corpus:
    """Recordings to calibrate on."""

    #: Sentence part for clients and for the calibration's file.
    name: str
    recordings: tuple[Recording, ...]


def read_corpus(folder: Path = SHIPPED, own: Path | None = None) -> Corpus:
    """Read the corpus of a folder, and the manifest of the user's own recordings in addition.

    Raises
    ------
    CalibrationError
        A manifest is malformed, or it names a file that does not exist.
    """
    shipped = read_manifest(folder / MANIFEST)
    if own is None:
        return shipped
    users = read_manifest(own)
    # The user's come first, so that a file that cannot be decoded is reported at once.
    return Corpus(f"{shipped.name}; {users.name}", users.recordings + shipped.recordings)


def read_manifest(manifest: Path) -> Corpus:
    """Read a manifest: CSV with the columns file and speaker; `source` and `licence` name the data.

    Raises
    ------
    CalibrationError
        It is malformed, or names a file that does not exist.
    """
    rows = _rows(manifest)
    recordings = tuple(_recording(manifest, number, row) for number, row in enumerate(rows, 2))
    if not recordings:
        raise CalibrationError(f"The manifest {manifest} names no recordings.")
    sources = sorted({_source(row) or manifest.name for row in rows})
    speakers = len({recording.speaker for recording in recordings})
    return Corpus(f"{', '.join(sources)}, {speakers} speakers", recordings)


def _rows(manifest: Path) -> Sequence[dict[str, str]]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, restval="")
            if not {"file", "speaker"} <= set(table.fieldnames or ()):
                raise CalibrationError(f"The manifest {manifest} needs a first line with the columns file and speaker.")
            return list(table)
    except (OSError, ValueError, csv.Error) as error:
        raise CalibrationError(f"The manifest {manifest} cannot be read: {error}.") from error


def _recording(manifest: Path, number: int, row: dict[str, str]) -> Recording:
    if not row["file"] or not row["speaker"].strip():
        raise CalibrationError(f"Line {number} of the manifest {manifest} names no file or no speaker.")
    path = manifest.parent / row["file"]
    if not path.is_file():
        raise CalibrationError(f"Line {number} of the manifest {manifest} names {path}, which is no file.")
    return Recording(path, f"{manifest.resolve()}:{row['speaker'].strip()}")


def _source(row: dict[str, str]) -> str:
    licence = row.get("licence")
    return f"{row.get('source', '')} ({licence})" if licence else row.get("source", "")


def read_samples(path: Path) -> Samples:
    """Return the first minute of a recording at 16 kHz, its channels mixed, without the high-pass filter.

    Raises
    ------
    CalibrationError
        The file cannot be decoded.
    """
    try:
        with path.open("rb") as file, av.open(file, "r") as container:
            blocks = _decoded(container)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise CalibrationError(f"The recording {path} cannot be decoded: {error}.") from error
    if not sum(map(len, blocks)):
        raise CalibrationError(f"The recording {path} holds no sound.")
    planar = np.concatenate(blocks).T
    survey = Survey()
    survey.add(planar)
    (mix,) = survey.mixes().values()
    return (mix.weights @ planar)[0]


def _decoded(container: av.container.InputContainer) -> list[Planar]:
    """Return blocks of samples, (num_samples, num_channels)."""
    # Interleaved: of eight planes PyAV counts nine.
    resampler = av.AudioResampler(format="flt", rate=SAMPLE_RATE_HZ)
    blocks: list[Planar] = []
    num_samples = 0
    for frame in container.decode(audio=0):
        new = [_block(out) for out in resampler.resample(frame)]
        blocks += new
        num_samples += sum(map(len, new))
        if num_samples >= _MOST_S * SAMPLE_RATE_HZ:
            break
    else:
        blocks += [_block(out) for out in resampler.resample(None)] if blocks else []
    return blocks


def _block(frame: av.AudioFrame) -> Planar:
    return np.asarray(frame.to_ndarray(), np.float32).reshape(-1, frame.layout.nb_channels)
