"""What a process loads, seen from inside it."""

import subprocess
import sys

HEAVY = "torch nemo onnx onnxruntime scipy av librosa"


def loaded_by(statement: str, names: str) -> str:
    check = f"import sys; {statement}; print(*[n for n in {names.split()!r} if n in sys.modules])"
    return subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout.strip()


def test_the_api_loads_no_neural_network_and_no_decoder():
    assert loaded_by("import api.app, api.services, api.gunicorn_conf", HEAVY + " worker models") == ""


def test_the_worker_loads_neither_nemo_nor_torch_nor_what_reads_hostile_files():
    assert loaded_by("import worker.app, worker.tasks", "torch nemo onnx librosa av") == ""
