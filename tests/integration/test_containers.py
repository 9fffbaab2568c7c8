"""Commands of containers in the document for operators, executed here: their containers' folders are ours."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shared.adapters.dir_media import DirMedia
from shared.adapters.media import open_media
from shared.adapters.s3 import S3Recordings, s3_client
from shared.settings import Settings
from tests.support.docker import shell
from tests.support.object_store import KEY, KEY_ID, object_store
from tests.support.readme import ROOT, block

RECORDING = "recordings/client/sample"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a service, as its operator sees it, with a client in a database and a kept recording."""
    monkeypatch.setenv("TIMBRE_DATA_DIR", str(tmp_path / "data"))
    keys("create", "ann")
    write(tmp_path / "data" / RECORDING, "sealed")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def keys(*arguments: str) -> str:
    run = [sys.executable, "-m", "api.keys", *arguments]
    return subprocess.run(run, cwd=ROOT, env=os.environ, check=True, capture_output=True, text=True).stdout


def on(folder: Path) -> dict[str, Path]:
    return {"/data": folder / "data", "store": folder / "store"}


def back_up_database(folder: Path) -> str:
    """Back up as on every day; returns the day."""
    shell(block("shared/README.md", "back-up-database"), folder, on(folder))
    (backup,) = (folder / "backups").iterdir()
    assert stat.S_IMODE((folder / "backups").stat().st_mode) == 0o700
    assert list((folder / "data").glob("backup*")) == []
    return backup.name.removeprefix("backup-")


def test_a_small_service_is_restored(folder: Path) -> None:
    before = keys("list")
    back_up_database(folder)
    # Nothing is in the way of another one.
    shutil.rmtree(folder / "backups")
    day = back_up_database(folder)
    shell(block("shared/README.md", "back-up-recordings"), folder, on(folder), day=day)
    shutil.move(folder / "data" / "secret", folder / "secret")
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir()
    shell(block("shared/README.md", "restore-small"), folder, on(folder), BACKUP=f"backups/backup-{day}")
    assert (keys("list"), (folder / "data" / RECORDING).read_text()) == (before, "sealed")
    assert stat.S_IMODE((folder / "data" / "secret").stat().st_mode) == 0o600


def test_database_and_store_of_production_are_restored(folder: Path) -> None:
    before = keys("list")
    write(folder / "store" / "volume" / "1.dat", "sealed")
    day = back_up_database(folder)
    shell(block("shared/README.md", "back-up-store"), folder, on(folder), day=day)
    (folder / "data" / "timbre.db").unlink()
    shutil.rmtree(folder / "store")
    (folder / "store").mkdir()
    shell(block("shared/README.md", "restore-production"), folder, on(folder), BACKUP=f"backups/backup-{day}")
    assert (keys("list"), (folder / "store" / "volume" / "1.dat").read_text()) == (before, "sealed")
    for file in (folder / "backups" / f"backup-{day}").iterdir():
        assert file.stat().st_mode & stat.S_IROTH


def test_a_small_service_becomes_one_for_production(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys("list")
    DirMedia(folder / "data" / "media", ttl_s=60, quota_bytes=1000).save("client", "calls/1.wav", [b"up", b"load"])
    shutil.copytree(ROOT / "shared" / "deploy", folder / "shared" / "deploy")
    shell(block("shared/README.md", "keep-secret"), folder, on(folder))
    said = subprocess.check_output(["sh", "shared/deploy/secrets.sh"], cwd=folder, text=True)
    assert "kept  secrets/timbre/secret\n" in said
    monkeypatch.setenv("TIMBRE_SECRET_FILE", str(folder / "secrets" / "timbre" / "secret"))
    monkeypatch.setenv("TIMBRE_DATABASE_URL", f"sqlite:///{folder}/other.db")
    with object_store("elsewhere") as store:
        given = {"S3_BUCKET": "made-now", "S3_ENDPOINT_URL": store.endpoint}
        for name, value in {f"TIMBRE_{name}": value for name, value in given.items()}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
        shell(block("shared/README.md", "fill-production"), folder, on(folder))
        settings = Settings.from_env()
        with open_media(settings).open_upload("client", "calls/1.wav") as file:
            assert file.read() == b"upload"
        recordings = S3Recordings(s3_client(settings), "made-now")
        assert recordings.read("client", "sample") == b"sealed"
    assert keys("list") == before
