"""Database engine and migrations."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from shared.domain.errors import DatabaseRevisionWrong
from shared.telemetry import metrics

#: Any number, but the same in every process.
_MIGRATION_LOCK = 7_468_219
#: Longest that a process waits for another one's migrations of a SQLite file, in milliseconds.
_MIGRATION_MS = 60_000
#: Longest that a transaction waits for others of SQLite, in milliseconds.
_BUSY_MS = 5000
#: Pause between two tries to begin SQLite's write-ahead log, in seconds.
_PAUSE_S = 0.01
#: Pause between two looks for migrations of others, in seconds.
_LOOK_S = 0.2
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
    event.listen(engine, "handle_error", _count_error)
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


def _count_error(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception or context.original_exception
    metrics.count(metrics.DATABASE_ERRORS, error=type(error).__name__)


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


def migrate(engine: Engine) -> tuple[str | None, str]:
    """Apply the missing migrations; returns the revision before, None for an empty database, and the one after.

    Raises
    ------
    DatabaseRevisionWrong
        A newer release has migrated it.
    """
    return _move(engine, command.upgrade, newest_revision())


def downgrade(engine: Engine, target: str) -> tuple[str | None, str]:
    """Undo the migrations behind a revision; returns the revision before and the one after.

    Raises
    ------
    DatabaseRevisionWrong
        A newer release has migrated it, or it is not behind that revision.
    """
    return _move(engine, command.downgrade, target)


def _move(engine: Engine, step: Callable[[Config, str], None], target: str) -> tuple[str | None, str]:
    with writing(engine).connect() as connection:
        if engine.dialect.name == "sqlite":
            driver = connection.connection.cursor()
            driver.execute(f"PRAGMA busy_timeout={_MIGRATION_MS}")
            # A table that is made anew must not take along what refers to it.
            driver.execute("PRAGMA foreign_keys=OFF")
        # Several processes may do so at once; one that is killed leaves nothing half made.
        with connection.begin():
            lock_migrations(connection)
            before = _known_revision(connection)
            if step is command.downgrade and (before or "") < target:
                raise DatabaseRevisionWrong(f"The database has revision {before}, which is before {target} already.")
            config = _config()
            config.attributes["connection"] = connection
            step(config, target)
    # No other transaction waits as long.
    engine.dispose()
    return before, target


def lock_migrations(connection: Connection) -> None:
    """Keep other processes from migrating the database until the transaction ends.

    Of SQLite a transaction that writes does so by itself.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))


def revision(engine: Engine) -> str | None:
    """Return the revision of a database, which may be newer than this release; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """Return the revision to which this release migrates."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found is not None
    return found


def migrations_after(target: str) -> list[Script]:
    """Return the migrations behind a revision, the newest first; raises DatabaseRevisionWrong for an unknown one."""
    scripts = ScriptDirectory.from_config(_config())
    known = [one.revision for one in scripts.walk_revisions()]
    if target not in known:
        raise DatabaseRevisionWrong(f"{target} is no revision of this release. It has {', '.join(reversed(known))}.")
    return [one for one in scripts.walk_revisions() if one.revision > target]


def require_migrated(url: str, within_s: float = 60.0) -> None:
    """Wait until the database has the migrations of this release; one that is away or newer is not waited for.

    A worker may start before the API of a new database, and may stay while a newer release is rolled out.

    Raises
    ------
    DatabaseRevisionWrong
        Nobody migrates it in time.
    """
    engine = open_migrated(url)
    ends_at = time.monotonic() + within_s
    try:
        while _is_behind(engine):
            if time.monotonic() > ends_at:
                raise DatabaseRevisionWrong(
                    f"The database lacks migrations of this release: it is at revision {revision(engine) or 'none'}, "
                    f"and {newest_revision()} is needed. Start the API, or run: python -m api.database upgrade"
                )
            time.sleep(_LOOK_S)
    finally:
        # No connection may be shared with a process that is forked later.
        engine.dispose()


def _is_behind(engine: Engine) -> bool:
    try:
        return (revision(engine) or "") < newest_revision()
    except OperationalError:
        return False


def _known_revision(connection: Connection) -> str | None:
    """Return the revision of a database; raises DatabaseRevisionWrong for one of a newer release."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found > newest_revision():
        raise DatabaseRevisionWrong(
            f"A newer release has brought the database to revision {found}; this one knows {newest_revision()}. Start "
            f"the newer release, or with it run: python -m api.database downgrade {newest_revision()}"
        )
    return found


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
