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


def test_a_lost_lease_that_breaks_into_a_finalizer_is_not_reported_and_a_bug_there_is():
    code = (
        "import sys; from worker.jobs.heartbeat import LeaseLostError; from worker.tasks import report_unraisable\n"
        "sys.unraisablehook = report_unraisable\n"
        "class Held:\n"
        "    def __init__(self, error): self.error = error\n"
        "    def __del__(self): raise self.error\n"
        "Held(LeaseLostError()); Held(ValueError('a bug'))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "LeaseLostError" not in done.stderr
    assert "a bug" in done.stderr
