"""Kept recordings in a folder: sealed, private, and unreadable once their keys are gone."""

import pytest

from shared.adapters import recordings as module
from shared.adapters.media import open_recordings
from shared.domain.errors import SealBroken, Unavailable
from shared.settings import Settings

SOUND = b"RIFF of a voice" * 100


@pytest.fixture
def keys():
    return {"sample": b"k" * 32, "other": b"o" * 32}


@pytest.fixture
def recordings(tmp_path, keys):
    return open_recordings(Settings(data_dir=tmp_path), keys.get)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_recording_is_kept_sealed_for_its_owner_alone(recordings, tmp_path):
    recordings.keep("client", "sample", SOUND)
    (path,) = files(tmp_path)
    assert b"RIFF" not in path.read_bytes()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert (tmp_path / "recordings").stat().st_mode & 0o777 == 0o700
    assert recordings.load("client", "sample") == SOUND


def test_a_recording_is_gone_with_its_key_and_another_sample_s_key_opens_nothing(recordings, keys, tmp_path):
    recordings.keep("client", "sample", SOUND)
    (path,) = files(tmp_path)
    path.rename(path.with_name("other"))
    with pytest.raises(SealBroken):
        recordings.load("client", "other")
    recordings.keep("client", "sample", SOUND)
    del keys["sample"]
    assert recordings.load("client", "sample") is None
    recordings.keep("client", "gone", SOUND)
    assert {one.name for one in files(tmp_path)} == {"other", "sample"}


def test_what_is_not_there_can_be_removed_and_is_not_loaded(recordings, tmp_path):
    recordings.remove("client", "sample")
    assert recordings.load("client", "sample") is None
    recordings.keep("client", "sample", SOUND)
    recordings.remove("client", "sample")
    assert not files(tmp_path)


def test_a_disk_that_is_nearly_full_keeps_none(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RESERVE_BYTES", 1 << 60)
    with pytest.raises(Unavailable, match="TIMBRE_DATA_DIR"):
        recordings.keep("client", "sample", SOUND)
    assert not files(tmp_path)
