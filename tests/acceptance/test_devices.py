"""`TIMBRE_DEVICE=cuda` where there is no card: a worker ends with a sentence, and never computes on the processor."""

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from shared.local.stack import free_port

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime may have a card"
)

#: Makes an onnxruntime list CUDA, as one for cards does on any machine. It then falls back in silence in the same way.
_LISTS_CUDA = """
import onnxruntime
known = onnxruntime.get_available_providers()
onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", *known]
"""
WORKER = ("celery", "-A", "worker.app", "worker")
NOT_KNOWN = "The installed onnxruntime cannot compute on cuda; install onnxruntime-gpu in its place"
NOT_USABLE = "onnxruntime cannot use cuda here: it found no card, or not the CUDA and cuDNN libraries"


@pytest.fixture
def lists_cuda(tmp_path: Path) -> dict[str, str]:
    """Environment of a Python whose onnxruntime lists CUDA."""
    folder = tmp_path / "lists-cuda"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_LISTS_CUDA)
    return {"PYTHONPATH": str(folder)}


def started(data_dir: Path, *command: str, **variables: str) -> tuple[int, str]:
    """Start a module on CUDA, which must end by itself; returns its status, and what it said."""
    bind = f"127.0.0.1:{free_port()}"
    usual = {"TIMBRE_DATA_DIR": str(data_dir), "TIMBRE_BIND": bind, "TIMBRE_DEVICE": "cuda"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=os.environ | usual | variables, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=180, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_worker_whose_onnxruntime_has_no_cuda_ends_with_a_sentence(tmp_path: Path) -> None:
    status, said = started(tmp_path, *WORKER)
    assert (status, "Traceback" in said) == (1, False), said
    assert NOT_KNOWN in said
    assert "TIMBRE_DEVICE=cpu" in said


def test_a_worker_whose_onnxruntime_would_fall_back_to_the_processor_ends_with_a_sentence(
    tmp_path: Path, lists_cuda: dict[str, str]
) -> None:
    status, said = started(tmp_path, *WORKER, **lists_cuda)
    assert (status, "Traceback" in said) == (1, False), said
    assert NOT_USABLE in said
    assert "TIMBRE_DEVICE=cpu" in said


def test_make_run_says_so_and_ends(tmp_path: Path, lists_cuda: dict[str, str]) -> None:
    status, said = started(tmp_path, "shared.local.run", **lists_cuda)
    assert (status, "Traceback" in said) == (1, False), said
    assert "The worker stopped with status 1" in said
    assert NOT_USABLE in said
