"""Make the virtual environment: three locked sets of packages, installed by uv.

Runs on whatever `python3` a machine has, before anything is installed: standard library only, and no syntax newer
than the oldest Python that should still get a helpful message.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
TORCH = "torch==2.13.0"
#: Purpose of each set, which contains all of those before it.
SETS = {
    "lite": "to run the service",
    "dev": "to check the code and to run the tests that need no NeMo",
    "full": "to run all tests and to install NeMo models",
}
OLDEST = (3, 11)
NEWEST = (3, 13)


def ensure(which):
    # type: (str) -> None
    """Install the set `which`, one of `SETS`, unless it is there already, alone or in a larger one."""
    names = list(SETS)
    if _installed() in [_stamp(name) for name in names[names.index(which) :]]:
        return
    started = time.time()
    print(f"Setting up {VENV.name} {SETS[which]} (a minute or two, once) ...", file=sys.stderr, flush=True)
    _make_venv(_suitable_python())
    if which == "full":
        _install_torch()
    _run("packages", str(VENV / "bin" / "uv"), "pip", "install", "-q", "--python", str(VENV), "--compile-bytecode",
         "--no-deps", "--require-hashes", "-r", str(_lock(which)))  # fmt: skip
    _stamp_file().write_text(_stamp(which))
    print(f"Ready after {time.time() - started:.0f} s.", file=sys.stderr, flush=True)


def _lock(which):
    # type: (str) -> Path
    return ROOT / f"requirements-{which}.lock"


def _stamp_file():
    # type: () -> Path
    return VENV / "timbre-set"


def _stamp(which):
    # type: (str) -> str
    return which + " " + hashlib.sha256(_lock(which).read_bytes()).hexdigest()


def _installed():
    # type: () -> str
    return _stamp_file().read_text() if _stamp_file().exists() else ""


def _suitable_python():
    # type: () -> str
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    raise SystemExit(
        "Timbre needs Python 3.11, 3.12 or 3.13; this is {}.{}.\n"
        "On Debian or Ubuntu: sudo apt install python3.11 python3.11-venv; on a Mac: brew install python@3.13".format(
            *sys.version_info
        )
    )


def _make_venv(python):
    # type: (str) -> None
    if not (VENV / "bin" / "uv").exists():
        if subprocess.run([python, "-c", "import ensurepip"], stderr=subprocess.DEVNULL, check=False).returncode:
            raise SystemExit(
                "Python's venv module is missing on this machine.\n"
                "On Debian or Ubuntu: sudo apt install python3-venv; then run this again."
            )
        _run("a virtual environment", python, "-m", "venv", "--clear", str(VENV))
        _run("uv, the installer", str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check",
             "--require-hashes", "-r", str(_lock("bootstrap")))  # fmt: skip


def _install_torch():
    # type: () -> None
    # Alone and first: pip takes a CPU build where one is on offer; the registry's Linux build needs its CUDA
    # packages even to be imported, so only where the import fails are they installed too.
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run(TORCH, *pip, "--no-deps", TORCH)
    runtime = ["filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy", "typing-extensions", "numpy"]
    _run("what torch needs", *pip, *runtime)
    if subprocess.run([str(PYTHON), "-c", "import torch"], stderr=subprocess.DEVNULL, check=False).returncode:
        _run(TORCH + " with its CUDA packages, several GB", *pip, TORCH)


def _run(what, *command):
    # type: (str, *str) -> None
    print(f"  {what} ...", file=sys.stderr, flush=True)
    result = subprocess.run(command, cwd=str(ROOT), env=_environment(), stderr=subprocess.PIPE, check=False)
    if result.returncode:
        sys.stderr.write(result.stderr.decode(errors="replace"))
        raise SystemExit(
            f"Set-up stopped at: {what}. The reason stands above; most often a package index cannot be reached "
            "(set PIP_INDEX_URL to your mirror) or the disk is full (the set `lite` takes 0.5 GB, `dev` 1.1 GB "
            "and `full` 3 GB)."
        )


def _environment():
    # type: () -> dict[str, str]
    """Return the environment, in which uv gets the settings that the user gave pip."""
    environment = dict(os.environ)
    for ours, pips in (("UV_FIND_LINKS", "PIP_FIND_LINKS"), ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")):
        if pips in environment:
            environment.setdefault(ours, environment[pips])
    return environment
