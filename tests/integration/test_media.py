import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.adapters import dir_media
from shared.adapters.dir_media import DirMedia
from shared.domain.errors import MediaNotFound, Unavailable


@pytest.fixture
def media(tmp_path):
    return DirMedia(tmp_path / "media", ttl_s=60, quota_bytes=1000)


ROUNDS = 1500


def content(media, client_id, key):
    with media.open_upload(client_id, key) as file:
        return file.read()


def files(tmp_path):
    return [path for path in (tmp_path / "media").glob("*/*") if path.suffix != ".key"]


def test_what_was_saved_can_be_read_and_is_replaced_by_the_next(media):
    media.save("a", "hello.wav", [b"one", b"two"])
    assert content(media, "a", "hello.wav") == b"onetwo"
    media.save("a", "hello.wav", [b"three"])
    assert content(media, "a", "hello.wav") == b"three"


def test_one_clients_upload_is_not_found_by_another(media):
    media.save("a", "hello.wav", [b"x"])
    with pytest.raises(MediaNotFound, match="media://hello"):
        media.open_upload("b", "hello.wav")


@pytest.mark.parametrize("key", ["../b/x", "/etc/passwd", "....//x", "a/b/c", ".", ".."])
def test_no_key_leaves_its_clients_folder(media, tmp_path, key):
    media.save("a", key, [b"x"])
    assert [path.parent for path in files(tmp_path)] == [tmp_path / "media" / "a"]


def test_an_upload_that_breaks_off_leaves_nothing_and_keeps_the_old_one(media, tmp_path):
    def broken():
        yield b"half"
        raise ConnectionError

    media.save("a", "k", [b"whole"])
    with pytest.raises(ConnectionError):
        media.save("a", "k", broken())
    assert content(media, "a", "k") == b"whole"
    assert len(files(tmp_path)) == 1


def test_an_upload_does_not_fill_the_disk(media, tmp_path, monkeypatch):
    media.save("a", "k", [b"old"])
    taken = []

    def chunks():
        for _ in range(3):
            yield b"x"
            taken.append("x")
            monkeypatch.setattr(dir_media, "RESERVE_BYTES", 1 << 60)

    with pytest.raises(Unavailable, match="no room"):
        media.save("a", "k", chunks())
    assert len(taken) == 1
    assert content(media, "a", "k") == b"old"
    assert len(files(tmp_path)) == 1


def test_only_uploads_past_their_time_are_swept(media, tmp_path):
    media.save("a", "old", [b"x"])
    os.utime(files(tmp_path)[0], (time.time() - 61,) * 2)
    media.save("a", "new", [b"x"])
    assert media.sweep() == 1
    assert content(media, "a", "new") == b"x"
    assert media.sweep() == 0


def test_uploads_are_listed_page_by_page_with_their_names_and_sizes(media):
    for key in ("b", "a/../b", "c.wav"):
        media.save("a", key, [key.encode()])
    media.save("other", "d", [b"x"])
    first = media.list("a", "", 2)
    second = media.list("a", first.cursor, 2)
    assert (len(first.uploads), len(second.uploads), second.cursor) == (2, 1, None)
    listed = {upload.key: upload.size_bytes for upload in (*first.uploads, *second.uploads)}
    assert listed == {"b": 1, "a/../b": 6, "c.wav": 5}
    assert media.list("nobody", "", 2).uploads == []


def test_a_page_reads_no_names_but_its_own(media, monkeypatch):
    for i in range(50):
        media.save("a", f"{i}", [b"x"])
    read, as_usual = [], dir_media._upload
    monkeypatch.setattr(dir_media, "_upload", lambda named: read.append(named) or as_usual(named))
    cursor, listed = "", []
    while cursor is not None:
        page = media.list("a", cursor, 8)
        listed += [upload.key for upload in page.uploads]
        cursor = page.cursor
        assert len(read) == len(listed)
    assert sorted(listed) == sorted(map(str, range(50)))


@pytest.mark.parametrize("cursor", ["hello.wav", "a/b", "0" * 63, "0" * 65, "A" * 64, "g" * 64])
def test_a_cursor_of_an_earlier_release_is_refused(cursor, media):
    with pytest.raises(ValueError, match="first page"):
        media.list("a", cursor, 1)


def test_what_was_removed_is_gone_with_its_name(media, tmp_path):
    media.save("a", "k", [b"content"])
    assert media.contains("a", "k")
    assert media.remove("a", "k") == hashlib.sha256(b"content").hexdigest()
    assert media.remove("a", "k") is None
    assert not media.contains("a", "k")
    assert list((tmp_path / "media" / "a").iterdir()) == []


def test_a_removal_that_cannot_read_the_upload_leaves_it_listed_and_can_be_repeated(media, tmp_path):
    media.save("a", "k", [b"content"])
    (upload,) = files(tmp_path)
    aside = upload.rename(tmp_path / "aside")
    upload.mkdir()
    with pytest.raises(IsADirectoryError):
        media.remove("a", "k")
    upload.rmdir()
    aside.rename(upload)
    assert keys(media) == ["k"]
    assert media.remove("a", "k") == hashlib.sha256(b"content").hexdigest()


def test_a_name_without_a_file_is_not_listed_and_swept_in_its_time(media, tmp_path):
    media.save("a", "k", [b"x"])
    files(tmp_path)[0].unlink()
    assert media.list("a", "", 2).uploads == []
    (name,) = (tmp_path / "media" / "a").iterdir()
    os.utime(name, (time.time() - 61,) * 2)
    assert media.sweep() == 0
    assert not name.exists()


def keys(media):
    return [upload.key for upload in media.list("a", "", 2).uploads]


@pytest.fixture
def together():
    """Calls functions in threads of their own that begin at the same moment; returns what they return."""
    with ThreadPoolExecutor(3) as pool:

        def call(*functions):
            barrier = threading.Barrier(len(functions))
            begun = [pool.submit(lambda f=function: (barrier.wait(), f())) for function in functions]
            return [future.result()[1] for future in begun]

        yield call


def test_an_upload_that_meets_a_removal_is_either_removed_with_a_receipt_or_there_and_listed(media, together):
    kept = 0
    for i in range(ROUNDS):
        new = b"new %d" % i
        media.save("a", "k", [b"old"])
        receipt, _, listed = together(
            lambda: media.remove("a", "k"), lambda new=new: media.save("a", "k", [new]), lambda: keys(media)
        )
        assert receipt in [hashlib.sha256(removed).hexdigest() for removed in (b"old", new)]
        assert listed in ([], ["k"])
        stays = receipt != hashlib.sha256(new).hexdigest()
        kept += stays
        assert keys(media) == ["k"] * stays
        assert media.contains("a", "k") == stays
        assert not stays or content(media, "a", "k") == new
    assert kept


def test_an_upload_that_replaces_one_past_its_time_is_not_swept_in_its_place(media, tmp_path, together):
    media.save("a", "k", [b"old"])
    for _ in range(ROUNDS):
        for path in (tmp_path / "media" / "a").iterdir():
            os.utime(path, (time.time() - 61,) * 2)
        together(media.sweep, lambda: media.save("a", "k", [b"new"]))
        assert content(media, "a", "k") == b"new"
        assert keys(media) == ["k"]
