"""Devices that networks run on: `python -m models.device DEVICE` opens a small network on one, or says why not."""

import subprocess
import sys
from pathlib import Path

from models.runtime import open_session
from models.vad import BUNDLED
from shared.domain.errors import ModelInstallError

_ROOT = Path(__file__).parent.parent


def require_device(device: str) -> None:
    """Check that a network runs on the device, in a process of its own.

    A card that is in use does not survive a fork.

    Raises
    ------
    ModelInstallError
        None does. What onnxruntime says of it is in the log.
    """
    # Every onnxruntime has a processor.
    if device == "cpu":
        return
    command = [sys.executable, "-m", "models.device", device]
    tried = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if tried.returncode:
        raise ModelInstallError(
            tried.stdout.strip() or f"onnxruntime crashes on {device}; mend that, or set TIMBRE_DEVICE=cpu."
        )


def main(device: str) -> int:
    """Print why no network can be opened on the device, if so; returns the exit status."""
    try:
        open_session(BUNDLED, device=device)
    except ModelInstallError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
