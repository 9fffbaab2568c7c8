"""Kills of anything at any time lose nothing: the short form of `make chaos`."""

import json
from pathlib import Path

import pytest

from tests.chaos.__main__ import run
from tests.chaos.figures import missed
from tests.chaos.plan import Plan

pytestmark = pytest.mark.alone


def test_no_job_is_lost_or_ends_twice_while_workers_couriers_and_redis_are_killed(tmp_path: Path) -> None:
    figures = run(Plan(jobs=200, kills=20, seed=1), tmp_path)
    print(json.dumps(figures))
    assert not missed(figures), figures
