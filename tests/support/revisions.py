"""Revisions of databases, up and down."""

from alembic import command

from shared.adapters.sql import database


def move(engine, target):
    """Bring a database to a revision, up or down."""
    step = command.upgrade if (database.revision(engine) or "") < target else command.downgrade
    database._move(engine, step, target)
