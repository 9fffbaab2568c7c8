"""Answers are kept for their time, and no longer."""

import gc
import weakref

import pytest

from shared.adapters.remembering import remembered
from tests.support.client import eventually

_LONG_S = 10.0**9


class Found:
    """An answer."""


def test_a_question_is_asked_once_in_its_time() -> None:
    asked: list[str] = []
    find = remembered(lambda name: asked.append(name) or name.upper(), _LONG_S)
    assert [find("a"), find("a"), find("b")] == ["A", "A", "B"]
    assert asked == ["a", "b"]


def test_errors_are_not_remembered() -> None:
    answers = iter([0, 1])
    find = remembered(lambda: 1 // next(answers), _LONG_S)
    with pytest.raises(ZeroDivisionError):
        find()
    assert find() == 1


def test_an_answer_is_let_go_when_its_time_is_over() -> None:
    find = remembered(Found, 0.05)
    first = weakref.ref(find())
    assert eventually(lambda: find() is not first())
    gc.collect()
    assert first() is None
