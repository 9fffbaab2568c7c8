"""Style rules of the sources that a linter does not know: docstrings' first lines and one value per assignment."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for top in ("api", "worker", "models", "shared") for path in (ROOT / top).rglob("*.py"))
every_file = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])

#: Nobody searches for these; a docstring begins with a noun or a verb of its subject.
NO_FIRST_WORDS = {
    "what", "who", "whose", "whom", "which", "whether", "how", "where", "when", "why", "whatever", "whoever",
    "everything", "something", "somebody", "someone", "anything", "anybody", "nothing", "nobody",
}  # fmt: skip
MOST_WORDS = 20
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def first_lines(source: str) -> Iterator[str]:
    """Yield the first line of each docstring: of the module, its classes and its functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield text.splitlines()[0]


def is_bad(line: str) -> bool:
    """Return whether a docstring begins with one of `NO_FIRST_WORDS`, or has too long a sentence."""
    first = re.split(r"\W", line.lstrip("`"), maxsplit=1)[0].lower()
    longest = max(len(sentence.split()) for sentence in re.split(r"[.!?](?:\s|$)", line))
    return first in NO_FIRST_WORDS or longest > MOST_WORDS


def several_values(source: str) -> list[str]:
    """Return the assignments of several values on one line; to unpack the result of one call is fine."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)]
    return [ast.unparse(a) for a in found if isinstance(a.value, ast.Tuple) and isinstance(a.targets[0], ast.Tuple)]


@every_file
def test_docstrings_begin_with_a_noun_or_a_verb_and_a_short_sentence(path: Path) -> None:
    assert [line for line in first_lines(path.read_text()) if is_bad(line)] == []


@every_file
def test_each_assignment_has_one_value(path: Path) -> None:
    assert several_values(path.read_text()) == []


def test_the_rules_find_what_they_forbid() -> None:
    assert is_bad("Whose voice it is.") and is_bad(f"Return {'a word ' * 10}.") and not is_bad("Return a word.")
    assert several_values("a, b = 1, 2") and not several_values("a, b = f()")
