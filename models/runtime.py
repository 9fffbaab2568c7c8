"""Sessions of onnxruntime: every network of the service is opened here, with the same settings."""

from pathlib import Path

import onnxruntime

from shared.domain.errors import ModelInstallError

#: onnxruntime's severity level that logs errors only.
_ERRORS_ONLY = 3


#: Device -> onnxruntime's execution provider.
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def open_session(path: Path, threads: int = 1, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Open the ONNX file at `path` on `device`, "cpu" or "cuda", computing with `threads` threads.

    Raises
    ------
    ModelInstallError
        The installed onnxruntime does not know the device.
    """
    require_device(device)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena never frees memory, so a worker would keep the size of its longest recording. Without the arena a worker
    # with the large TitaNet keeps 300 MiB after 30 s of sound instead of 865 MiB, at about the same speed.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(path, options, providers=[_PROVIDERS[device]])


def require_device(device: str) -> None:
    """Check that the installed onnxruntime knows the device; raises ModelInstallError."""
    if _PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise ModelInstallError(
            f"The installed onnxruntime cannot compute on {device}; install onnxruntime-gpu in its place, "
            "or set TIMBRE_DEVICE=cpu."
        )
