"""Photographs of the page: those that `make screenshots` takes, small enough for a README."""

import pytest

from tests.support.screenshots import FOLDER, MOST_BYTES, PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_there_and_small(name):
    picture = (FOLDER / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) <= MOST_BYTES


def test_no_other_picture_is_there():
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.png" for name in PICTURES}
