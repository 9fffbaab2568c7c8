"""Bytes that a client's uploads may hold, counted beside the folder: in parallel, by killed processes, by sweeps."""

import fcntl
import multiprocessing
import os
import random
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress

import pytest

from shared.adapters import dir_media, dir_tally
from shared.adapters.dir_media import STALLED_S, DirMedia
from shared.domain.errors import MediaQuotaExceeded, Unavailable

QUOTA = 1000
PROCESSES = 4


def store(root):
    return DirMedia(root, ttl_s=3600, quota_bytes=QUOTA)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "media"


@pytest.fixture
def media(root):
    return store(root)


def held(root, client_id="a"):
    """Return the bytes that a client's folder holds, uploads under way included."""
    return sum(path.stat().st_size for path in (root / client_id).iterdir() if path.suffix != ".key")


def counted(root, client_id="a"):
    """Return the bytes that stand in the tally."""
    return int((root / f"{client_id}.bytes").read_text())


def parts(root):
    return list(root.glob("*/part-*"))


def refused(media, key, chunks, announced=0):
    with pytest.raises(MediaQuotaExceeded, match=r"of 1000 bytes.*DELETE /v1/media/KEY.*TIMBRE_MAX_MEDIA_BYTES"):
        media.save("a", key, chunks, announced)


def no_chunks():
    raise AssertionError("not a byte may be read")
    yield b""


@pytest.mark.parametrize("announce", [True, False])
def test_what_goes_beyond_the_quota_is_refused_and_leaves_everything_as_it_was(announce, media, root):
    media.save("a", "first", [b"x" * 600])
    media.save("a", "exactly", [b"x" * 200] * 2, 400 * announce)
    for key in ("first", "another"):
        refused(media, key, [b"y"], 1 * announce)
    assert (counted(root), held(root), parts(root)) == (QUOTA, QUOTA, [])
    media.save("another client", "k", [b"x" * QUOTA])
    media.remove("a", "first")
    media.save("a", "another", [b"y" * 600], 600 * announce)


def test_an_announced_upload_is_refused_before_it_is_read(media):
    refused(media, "k", no_chunks(), QUOTA + 1)


def test_an_upload_under_way_counts_as_announced_and_else_as_far_as_it_has_come(media, root):
    def chunks(sizes, meanwhile):
        for size in sizes:
            yield b"x" * size
            meanwhile()

    media.save("a", "announced", chunks([500], lambda: refused(media, "k", [b"y" * 501])), 500)
    media.save("a", "not", chunks([100, 400], lambda: refused(media, "k", [b"y" * 401])))
    assert counted(root) == held(root) == QUOTA


def test_an_upload_that_replaces_another_counts_beside_it_until_it_is_whole(media, root):
    media.save("a", "k", [b"x" * 600])
    refused(media, "k", [b"y" * 401])
    media.save("a", "k", [b"y" * 400])
    assert counted(root) == held(root) == 400


def test_an_upload_that_breaks_off_or_is_shorter_than_announced_counts_no_more(media, root):
    def broken():
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        media.save("a", "k", broken(), 900)
    assert counted(root) == held(root) == 0
    media.save("a", "k", [b"short"], 900)
    assert counted(root) == held(root) == 5


def test_what_an_earlier_release_stored_is_counted(media, root):
    media.save("a", "k", [b"x" * 900])
    (root / "a.bytes").unlink()
    refused(media, "another", [b"y" * 101])
    assert counted(root) == 900


def test_a_tally_that_went_wrong_is_set_right_by_the_next_sweep(media, root):
    media.save("a", "k", [b"x" * 300])
    for wrong in ("00000000000000000999", "nonsense"):
        (root / "a.bytes").write_text(wrong)
        assert media.sweep() == 0
        assert counted(root) == 300


def test_a_part_that_nobody_has_touched_for_minutes_is_swept_and_one_that_is_written_to_is_not(media, root):
    swept = []

    def chunks():
        yield b"x" * 100
        os.utime(parts(root)[0], (time.time() - STALLED_S - 1,) * 2)
        yield b"x" * 100
        swept.append(media.sweep())

    media.save("a", "slow", chunks(), 300)
    assert swept == [0]
    assert counted(root) == held(root) == 200
    dead = root / "a" / "part-of-a-killed-process"
    dead.write_bytes(bytes(500))
    assert media.sweep() == 0
    assert counted(root) == 700
    os.utime(dead, (time.time() - STALLED_S - 1,) * 2)
    assert media.sweep() == 1
    assert counted(root) == held(root) == 200


def test_an_upload_whose_part_was_swept_is_refused_in_a_sentence_and_leaves_the_old_one(media, root):
    def chunks():
        yield b"x" * 100
        os.utime(parts(root)[0], (time.time() - STALLED_S - 1,) * 2)
        assert media.sweep() == 1

    media.save("a", "k", [b"old"])
    with pytest.raises(Unavailable, match="send it again"):
        media.save("a", "k", chunks(), 100)
    with media.open_upload("a", "k") as file:
        assert file.read() == b"old"
    assert counted(root) == held(root) == 3


def test_a_folder_that_somebody_keeps_locked_is_unavailable_after_a_while_and_others_are_swept(
    media, root, monkeypatch
):
    monkeypatch.setattr(dir_tally, "_PATIENCE_S", 0.1)
    for client_id in ("a", "b"):
        media.save(client_id, "k", [b"x"])
        (root / f"{client_id}.bytes").write_text("nonsense")
    with (root / "a.bytes").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for change in (lambda: media.save("a", "k", [b"y"]), lambda: media.remove("a", "k")):
            with pytest.raises(Unavailable, match="in use"):
                change()
        assert media.sweep() == 0
        assert counted(root, "b") == 1
    media.save("a", "k", [b"y"])
    assert counted(root) == 1


def _uploaded(root, process, announce):
    """Upload 30 times 100 bytes in chunks of 10; return the most bytes that the folder was seen to hold."""
    media, most = store(root), 0
    for i in range(30):
        try:
            media.save("a", f"{process}-{i}", [b"x" * 10] * 10, 100 * announce)
        except MediaQuotaExceeded as error:
            assert "1000 bytes" in str(error)
        most = max(most, counted(root))
    return most


@pytest.mark.parametrize("announce", [True, False])
def test_processes_that_upload_at_once_never_go_beyond_the_quota_together(announce, root):
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        most = list(pool.map(_uploaded, [root] * PROCESSES, range(PROCESSES), [announce] * PROCESSES))
    assert max(most) <= QUOTA
    assert counted(root) == held(root) <= QUOTA
    assert not announce or held(root) == QUOTA


def _changed(root, seed):
    """Upload, replace, remove and sweep at random."""
    media, chance = store(root), random.Random(seed)
    for _ in range(150):
        key = chance.choice("xyz")
        with suppress(MediaQuotaExceeded):
            chance.choice([
                lambda key=key: media.save("a", key, [b"x" * chance.randrange(200)] * 3),
                lambda key=key: media.save("a", key, [b"x" * chance.randrange(200)] * 3, 300),
                lambda key=key: media.remove("a", key),
                media.sweep,
            ])()  # fmt: skip


def test_the_tally_is_right_after_whatever_many_processes_did(media, root):
    media.save("a", "x", [b"x"])
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_changed, [root] * PROCESSES, range(PROCESSES)))
    assert counted(root) == held(root) <= QUOTA
    assert parts(root) == []
    assert {path.with_suffix("") for path in (root / "a").glob("*.key")} == {
        path for path in (root / "a").iterdir() if path.suffix != ".key"
    }


def test_the_disk_keeps_its_reserve_whatever_is_announced(media, root, monkeypatch):
    monkeypatch.setattr(dir_media, "RESERVE_BYTES", 1 << 60)
    with pytest.raises(Unavailable, match="no room"):
        media.save("a", "k", [b"x"], 100)
    assert counted(root) == held(root) == 0
