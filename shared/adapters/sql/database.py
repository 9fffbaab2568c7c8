"""Database engine and migrations."""

import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

#: Any number, but the same in every process.
_MIGRATION_LOCK = 7_468_219
#: Longest that a process waits for another one's migrations of a SQLite file, in milliseconds.
_MIGRATION_MS = 60_000
#: Longest that a transaction waits for others of SQLite, in milliseconds.
_BUSY_MS = 5000
#: Pause between two tries to begin SQLite's write-ahead log, in seconds.
_PAUSE_S = 0.01
#: Longest that a thread waits for its turn to wait for others of SQLite, in seconds.
_TURN_S = 2.5
#: Longest that the emptying of SQLite's write-ahead log waits for readers, in milliseconds.
_FORGETTING_MS = 500
#: PostgreSQL's timeouts, which default to minutes: seconds to connect, milliseconds until sent bytes are acknowledged.
#: A courier must learn that the database is away before its lease on a webhook ends.
_TIMEOUTS = {"connect_timeout": 3, "tcp_user_timeout": 3000}
_MIGRATIONS = Path(__file__).parent / "migrations"

_turn = threading.Lock()


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
    # What is logged of a failed statement must hold no names, keys or voices.
    engine = create_engine(url, connect_args=timeouts, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        _make_file(Path(engine.url.database or ""))
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    return engine


def writing(engine: Engine) -> Engine:
    """Return an engine whose transactions write: SQLite locks its file as they begin, not with their first change.

    One that reads first would otherwise fail, if another has written in between.
    """
    return engine.execution_options(writes=True)


def reading(engine: Engine) -> Engine:
    """Return an engine whose transactions see one moment of the database throughout, and change nothing.

    SQLite's do so anyway.
    """
    return (
        engine.execution_options(isolation_level="REPEATABLE READ") if engine.dialect.name == "postgresql" else engine
    )


def _make_file(path: Path) -> None:
    """Make a database file that only its owner may read, unless it is there.

    SQLite gives the mode to `-wal` and `-shm` too.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.touch(mode=0o600, exist_ok=False)


def _prepare(connection, _record) -> None:  # type: ignore[no-untyped-def]
    """Set SQLite to log ahead, so that readers go on beside a writer, and to wait for locks.

    References between tables are kept, and what is deleted is overwritten with zeros.
    """
    # `_begin` begins transactions.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    _log_ahead(connection)
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Set SQLite to write-ahead logging, in further tries if need be.

    Where several connections do so at once on a new file, SQLite refuses one without waiting.
    """
    ends_at = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > ends_at:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("writes"):
        _begin_writing(connection)
    else:
        connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: Connection) -> None:
    """Lock SQLite's file for a transaction; threads take turns.

    SQLite itself lets a thread that waits sleep while newer ones lock the file: of twelve that wrote without a pause,
    one waited 1.5 s, and 0.04 s with turns.
    """
    mine = _turn.acquire(timeout=_TURN_S)
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        if mine:
            _turn.release()


def forget_log(engine: Engine) -> None:
    """Empty SQLite's write-ahead log, which holds pages as they were before a deletion.

    A reader may keep it for now; the next call empties it then. Writers wait meanwhile, so it is not waited for long.
    """
    if engine.dialect.name == "sqlite":
        with closing(engine.raw_connection()) as connection:
            driver = connection.cursor()
            driver.execute(f"PRAGMA busy_timeout={_FORGETTING_MS}")
            try:
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                driver.execute(f"PRAGMA busy_timeout={_BUSY_MS}")


def migrate(engine: Engine) -> None:
    """Apply the missing migrations."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with writing(engine).connect() as connection:
        if engine.dialect.name == "sqlite":
            driver = connection.connection.cursor()
            driver.execute(f"PRAGMA busy_timeout={_MIGRATION_MS}")
            # A table that is made anew must not take along what refers to it.
            driver.execute("PRAGMA foreign_keys=OFF")
        # Several API processes may start at once; one that is killed leaves nothing half made.
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    # No other transaction waits as long.
    engine.dispose()
