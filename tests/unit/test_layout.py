"""Test modules stand alone: what several of them use is in `tests/support`."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
#: Also in code that a test gives to another process.
_BORROWED = re.compile(r"\b(?:from|import) tests\b[^\n;]*?\b(?:test_\w+|conftest)\b")
PLANTED = [
    "from {}.unit.test_quality import GOOD",
    "import {}.unit.test_quality",
    "from {}.unit import test_quality",
    "from {}.acceptance.conftest import stack",
    "def test():\n    from {}.hostile import test_egress",
    "code = 'import sys; from {}.hostile.test_egress import OPEN'",
]


def borrowed(source: str) -> list[str]:
    """Return the imports of test modules and conftests."""
    return _BORROWED.findall(source)


@pytest.mark.parametrize("source", PLANTED)
def test_an_import_of_a_test_module_is_found(source: str) -> None:
    assert len(borrowed(source.format("tests"))) == 1


def test_no_module_imports_a_test_module_or_a_conftest() -> None:
    found = {str(path.relative_to(TESTS)): borrowed(path.read_text()) for path in TESTS.rglob("*.py")}
    assert len(found) > 100
    assert {path: imports for path, imports in found.items() if imports} == {}
