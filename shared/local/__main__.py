"""`python3 -m shared.local COMMAND`: the Makefile's commands, for machines without make."""

import os
import sys

from shared.local.setup import PYTHON, ROOT, ensure

#: Side by side, as many as there are cores up to four; the tests of a module share what they start.
_PARALLEL = ["-m", "pytest", "-n", "auto", "--dist", "loadscope", "--no-loadscope-reorder"]
#: Command -> the set of packages it needs, and what Python then runs.
COMMANDS = {
    "demo": ("lite", ["-m", "shared.local.demo"]),
    "run": ("lite", ["-m", "shared.local.run"]),
    "keys": ("lite", ["-m", "api.keys"]),
    "database": ("lite", ["-m", "api.database"]),
    "models": ("full", ["-m", "models.install"]),
    "calibrate": ("lite", ["-m", "models.calibration"]),
    "tune": ("lite", ["-m", "worker.tuning"]),
    "eval": ("full", ["-W", "ignore", "-m", "tests.eval"]),
    "bench": ("full", ["-m", "tests.bench"]),
    "check": ("dev", ["-m", "shared.local.check"]),
    "test-unit": ("dev", [*_PARALLEL, "-m", "not nemo", "tests/unit", "tests/integration"]),
    "test": ("full", _PARALLEL),
    "load": ("full", ["-W", "ignore", "-m", "tests.load"]),
    "soak": ("full", ["-W", "ignore", "-m", "tests.soak"]),
    "fuzz": ("full", ["-m", "tests.hostile.fuzz_decode"]),
    "chaos": ("full", ["-m", "tests.chaos"]),
    "fuzz-api": ("full", ["-m", "tests.hostile.fuzz_api"]),
    "screenshots": ("dev", ["-m", "tests.support.screenshots"]),
    "setup": ("full", []),
}


def main(arguments):
    # type: (list[str]) -> None
    """Set up the packages that the command needs, and replace this process by it."""
    if not arguments or arguments[0] not in COMMANDS:
        raise SystemExit("usage: python3 -m shared.local {} [...]".format("|".join(COMMANDS)))
    which, command = COMMANDS[arguments[0]]
    ensure(which)
    if not command:
        return
    os.chdir(str(ROOT))
    os.execv(str(PYTHON), [str(PYTHON), *command, *arguments[1:]])


if __name__ == "__main__":
    main(sys.argv[1:])
