"""The measures of `make load` run and give figures; what they say is for a quiet machine."""

from pathlib import Path

import pytest

from tests.load.__main__ import measure
from tests.load.measures import SHORT

pytestmark = pytest.mark.alone


def test_every_measure_gives_its_figures(tmp_path: Path) -> None:
    found = [(name, figures) for name, figures, _ in measure(SHORT, tmp_path)]
    assert len(found) == 4 + 1 + len(SHORT.queued) * len(SHORT.clients) + 1 + 1
    for name, figures in found:
        assert all(value > 0 for key, value in figures.items() if key in ("ratio", "bytes_a_job", "p99_ms")), name
        for side in (side for side in (figures.get("bare"), figures.get("post")) if side):
            assert side["statuses"].keys() == {"200"}, name
