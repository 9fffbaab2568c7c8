"""Configuration of .nemo files: the features that all models have, and copies with another one."""

import io
import tarfile
from pathlib import Path
from typing import Any

#: Features of 16 kHz sound, as NVIDIA's models have them.
PREPROCESSOR: dict[str, Any] = {
    "_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor",
    "normalize": "per_feature",
    "window_size": 0.025,
    "sample_rate": 16_000,
    "window_stride": 0.01,
    "window": "hann",
    "features": 80,
    "n_fft": 512,
    "frame_splicing": 1,
    "dither": 1e-5,
}


def changed(nemo_file: Path, out: Path, old: str, new: str) -> Path:
    """Write a copy of a .nemo file to `out` in whose configuration `old` reads `new`."""
    with tarfile.open(nemo_file) as source, tarfile.open(out, "w") as target:
        for member in source.getmembers():
            file = source.extractfile(member)
            content = file.read() if file else b""
            if member.name.endswith("model_config.yaml"):
                assert old.encode() in content
                content = content.replace(old.encode(), new.encode())
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return out
