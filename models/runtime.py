"""Sessions of onnxruntime: every network of the service is opened here, with the same settings."""

from pathlib import Path

import onnxruntime

from shared.domain.errors import ModelInstallError

#: onnxruntime's severity level that logs errors only.
_ERRORS_ONLY = 3


#: Device -> onnxruntime's execution provider.
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def reason(error: Exception) -> str:
    """Return the first line of an exception of onnxruntime, whose others name its own source."""
    return str(error).strip().partition("\n")[0]


def open_session(path: Path, threads: int = 1, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Open the ONNX file at `path` on `device`, "cpu" or "cuda", computing with `threads` threads.

    Raises
    ------
    ModelInstallError
        The installed onnxruntime does not know the device, or cannot use it.
    """
    provider = _PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise ModelInstallError(
            f"The installed onnxruntime cannot compute on {device}; install onnxruntime-gpu in its place, "
            "or set TIMBRE_DEVICE=cpu."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena never frees memory, so a worker would keep the size of its longest recording. Without the arena a worker
    # with the large TitaNet keeps 300 MiB after 30 s of sound instead of 865 MiB, at about the same speed.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(path, options, providers=[provider])
    # Without a card, or the libraries for it, onnxruntime computes on the processor, and fails nowhere.
    if provider not in session.get_providers():
        raise ModelInstallError(
            f"onnxruntime cannot use {device} here: it found no card, or not the CUDA and cuDNN libraries that its own "
            "message names. Mend that, or set TIMBRE_DEVICE=cpu."
        )
    session.disable_fallback()
    return session
