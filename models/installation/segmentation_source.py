"""Segmentation models from ONNX files: an export of pyannote's is copied, and tried on noise.

Only installation uses it; a running worker needs no onnx package.
"""

from pathlib import Path

from models.segmentation import HANDLE, NETWORK_FILE, Layout, inspect
from shared.domain.audio import SAMPLE_RATE_HZ


def convert_segmentation(weights: Path | None, file: Path, sha256: str, out: Path) -> Layout:
    """Copy the network of an ONNX file into the folder `out`; return its layout.

    Parameters
    ----------
    weights : folder in which its weights may lie in files of their own; None where there can be none.
    sha256 : of the file; the layout has that of the copy, which may hold the weights too.

    Raises
    ------
    ModelInstallError
        It is not the export of a segmentation network.
    """
    # Only the full set of packages has onnx, which it needs.
    from models.installation.onnx_file import checked_copy

    checked_copy(file, weights, out / NETWORK_FILE)
    return inspect(out / NETWORK_FILE)


def summary(layout: Layout, weights_dir: Path) -> str:
    """Return what was installed, in lines for a terminal."""
    kind = "sets of speakers" if layout.powerset else "speakers"
    seconds = layout.window / SAMPLE_RATE_HZ
    return (
        f"Installed {layout.segmentation_id} in {weights_dir / HANDLE}\n"
        f"  it tells {layout.num_speakers} speakers apart in {seconds:g} s; its classes are {kind}\n"
        "  workers use it from their next start on: turns then overlap where people do"
    )
