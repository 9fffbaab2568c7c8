"""Copies of the whole database: a backup as two SQLite files, and its way back into any database.

Rows travel in chunks, as they are stored: what is sealed stays sealed. Keys of records have a file of their own.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, event, exists, func, insert, select
from sqlalchemy.exc import IntegrityError

from shared.adapters.sealing import Sealer
from shared.adapters.sql.database import (
    lock_migrations,
    migrate,
    newest_revision,
    open_database,
    open_migrated,
    reading,
    revision,
    writing,
)
from shared.adapters.sql.record_tables import KeyRow
from shared.adapters.sql.records import Keys
from shared.adapters.sql.tables import Base, WebhookSecretRow
from shared.domain.errors import BackupRefused, SealBroken

#: Files of a backup's folder.
DATABASE_FILE = "database.db"
KEYS_FILE = "record-keys.db"
#: Rows that are in memory at once; one may hold the fingerprint of ten minutes, 150 kB.
_CHUNK_ROWS = 200
_KEYS = Base.metadata.tables[KeyRow.__tablename__]
#: Tables of records that have keys.
_KEYED = [Base.metadata.tables[name] for name in ("identities", "samples", "enrolments", "verifications")]
#: Each table after those that it refers to.
TABLES = Base.metadata.sorted_tables

Counts = dict[str, int]


def back_up(engine: Engine, folder: Path) -> Counts:
    """Write all rows, as they are at one moment, to the files of a new folder; returns rows by table.

    Raises
    ------
    BackupRefused
        The folder is there already, or the database is of another release.
    """
    if folder.exists():
        raise BackupRefused(f"{folder} is there already. A backup goes into a new folder, so that none is lost.")
    found = revision(engine)
    if found != newest_revision():
        raise BackupRefused(
            f"The database has revision {found}, and this release {newest_revision()}. Back it up with the "
            "release that it belongs to, or bring it to this one: python -m api.database upgrade"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # It appears whole, or not at all.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-") as name:
        unfinished = Path(name) / "backup"
        unfinished.mkdir(mode=0o700)
        with reading(engine).connect() as source:
            counts = _write(source, unfinished / DATABASE_FILE, [one for one in TABLES if one is not _KEYS])
            counts |= _write(source, unfinished / KEYS_FILE, [_KEYS])
        unfinished.rename(folder)
    return counts


def restore(engine: Engine, secret: bytes, backup: Path, scratch: Path) -> Counts:
    """Copy a backup, or a whole SQLite database, into an empty database; returns rows by table.

    Parameters
    ----------
    backup : folder that `back_up` made, or file of a SQLite database.
    scratch : folder in which copies of the files are brought to the revision of this release.

    Raises
    ------
    BackupRefused
        The database holds something, the backup is damaged, incomplete or of a newer release, or of another secret.
    """
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="restore-") as name, _opened(backup, Path(name)) as sources:
        for source in sources:
            _require_secret(source, secret)
        migrate(engine)
        with writing(engine).begin() as target:
            lock_migrations(target)
            _require_empty(target)
            try:
                counts = _fill(sources, target)
            except IntegrityError:
                raise _unpaired() from None
            _require_keys(target)
    return counts


def _fill(sources: Iterable[Connection], target: Connection) -> Counts:
    """Copy all rows, the keys of records last; returns rows by table."""
    counts = dict.fromkeys(Base.metadata.tables, 0)
    for source in sources:
        for table in TABLES:
            counts[table.name] += _copy(table, source, target)
    for table in TABLES:
        _set_sequence(table, target)
        if _count(table, target) != counts[table.name]:
            raise BackupRefused(f"Rows of {table.name} were lost on the way; nothing was restored.")
    return counts


def _write(source: Connection, path: Path, tables: Iterable[Table]) -> Counts:
    """Write tables to a new SQLite file that stands alone; returns rows by table."""
    engine = open_database(f"sqlite:///{path.resolve()}")
    # Keys refer to records of the other file.
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=OFF"))
    with writing(engine).begin() as target:
        counts = {table.name: _copy(table, source, target) for table in tables}
    engine.dispose()
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode=DELETE")
    return counts


def _copy(table: Table, source: Connection, target: Connection) -> int:
    """Copy the rows of a table; returns their number."""
    count = 0
    rows = source.execution_options(yield_per=_CHUNK_ROWS).execute(select(table))
    for chunk in rows.mappings().partitions():
        target.execute(insert(table), [dict(row) for row in chunk])
        count += len(chunk)
    return count


@contextmanager
def _opened(backup: Path, scratch: Path) -> Iterator[list[Connection]]:
    """Open copies of a backup's files, brought to the revision of this release."""
    files = [backup / DATABASE_FILE, backup / KEYS_FILE] if backup.is_dir() else [backup]
    for file in files:
        if not file.is_file():
            raise BackupRefused(
                f"There is no {file}. A backup is a folder with {DATABASE_FILE} and {KEYS_FILE}, or a timbre.db. Put "
                f"the {KEYS_FILE} of the same backup beside it: without it no voice and no name can be read."
            )
    with ExitStack() as opened:
        yield [opened.enter_context(_copy_of(file, scratch)) for file in files]


@contextmanager
def _copy_of(file: Path, scratch: Path) -> Iterator[Connection]:
    """Copy a SQLite file, which others may have open, and open the copy at the revision of this release."""
    engine = open_migrated(f"sqlite:///{(scratch / file.name).resolve()}")
    try:
        _copy_file(file, scratch / file.name)
        _require_known(engine, file)
        migrate(engine)
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _copy_file(file: Path, copy: Path) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            (verdict,) = target.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise BackupRefused(f"{file} cannot be read: {error}") from None
    if verdict != "ok":
        raise BackupRefused(f"{file} is damaged: {verdict}")


def _require_known(engine: Engine, file: Path) -> None:
    found = revision(engine)
    if found is None:
        raise BackupRefused(f"{file} is no database of this service.")
    if found > newest_revision():
        raise BackupRefused(
            f"{file} is of a newer release, with revision {found}; this one knows {newest_revision()}. Restore it with "
            "that release."
        )


def _require_secret(source: Connection, secret: bytes) -> None:
    """Refuse a backup whose sealed values cannot be read under the server secret."""
    key = source.execute(select(_KEYS.c.id, _KEYS.c.sealed).limit(1)).first()
    signing = source.execute(select(WebhookSecretRow.sealed, WebhookSecretRow.client_id).limit(1)).first()
    try:
        if key is not None:
            Keys(secret).unsealed(key.id, key.sealed)
        if signing is not None:
            Sealer(secret, "webhook secrets").unseal(signing.sealed, signing.client_id)
    except SealBroken:
        raise BackupRefused(
            "The backup was made under another server secret, without which nothing in it can be read. Put that secret "
            "back (TIMBRE_SECRET, or the file `secret` of the data folder). Nothing was restored."
        ) from None


def _require_empty(target: Connection) -> None:
    for table in TABLES:
        if target.scalar(select(exists().select_from(table))):
            raise BackupRefused(
                f"The database holds rows in {table.name} already, which a restore would mix with those of the backup. "
                "Name an empty one, before the API starts on it. Nothing was restored."
            )


def _require_keys(target: Connection) -> None:
    """Refuse records that lost their keys."""
    for table in _KEYED:
        if target.scalar(select(exists().where(table.c.id.not_in(select(_KEYS.c.id))))):
            raise _unpaired()


def _unpaired() -> BackupRefused:
    return BackupRefused(
        f"{DATABASE_FILE} and {KEYS_FILE} are not of the same backup, or a row was lost: records and keys do not fit. "
        "Nothing was restored."
    )


def _set_sequence(table: Table, target: Connection) -> None:
    """Let PostgreSQL go on counting behind the rows that have numbers already."""
    column = table.autoincrement_column
    if target.dialect.name == "postgresql" and column is not None:
        highest = select(func.coalesce(func.max(column), 0)).scalar_subquery()
        target.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), highest + 1, False)))


def _count(table: Table, target: Connection) -> int:
    return target.scalar(select(func.count()).select_from(table)) or 0
