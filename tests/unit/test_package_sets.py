"""The locked sets of packages: each contains the one before; `dev` is enough for what is not marked `nemo`."""

import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from shared.local.setup import SETS

ROOT = Path(__file__).parents[2]
#: Runs pytest as if modules were not installed.
WITHOUT = """
import sys
import pytest

class Missing:
    def find_spec(self, name, *_):
        if name in sys.argv[1].split():
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
sys.exit(pytest.main(sys.argv[2:]))
"""


#: The full set brings plugins of pytest, too.
ENVIRONMENT = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def locked(which: str) -> set[tuple[str, str]]:
    """Return names and versions of a set."""
    text = (ROOT / f"requirements-{which}.lock").read_text()
    return set(re.findall(r"^([a-z0-9_.-]+)==(\S+)", text, re.MULTILINE))


def names(which: str) -> set[str]:
    return {name for name, _ in locked(which)}


def missing_in_dev() -> list[str]:
    """Return the modules that the full set brings beyond `dev`."""
    extra = {"torch"} | names("full") - names("dev")
    installed = packages_distributions().items()
    return [
        module for module, owners in installed if {re.sub("[-_.]+", "-", owner).lower() for owner in owners} <= extra
    ]


def test_each_set_contains_the_one_before_and_going_from_dev_to_full_changes_no_version() -> None:
    assert list(SETS) == ["lite", "dev", "full"]
    assert names("lite") < names("dev")
    assert locked("dev") < locked("full")


def test_dev_has_neither_nemo_nor_torch() -> None:
    assert not names("dev") & {"nemo-toolkit", "torch", "onnx", "librosa", "numba", "pandas", "matplotlib"}


def test_tests_that_are_not_marked_nemo_are_collected_without_what_dev_lacks() -> None:
    options = ["--collect-only", "-q", "-m", "not nemo", "-p", "no:cacheprovider", "tests"]
    command = [sys.executable, "-c", WITHOUT, " ".join(missing_in_dev()), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
