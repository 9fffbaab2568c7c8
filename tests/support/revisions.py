"""Revisions of databases, up and down."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext

from shared.adapters.sql import database
from shared.adapters.sql.database import writing


def move(engine, revision):
    """Bring a database to a revision, up or down."""
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    with writing(engine).connect() as connection:
        config.attributes["connection"] = connection
        with connection.begin():
            here = MigrationContext.configure(connection).get_current_revision() or ""
            (command.upgrade if here < revision else command.downgrade)(config, revision)
