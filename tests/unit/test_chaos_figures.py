"""Figures of the chaos run about people: whatever is lost, counted twice or computed twice is seen."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.chaos.figures import person_figures
from tests.chaos.orders import enrols, is_about_a_person
from tests.support.books import Books, Grown

ENROLS = next(number for number in range(1000) if enrols(number))
VERIFIES = next(number for number in range(1000) if is_about_a_person(number) and not enrols(number))
SUBMISSIONS = SimpleNamespace(accepted={0: "other", ENROLS: "sample", VERIFIES: "verification"})
SEEN = dict.fromkeys(["other", "sample", "verification"], "succeeded")
RIGHT = Books(
    samples={"sample": "ready", "orphan": "failed"},
    verifications={"verification": "performed"},
    enrolments={"enrolment": Grown(1, frozenset({"sample"})), "empty": Grown(0, frozenset())},
    uses=Counter([("sample", "sample"), ("enrolment", "enrolment"), ("verification", "verification")]),
    waiting=0,
)
NOTHING_WRONG = {"records_lost": 0, "records_waiting": 0, "uses_counted_wrong": 0, "enrolments_computed_wrong": 0}


def wrong(books):
    figures = person_figures(SUBMISSIONS, SEEN, books)
    return {name: figures[name] for name in NOTHING_WRONG}


def test_books_that_agree_with_the_ends_show_nothing_wrong():
    assert wrong(RIGHT) == NOTHING_WRONG
    figures = person_figures(SUBMISSIONS, SEEN, RIGHT)
    assert (figures["about_people"], figures["enrolled"], figures["verified"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"verifications": {}}, {"records_lost": 1, "uses_counted_wrong": 1}),
        ({"enrolments": {}}, {"records_lost": 1}),
        ({"waiting": 2}, {"records_waiting": 2}),
        ({"uses": RIGHT.uses + Counter([("sample", "sample")])}, {"uses_counted_wrong": 1}),
        ({"uses": RIGHT.uses + Counter([("sample", "orphan")])}, {"uses_counted_wrong": 1}),
        ({"uses": RIGHT.uses - Counter([("verification", "verification")])}, {"uses_counted_wrong": 1}),
        ({"uses": RIGHT.uses + Counter([("enrolment", "enrolment")])}, {"enrolments_computed_wrong": 1}),
        ({"enrolments": {"enrolment": Grown(2, frozenset({"sample"}))}}, {"enrolments_computed_wrong": 1}),
    ],
)
def test_whatever_is_wrong_is_seen(changes, seen):
    assert wrong(replace(RIGHT, **changes)) == NOTHING_WRONG | seen
