"""Database engine and migrations."""

from contextlib import suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url, text

#: Any number, but the same in every process.
_MIGRATION_LOCK = 7_468_219
#: Longest that a process waits for another one's migrations of a SQLite file, in milliseconds.
_MIGRATION_MS = 60_000
#: PostgreSQL's timeouts, which default to minutes: seconds to connect, milliseconds until sent bytes are acknowledged.
#: A courier must learn that the database is away before its lease on a webhook ends.
_TIMEOUTS = {"connect_timeout": 3, "tcp_user_timeout": 3000}
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """Return an engine for `url` after applying all migrations."""
    engine = open_migrated(url)
    migrate(engine)
    return engine


def open_migrated(url: str) -> Engine:
    """Return an engine for `url`, whose database the API has migrated already.

    A missing folder of a SQLite file is made.
    """
    timeouts = _TIMEOUTS if make_url(url).get_backend_name() == "postgresql" else {}
    engine = create_engine(url, connect_args=timeouts)
    if engine.dialect.name == "sqlite":
        _make_file(Path(engine.url.database or ""))
        event.listen(engine, "connect", _write_ahead)
    return engine


def _make_file(path: Path) -> None:
    """Make a database file that only its owner may read, unless it is there.

    SQLite gives the mode to `-wal` and `-shm` too.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.touch(mode=0o600, exist_ok=False)


def _write_ahead(connection, _record) -> None:  # type: ignore[no-untyped-def]
    """Set SQLite to write-ahead logging, so that readers go on beside a writer, and to wait for locks."""
    connection.execute("PRAGMA busy_timeout=5000")
    connection.execute("PRAGMA journal_mode=WAL")


def migrate(engine: Engine) -> None:
    """Apply the missing migrations."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Several API processes may start at once; the lock ends with the transaction.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        else:
            # Likewise. A transaction begins here, not with the first row that is written: one that is killed leaves
            # nothing half made.
            connection.exec_driver_sql(f"PRAGMA busy_timeout={_MIGRATION_MS}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    # No other transaction waits as long.
    engine.dispose()
