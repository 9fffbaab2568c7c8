"""Database at the command line: backups, and their way back into either kind of database; moves between revisions."""

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from api import database as commands
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import newest_revision, open_database, open_migrated, require_migrated, revision
from shared.adapters.sql.record_tables import LeftRecordingRow
from shared.adapters.sql.tables import Base
from shared.domain.errors import DatabaseRevisionWrong
from shared.domain.identities import new_id
from tests.support.apis import another_database
from tests.support.lasting import SECRET, lasting
from tests.support.revisions import move

KINDS = ("sqlite", "postgresql")
NEWER = "9999"


@contextmanager
def opened(url):
    """Open a database as it is."""
    engine = open_migrated(url)
    yield engine
    engine.dispose()


def rows(url):
    """Return the rows of all tables."""
    with opened(url) as engine, engine.connect() as connection:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(map(repr, connection.execute(select(table)))) for table in tables}


def call(url, *arguments, secret=None, typed=None):
    """Run a command on a database; returns its exit status and what it printed."""
    environment = {
        "TIMBRE_DATABASE_URL": url,
        "TIMBRE_SECRET": secret or SECRET.decode(),
        "TIMBRE_DATA_DIR": os.environ["DATA"],
    }
    done = CliRunner().invoke(commands.main, list(map(str, arguments)), env=environment, input=typed)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def fill(url):
    """Put rows into every table of a new database; returns its client's key and webhook secrets."""
    engine = open_database(url)
    stores = lasting(engine)
    space = stores.space()
    ann = stores.identity(space, "ann", alias="Ann")
    stores.settle(stores.performing(space, stores.computed(ann, [stores.ready(space, ann, seed=1)])))
    stores.pending(space, ann)
    stores.enrolments.begin_voice(stores.by, space.id, new_id())
    stores.spaces.note_job(new_id(), stores.by.client_id, [ann.id])
    with engine.begin() as connection:
        connection.execute(
            Base.metadata.tables[LeftRecordingRow.__tablename__].insert().values(sample_id="s", client_id="c")
        )
    clients = SqlClients(engine, SECRET)
    key = clients.create_key("acme")
    secrets = clients.webhook_secrets(stores.by.client_id)
    engine.dispose()
    assert all(rows(url).values())
    return key, secrets


@pytest.fixture
def backup(url, tmp_path):
    """A backup of a database with rows in every table."""
    fill(url)
    code, said = call(url, "backup", tmp_path / "backup")
    assert code == 0, said
    return tmp_path / "backup"


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_is_restored_into_either_kind_of_database(kind, url, new_url, tmp_path):
    key, secrets = fill(url)
    before = rows(url)
    assert call(url, "backup", tmp_path / "backup")[0] == 0
    target = new_url(kind)
    code, said = call(target, "restore", tmp_path / "backup")
    assert code == 0, said
    assert "identities  1\n" in said
    assert rows(target) == before
    engine = open_migrated(target)
    clients = SqlClients(engine, SECRET)
    client = clients.authenticate(key)
    assert clients.webhook_secrets(client.id) == secrets
    stores = lasting(engine, "acme")
    ann = stores.spaces.find_identity(stores.space().id, "ann")
    assert (ann.alias, ann.num_accepted) == ("Ann", 1)
    # Numbers go on behind those that are there.
    assert clients.create_key("another")
    engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
def test_the_database_of_the_small_installation_is_moved_as_it_is_even_while_it_is_open(kind, new_url, tmp_path):
    url = f"sqlite:///{tmp_path}/timbre.db"
    fill(url)
    engine = open_migrated(url)
    with engine.connect() as reader:
        # Its newest rows are still in the write-ahead log.
        reader.execute(text("SELECT * FROM clients"))
        with engine.begin() as writer:
            writer.execute(text("UPDATE clients SET weight = 7"))
        target = new_url(kind)
        assert call(target, "restore", tmp_path / "timbre.db")[0] == 0
    assert rows(target) == rows(url)
    with opened(target) as moved, moved.connect() as connection:
        assert connection.scalar(text("SELECT min(weight) FROM clients")) == 7
    engine.dispose()


def test_a_backup_holds_the_keys_of_records_apart_and_is_for_its_owner_alone(backup):
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in backup.iterdir()}
    assert files == {"database.db": 0o600, "record-keys.db": 0o600}
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    with closing(sqlite3.connect(backup / "database.db")) as file:
        assert file.execute("SELECT count(*) FROM record_keys").fetchone() == (0,)
        assert file.execute("SELECT count(*) FROM samples").fetchone() == (2,)
    with closing(sqlite3.connect(backup / "record-keys.db")) as file:
        assert file.execute("SELECT count(*) FROM record_keys").fetchone()[0] > 3
        assert file.execute("SELECT count(*) FROM samples").fetchone() == (0,)


def test_a_backup_is_never_written_over_another(backup, url):
    before = {path.name: path.read_bytes() for path in backup.iterdir()}
    code, said = call(url, "backup", backup)
    assert code == 1
    assert "is there already" in said
    assert {path.name: path.read_bytes() for path in backup.iterdir()} == before


def test_a_backup_is_of_one_moment_although_others_write(url, tmp_path):
    fill(url)
    engine = open_migrated(url)
    stores = lasting(engine)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(
            lambda: [stores.ready(stores.space(), stores.identity(stores.space())) for _ in range(60)]
        )
        for number in range(5):
            assert call(url, "backup", tmp_path / str(number))[0] == 0
        writing.result()
    engine.dispose()
    for number in range(5):
        assert call(f"sqlite:///{tmp_path}/again-{number}.db", "restore", tmp_path / str(number))[0] == 0


def test_a_database_that_holds_something_is_not_restored_into(backup, url):
    before = rows(url)
    code, said = call(url, "restore", backup)
    assert code == 1
    assert "holds rows in" in said
    assert rows(url) == before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("secret", "another server secret"),
        ("no keys", "There is no"),
        ("other keys", "not of the same backup"),
        ("fewer keys", "not of the same backup"),
        ("newer", "of a newer release"),
        ("unknown revision", "of a newer release"),
        ("bad date", "A row cannot be read"),
        ("noise", "cannot be read"),
        ("empty", "no database of this service"),
    ],
)
def test_a_backup_that_cannot_be_restored_is_refused_and_leaves_the_database_empty(
    damage, words, backup, new_url, tmp_path, data_dir
):
    secret, keys = SECRET.decode(), backup / "record-keys.db"
    if damage == "secret":
        secret = "another secret of thirty-two characters"
    elif damage == "no keys":
        keys.unlink()
    elif damage == "noise":
        (backup / "database.db").write_bytes(b"no database" * 1000)
    elif damage == "empty":
        (backup / "database.db").write_bytes(b"")
    elif damage == "unknown revision":
        change(backup / "database.db", "UPDATE alembic_version SET version_num = 'nonsense'")
    elif damage == "bad date":
        change(backup / "database.db", "UPDATE clients SET created_at = 'nonsense'")
    elif damage == "newer":
        change(backup / "database.db", f"UPDATE alembic_version SET version_num = '{NEWER}'")
    elif damage == "fewer keys":
        change(keys, "DELETE FROM record_keys WHERE sample_id IS NOT NULL")
    else:
        other = f"sqlite:///{tmp_path}/other.db"
        fill(other)
        assert call(other, "backup", tmp_path / "other")[0] == 0
        keys.write_bytes((tmp_path / "other" / "record-keys.db").read_bytes())
    for target in map(new_url, KINDS):
        code, said = call(target, "restore", backup, secret=secret)
        assert (code, words in said) == (1, True), said
        assert call(target, "upgrade")[0] == 0
        assert not any(rows(target).values())
    assert list(data_dir.iterdir()) == []


def change(file, statement):
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


def test_a_backup_of_an_earlier_release_is_brought_to_this_one_in_a_copy(tmp_path):
    url = f"sqlite:///{tmp_path}/timbre.db"
    key, _ = fill(url)
    engine = open_migrated(url)
    move(engine, "0005")
    target = f"sqlite:///{tmp_path}/new.db"
    assert call(target, "restore", tmp_path / "timbre.db")[0] == 0
    assert revision(engine) == "0005"
    moved = open_migrated(target)
    assert SqlClients(moved, SECRET).authenticate(key).name == "acme"
    moved.dispose()
    engine.dispose()


def test_upgrades_say_from_where_to_where_and_may_be_repeated(url):
    newest = newest_revision()
    assert call(url, "status") == (1, f"The database is at revision none, and this release at {newest}.\n")
    assert call(url, "upgrade") == (0, f"The database is at revision {newest}; it was empty.\n")
    assert call(url, "upgrade") == (0, f"The database is at revision {newest}; it has been there before.\n")
    assert call(url, "downgrade", "0005", "--yes")[0] == 0
    assert call(url, "upgrade") == (0, f"The database is at revision {newest}; it comes from 0005.\n")
    assert call(url, "status")[0] == 0


def test_two_upgrades_may_run_at_once(url, tmp_path):
    environment = os.environ | {"TIMBRE_DATABASE_URL": url, "TIMBRE_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "api.database", "upgrade"]
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = sorted(run.communicate()[0].partition("; it ")[2] for run in runs)
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert said == ["has been there before.\n", "has been there before.\n", "was empty.\n"]


def test_a_downgrade_names_what_is_lost_and_asks(url):
    fill(url)
    before = rows(url)
    code, said = call(url, "downgrade", "0005", typed="n\n")
    assert code == 1
    assert "loses keys of user groups" in said
    assert rows(url) == before
    code, said = call(url, "downgrade", "0005", typed="y\n")
    assert code == 0
    assert said.endswith(f"The database is at revision 0005; it comes from {newest_revision()}.\n")
    assert call(url, "downgrade", "7777")[1].startswith("Error: 7777 is no revision of this release.")
    assert "before 0006 already" in call(url, "downgrade", "0006", "--yes")[1]
    assert call(url, "downgrade", newest_revision(), "--yes")[0] == 1


def test_a_database_of_a_newer_release_is_refused_with_the_command_that_helps(url, tmp_path):
    fill(url)
    with opened(url) as engine, engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{NEWER}'"))
    words = f"with it run: python -m api.database downgrade {newest_revision()}"
    for command in (("upgrade",), ("downgrade", "0005", "--yes")):
        code, said = call(url, *command)
        assert (code, words in said) == (1, True), said
    code, said = call(url, "backup", tmp_path / "backup")
    assert (code, NEWER in said) == (1, True)
    start = [sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_conf", "api.wsgi:app"]
    settings = {"TIMBRE_DATABASE_URL": url, "TIMBRE_SECRET": SECRET.decode(), "TIMBRE_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(start, env=os.environ | settings, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    # Workers and couriers of the release before go on while the newer one is rolled out.
    require_migrated(url, within_s=0.0)


def test_a_worker_waits_for_migrations_and_says_what_lacks(url):
    with pytest.raises(DatabaseRevisionWrong, match="run: python -m api"):
        require_migrated(url, within_s=0.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(require_migrated, url)
        assert call(url, "upgrade")[0] == 0
        assert waiting.result() is None


@pytest.mark.parametrize("command", [["-m", "worker.courier"], ["-m", "celery", "-A", "worker.app", "worker"]])
def test_a_process_that_cannot_use_the_database_says_so_and_ends(command, tmp_path, redis_server):
    with closing(sqlite3.connect(tmp_path / "timbre.db")) as file, file:
        file.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        file.execute("INSERT INTO alembic_version VALUES ('0005')")
    code = "import runpy, sys, shared.adapters.sql.database as d; d.require_migrated.__defaults__ = (0.0,); "
    code += f"sys.argv = {command[1:]!r}; runpy.run_module({command[1]!r}, run_name='__main__')"
    environment = os.environ | {"TIMBRE_DATA_DIR": str(tmp_path), "TIMBRE_REDIS_URL": another_database(redis_server)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "it is at revision 0005" in done.stderr
    assert "Traceback" not in done.stderr
