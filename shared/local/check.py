"""`make check`: lint, formatting, types and import rules, all of them even if one finds fault."""

import subprocess
import sys

from shared.local.setup import PYTHON, ROOT

CHECKS = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))


def main() -> None:
    """Run each check; exit with status 1 if one failed."""
    failed = []
    for check in CHECKS:
        print(f"$ {' '.join(check)}", flush=True)
        if subprocess.run([PYTHON.parent / check[0], *check[1:]], cwd=ROOT, check=False).returncode:
            failed.append(" ".join(check))
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
