"""Migrations on databases of earlier releases: forth with their rows, and back again."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, select, text

from shared.adapters.sql.clients import SqlClients
from shared.adapters.sql.database import open_database, open_migrated, writing
from shared.adapters.sql.tables import Base
from shared.domain.keys import new_key
from tests.support.lasting import ALL, SECRET, lasting
from tests.support.revisions import move

#: Tables and columns that the release before did not have.
NEW_TABLES = {"left_recordings", "pending_voices", "verified_sounds"}
NEW_COLUMNS = {
    "api_keys": {"space_id"},
    "identities": {"num_accepted", "num_rejected", "verified_us"},
    "samples": {"sound"},
    "verifications": {"least_llr"},
}
#: Rows as the release before writes them.
OLD_ROWS = (
    "INSERT INTO api_keys (key_hash, client_id, created_at) SELECT 'h', id, created_at FROM clients WHERE name='acme'",
    "INSERT INTO identities (id, space_id, handle, sealed, created_us)"
    " SELECT 'i', space_id, 'of before', sealed, created_us FROM identities WHERE handle = 'ann'",
    "INSERT INTO samples (id, space_id, handle, state, since_us, sealed, created_us)"
    " SELECT 's', space_id, 'of before', state, since_us, sealed, created_us FROM samples",
    "INSERT INTO verifications (id, space_id, identity_id, handle, state, mode, operating_point, model, model_id,"
    " job_id, sealed, created_us) SELECT 'v', space_id, identity_id, 'of before', state, mode, operating_point, model,"
    " model_id, job_id, sealed, created_us FROM verifications",
)


@pytest.fixture
def old(url):
    """A database of the release before, with a client that has two keys and an identity, and a revoked one."""
    engine = open_database(url)
    clients = SqlClients(engine, SECRET)
    keys = [clients.create_key("acme") for _ in range(2)]
    clients.create_key("gone")
    stores = lasting(engine)
    space = stores.space()
    ann = stores.identity(space, "ann")
    stores.settle(stores.performing(space, stores.computed(ann, [stores.ready(space, ann)])))
    with engine.begin() as connection:
        connection.execute(text("UPDATE clients SET revoked_at = 1.0 WHERE name = 'gone'"))
        connection.execute(text("UPDATE clients SET weight = 3 WHERE name = 'acme'"))
    move(engine, "0005")
    yield engine, keys
    engine.dispose()


def rows(engine):
    """Return the rows of all tables of the release before, in its columns."""
    found = {}
    with engine.connect() as connection:
        for name, table in Base.metadata.tables.items():
            if name not in NEW_TABLES:
                columns = [one for one in table.columns if one.name not in NEW_COLUMNS.get(name, ())]
                found[name] = sorted(map(repr, connection.execute(select(*columns))))
    return found


def test_a_database_of_the_release_before_is_taken_over_with_its_rows(old, url):
    engine, keys = old
    before = rows(engine)
    assert all(before[name] for name in NEW_COLUMNS)
    assert not NEW_TABLES.intersection(inspect(engine).get_table_names())
    again = open_database(url)
    assert rows(again) == before
    with again.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    clients = SqlClients(again, SECRET)
    assert [clients.authenticate(key).weight for key in keys] == [3, 3]
    assert clients.authenticate(new_key()) is None
    stores = lasting(again)
    ann = stores.spaces.find_identity(stores.space().id, "ann")
    assert (ann.num_accepted, ann.num_rejected, ann.verified_at, ann.num_verifications) == (0, 0, None, 1)
    assert {one.of for one in stores.verifications.traces_in(stores.space().id, 9)} == {"sample", "verification"}
    (verification,) = stores.verifications.list_verifications(stores.space().id, ALL).items
    assert (verification.least_llr, verification.result.decision) == (None, "accept")
    again.dispose()


def test_the_release_before_writes_into_the_database_of_this_one(old, url):
    again = open_database(url)
    with again.begin() as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
        counted = connection.execute(text("SELECT num_accepted, num_rejected FROM identities WHERE id = 'i'")).one()
    assert counted == (0, 0)
    again.dispose()


def test_a_database_goes_back_to_the_release_before_and_forth_again(old, url):
    engine, keys = old
    before = rows(engine)
    for _ in range(2):
        newer = open_database(url)
        assert SqlClients(newer, SECRET).authenticate(keys[0]).name == "acme"
        newer.dispose()
        move(engine, "0005")
        assert rows(engine) == before


def test_a_key_of_one_space_does_not_open_its_client_to_the_release_before(old, url):
    engine, _ = old
    newer = open_database(url)
    before = rows(newer)["api_keys"]
    key = SqlClients(newer, SECRET).create_group_key("acme", "team")
    newer.dispose()
    move(engine, "0005")
    assert rows(engine)["api_keys"] == before
    again = open_database(url)
    assert SqlClients(again, SECRET).authenticate_group(key) is None
    again.dispose()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
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
