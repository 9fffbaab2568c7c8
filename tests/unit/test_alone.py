"""Tests that need the machine alone get it, also when other workers never pause."""

import threading
import time
from contextlib import closing

import pytest

from tests.support.client import eventually
from tests.support.turns import Turns


@pytest.fixture
def here(tmp_path):
    with closing(Turns(tmp_path)) as turns:
        yield turns


def test_a_test_that_must_be_alone_waits_for_the_others_and_they_for_it(here, tmp_path):
    running: list[str] = []
    over = threading.Event()
    met: list[list[str]] = []

    def neighbour(name):
        with closing(Turns(tmp_path)) as turns:
            while not over.is_set():
                turns.take(alone=False)
                running.append(name)
                time.sleep(0.002)
                running.remove(name)
                turns.give_back(next_alone=False)

    threads = [threading.Thread(target=neighbour, args=[name]) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(running) == 2)
        for _ in range(20):
            here.take(alone=True)
            met.append(list(running))
            time.sleep(0.005)
            met.append(list(running))
            here.give_back(next_alone=False)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert met == [[]] * 40


def test_the_machine_is_kept_from_one_such_test_to_the_next(here, tmp_path):
    entered = threading.Event()

    def neighbour():
        with closing(Turns(tmp_path)) as turns:
            turns.take(alone=False)
            entered.set()

    here.take(alone=True)
    here.give_back(next_alone=True)
    thread = threading.Thread(target=neighbour)
    thread.start()
    here.take(alone=True)
    assert not entered.wait(0.1)
    here.give_back(next_alone=False)
    thread.join(30)
    assert entered.is_set()
