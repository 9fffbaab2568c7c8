"""Copies of .nemo files with another configuration."""

import io
import tarfile
from pathlib import Path


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
