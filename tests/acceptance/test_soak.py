"""A mixed load leaves nothing behind: the short form of `make soak`, which says nothing of slopes."""

import json
from pathlib import Path

import pytest

from tests.soak import missed, run

pytestmark = pytest.mark.alone


def test_every_job_ends_well_and_no_key_is_left_when_all_has_expired(tmp_path: Path) -> None:
    figures = run(0.3, tmp_path, result_s=6)
    print(json.dumps(figures))
    assert not missed(figures), figures
    assert figures["ends"]["succeeded"] > 0
