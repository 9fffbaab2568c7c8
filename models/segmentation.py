"""Segmentation networks of pyannote in onnxruntime: where two people or more speak at once.

Plaquet and Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization" (Interspeech 2023); Bredin
and Laurent, "End-to-end speaker segmentation for overlap-aware resegmentation" (Interspeech 2021). None is bundled: an
ONNX export is installed as `segmentation`. The newer networks give log probabilities of sets of speakers (powerset):
nobody, each speaker alone, then each pair. The older ones give a probability of each speaker.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import ceil, comb
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.registry import sha256_of
from models.runtime import open_session
from shared.domain.audio import SAMPLE_RATE_HZ, Samples, Segment
from shared.domain.errors import ModelInstallError

HANDLE = "segmentation"
NETWORK_FILE = "segmentation.onnx"
LAYOUT_FILE = "segmentation.json"

#: Samples that a frame of pyannote's networks hears, and samples from one frame to the next; for exports without
#: metadata.
_FIELD = 991
_SHIFT = 270
#: Samples that a network hears at once, where its export does not say: 10 s of sets of speakers, 5 s of the older ones.
_WINDOW = 160_000
_OLDER_WINDOW = 80_000
#: Shortest and longest window that is taken for one.
_WINDOWS = (16_000, 960_000)
#: Most speakers of the older networks.
_MOST_SPEAKERS = 4
#: How far probabilities of a frame may be from a sum of 1.
_TOLERANCE = 1e-3
#: Least probability of overlap.
_LEAST = 0.5

_AGAIN = f"install it again: `make models MODEL={HANDLE} FROM=segmentation.onnx`."
_NEEDED = "Needed is an ONNX export of pyannote/segmentation-3.0, or of another segmentation network of pyannote."


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Form of an installed network's input and output, stored beside it."""

    #: sha256 of the network's file.
    sha256: str
    #: Samples that it hears at once.
    window: int
    #: Samples that a frame hears, and samples from one frame to the next.
    field: int
    shift: int
    num_speakers: int
    #: Whether its classes are sets of speakers, in place of speakers.
    powerset: bool
    #: Time of the installation, ISO 8601, UTC.
    installed_at: str

    @property
    def segmentation_id(self) -> str:
        """Name and revision: `segmentation@12345678`."""
        return f"{HANDLE}@{self.sha256[:8]}"

    def write(self, folder: Path) -> None:
        """Store the layout in the network's folder."""
        (folder / LAYOUT_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")


class PyannoteSegmentation:
    """An installed segmentation network; it hears windows that overlap by half."""

    def __init__(self, layout: Layout, path: Path, threads: int = 1) -> None:
        self.layout = layout
        self._session = open_session(path, threads)

    def overlaps(self, samples: Samples) -> list[Segment]:
        """Return where two people or more speak at once in 16 kHz samples (num_samples,), in order and disjoint."""
        found = self.probabilities(samples) >= _LEAST
        edges = np.flatnonzero(np.diff(found, prepend=False, append=False))
        # A frame stands for the samples round the middle of what it hears.
        first = (self.layout.field - self.layout.shift) / 2
        times_s = ((edges * self.layout.shift + first) / SAMPLE_RATE_HZ).tolist()
        return [Segment(start_s, end_s) for start_s, end_s in zip(times_s[::2], times_s[1::2], strict=True)]

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """Return the probability that two or more speak in each frame of `layout.shift` samples, (num_frames,).

        Where windows overlap it is their mean, in which the middle of a window weighs most.
        """
        num_frames = max(1, (len(samples) - self.layout.field) // self.layout.shift + 1)
        sums = np.zeros(num_frames, np.float32)
        weights = np.full(num_frames, np.finfo(np.float32).tiny)
        for first in self._starts(num_frames):
            start = first * self.layout.shift
            heard = samples[start : start + self.layout.window]
            window = np.pad(heard, (0, self.layout.window - len(heard)))
            found = _overlap(run(self._session, window), self.layout)[: num_frames - first]
            weight = np.hamming(len(found)).astype(np.float32)
            sums[first : first + len(found)] += weight * found
            weights[first : first + len(found)] += weight
        return sums / weights

    def _starts(self, num_frames: int) -> list[int]:
        """Return the first frame of each window; the last window ends with the recording, or behind it."""
        last = max(0, num_frames - 1 - (self.layout.window - self.layout.field) // self.layout.shift)
        steps = ceil(last / ceil(self.layout.window / 2 / self.layout.shift))
        starts: list[int] = np.linspace(0, last, steps + 1).round().astype(int).tolist()
        return starts


def installed(weights_dir: Path) -> Layout | None:
    """Return the layout of the installed network, None without one; raises ModelInstallError if it is damaged."""
    path = weights_dir / HANDLE / LAYOUT_FILE
    if not path.exists():
        return None
    try:
        return Layout(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ModelInstallError(f"{LAYOUT_FILE} of the segmentation model is damaged; {_AGAIN}") from error


def verify(weights_dir: Path) -> Layout | None:
    """Check that the installed network's file is the one once installed, and return its layout; None without one.

    Raises
    ------
    ModelInstallError
    """
    layout = installed(weights_dir)
    path = weights_dir / HANDLE / NETWORK_FILE
    if layout and not (path.exists() and sha256_of(path) == layout.sha256):
        raise ModelInstallError(f"{NETWORK_FILE} of the segmentation model is damaged or missing; {_AGAIN}")
    return layout


def load(weights_dir: Path, *, threads: int = 1) -> PyannoteSegmentation | None:
    """Open the installed network, None without one; raises ModelInstallError if it is damaged."""
    layout = verify(weights_dir)
    return PyannoteSegmentation(layout, weights_dir / HANDLE / NETWORK_FILE, threads) if layout else None


def inspect(path: Path) -> Layout:
    """Return the layout of an ONNX file, from its metadata and from what it answers to noise.

    Raises
    ------
    ModelInstallError
        It is no ONNX file, or not the export of a segmentation network.
    """
    session = _opened(path)
    told = _told(session)
    window = told.get("window_size") or _length(session) or _WINDOW
    field = told.get("receptive_field_size") or _FIELD
    shift = told.get("receptive_field_shift") or _SHIFT
    if not _WINDOWS[0] <= window <= _WINDOWS[1]:
        raise _refused(f"it hears {window} samples at once, where {_WINDOWS[0]} to {_WINDOWS[1]} are expected")
    trial = np.random.default_rng(0).normal(0.0, 0.05, window).astype(np.float32)
    answer = _answer(session, trial)
    frames = (window - field) // shift + 1
    if abs(len(answer) - frames) > 1:
        raise _refused(f"it gives {len(answer)} frames for {window} samples, where {frames} were expected")
    powerset = _is_powerset(answer)
    if not powerset and not told.get("window_size") and not _length(session):
        window = _OLDER_WINDOW
    return Layout(
        sha256=sha256_of(path),
        window=window,
        field=field,
        shift=shift,
        num_speakers=_num_speakers(answer.shape[1], told) if powerset else answer.shape[1],
        powerset=powerset,
        installed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def run(session: onnxruntime.InferenceSession, window: Samples) -> NDArray[np.float32]:
    """Return a network's answer to one window (num_samples,), (num_frames, num_classes)."""
    answer: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: window[None, None]})[0][0]
    return answer


def _overlap(answer: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Return the probability that two or more speak in each frame, (num_frames,)."""
    if layout.powerset:
        return np.exp(answer[:, 1 + layout.num_speakers :]).sum(axis=1)
    second: NDArray[np.float32] = np.partition(answer, -2, axis=1)[:, -2]
    return second


def _opened(path: Path) -> onnxruntime.InferenceSession:
    try:
        session = open_session(path)
    except Exception as error:
        # onnxruntime's exceptions have no base of their own.
        raise ModelInstallError(f"The file is no ONNX file that onnxruntime can open. {_NEEDED}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 3:
        raise _refused("its input is not sound of the shape (batch, 1, samples), in float32")
    batch, channels, _ = inputs[0].shape
    if any(isinstance(size, int) and size != 1 for size in (batch, channels)):
        raise _refused(f"its input takes {batch} recordings of {channels} channels at once, in place of one")
    return session


def _told(session: onnxruntime.InferenceSession) -> Mapping[str, int]:
    """Return the numbers in the metadata of an export."""
    found = session.get_modelmeta().custom_metadata_map
    told = {name: int(value) for name, value in found.items() if value.isascii() and value.isdigit()}
    rate_hz = told.get("sample_rate", SAMPLE_RATE_HZ)
    if rate_hz != SAMPLE_RATE_HZ:
        raise _refused(f"it hears sound at {rate_hz} Hz, where {SAMPLE_RATE_HZ} are needed")
    return told


def _length(session: onnxruntime.InferenceSession) -> int | None:
    """Return the number of samples that the network hears at once; None where it takes any."""
    length = session.get_inputs()[0].shape[2]
    return length if isinstance(length, int) else None


def _answer(session: onnxruntime.InferenceSession, trial: Samples) -> NDArray[np.float32]:
    try:
        answer = run(session, trial)
    except Exception as error:
        raise _refused(f"it cannot hear {len(trial)} samples of sound") from error
    if answer.ndim != 2 or answer.dtype != np.float32:
        raise _refused("its first output has not the shape (batch, frames, classes), in float32")
    if not np.isfinite(answer).all():
        raise _refused("it answers noise with numbers that are not finite")
    return answer


def _is_powerset(answer: NDArray[np.float32]) -> bool:
    """Return whether the classes are sets of speakers; raises ModelInstallError if they are not speakers either."""
    if np.abs(np.exp(answer).sum(axis=1) - 1.0).max() < _TOLERANCE:
        return True
    if answer.min() >= 0.0 and answer.max() <= 1.0 and 2 <= answer.shape[1] <= _MOST_SPEAKERS:
        return False
    raise _refused(
        "its output holds neither log probabilities of sets of speakers, which sum to 1, nor a probability of each of "
        f"2 to {_MOST_SPEAKERS} speakers"
    )


def _num_speakers(num_classes: int, told: Mapping[str, int]) -> int:
    """Return the number of speakers whose sets are the classes; without metadata at most two speak at once."""
    at_once = told.get("powerset_max_classes", 2)
    for speakers in [told["num_speakers"]] if "num_speakers" in told else range(2, num_classes):
        if sum(comb(speakers, size) for size in range(at_once + 1)) == num_classes and at_once >= 2:
            return speakers
    raise _refused(f"its {num_classes} classes are not the sets of speakers of whom {at_once} speak at once")


def _refused(reason: str) -> ModelInstallError:
    return ModelInstallError(f"The file is not a segmentation model: {reason}. {_NEEDED}")
