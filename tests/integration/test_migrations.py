"""Migrations on databases of earlier releases: forth with their rows, and back again."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, text

from shared.adapters.sql import database
from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database, open_migrated, writing
from shared.adapters.sql.tables import Base
from shared.domain.keys import new_key
from tests.support.lasting import ALL, SECRET, lasting

OLD = ("alembic_version", "api_keys", "clients", "webhook_secrets")


def move(engine, revision):
    """Bring a database to a revision, up or down."""
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    with writing(engine).connect() as connection:
        config.attributes["connection"] = connection
        with connection.begin():
            here = MigrationContext.configure(connection).get_current_revision() or ""
            (command.upgrade if here < revision else command.downgrade)(config, revision)


@pytest.fixture
def old(url):
    """A database of the release before, with a client that has two keys, and a revoked one."""
    engine = open_migrated(url)
    move(engine, "0004")
    clients = SqlClients(engine, SECRET)
    keys = [clients.create_key("acme") for _ in range(2)]
    clients.create_key("gone")
    with engine.begin() as connection:
        connection.execute(text("UPDATE clients SET revoked_at = 1.0 WHERE name = 'gone'"))
        connection.execute(text("UPDATE clients SET weight = 3 WHERE name = 'acme'"))
    yield engine, keys
    engine.dispose()


def rows(engine):
    """Return the rows of the older tables."""
    with engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(Base.metadata.tables[name].select()))) for name in OLD[1:]}


def test_a_database_of_the_release_before_is_taken_over_with_its_rows(old, url):
    engine, keys = old
    before = rows(engine)
    assert sorted(inspect(engine).get_table_names()) == sorted(OLD)
    again = open_database(url)
    assert rows(again) == before
    with again.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    clients = SqlClients(again, SECRET)
    assert [clients.authenticate(key).weight for key in keys] == [3, 3]
    assert clients.authenticate(new_key()) is None
    stores = lasting(again)
    assert stores.identity(stores.space(), "ann").handle == "ann"
    again.dispose()


def test_a_database_goes_back_to_the_release_before_and_forth_again(old, url):
    engine, keys = old
    newer = open_database(url)
    stores = lasting(newer)
    ann = stores.identity(stores.space(), "ann")
    stores.computed(ann, [stores.ready(stores.space(), ann)])
    before = rows(newer)
    newer.dispose()
    move(engine, "0004")
    assert sorted(inspect(engine).get_table_names()) == sorted(OLD)
    assert rows(engine) == before
    again = open_database(url)
    assert SqlClients(again, SECRET).authenticate(keys[0]).name == "acme"
    assert lasting(again).spaces.list_spaces(stores.by.client_id, ALL).total == 0
    again.dispose()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004"])
def test_whatever_revision_a_database_has_its_clients_keep_their_keys(revision, url):
    """A table that is made anew must not take along what refers to it."""
    engine = open_database(url)
    key = SqlClients(engine, SECRET).create_key("acme")
    engine.dispose()
    engine = open_migrated(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=OFF"))
    move(engine, revision)
    engine.dispose()
    again = open_database(url)
    assert SqlClients(again, SECRET).authenticate(key).name == "acme"
    with again.connect() as connection:
        if again.dialect.name == "sqlite":
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    again.dispose()


def test_references_are_kept_in_every_transaction_after_the_migrations(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/timbre.db")
    for one in (engine, writing(engine)):
        with one.connect() as connection:
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1
            assert connection.scalar(text("PRAGMA secure_delete")) == 1
    engine.dispose()
