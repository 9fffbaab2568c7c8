"""The database: opened, and brought to the newest schema, in one call."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url, text

#: Any number, but the same in every process.
_MIGRATION_LOCK = 7_468_219
#: With PostgreSQL, where the defaults are minutes: seconds to connect, milliseconds until what was sent must have been
#: received. A courier must hear that the database is away before its lease on a webhook is over.
_PATIENCE = {"connect_timeout": 3, "tcp_user_timeout": 3000}
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(url: str) -> Engine:
    """Return an engine for `url` with every migration applied."""
    engine = open_migrated(url)
    migrate(engine)
    return engine


def open_migrated(url: str) -> Engine:
    """Return an engine for `url`, whose migrations are another process's business: the API's, which starts first.

    A SQLite file's folder is made where it is missing.
    """
    patience = _PATIENCE if make_url(url).get_backend_name() == "postgresql" else {}
    engine = create_engine(url, connect_args=patience)
    if engine.dialect.name == "sqlite":
        Path(engine.url.database or "").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        event.listen(engine, "connect", _write_ahead)
    return engine


def _write_ahead(connection, _record) -> None:  # type: ignore[no-untyped-def]
    """Let SQLite's readers and its one writer work side by side, and wait for each other rather than fail."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=5000")


def migrate(engine: Engine) -> None:
    """Apply the migrations that are missing."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # Several API processes may start at once; the lock goes with the transaction.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
