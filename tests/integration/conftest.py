import uuid

import pytest
from sqlalchemy import create_engine, text

from shared.adapters.sql.database import open_database
from shared.settings import Settings
from tests.support.clock import Clock
from tests.support.lasting import lasting
from tests.support.postgres import postgres
from tests.support.records import job_store
from tests.support.workshop import Workshop, decoding, load_nets


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs(redis, clock):
    return job_store(redis, clock)


@pytest.fixture(scope="session")
def postgres_url():
    with postgres() as url:
        yield url


@pytest.fixture
def new_url(request, tmp_path):
    """Make the address of a new database, in SQLite or PostgreSQL."""

    def make(kind):
        name = f"t{uuid.uuid4().hex}"
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        # A schema of the test's own.
        server = Settings(database_url=request.getfixturevalue("postgres_url")).sql_url()
        engine = create_engine(server)
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        engine.dispose()
        return f"{server}&options=-csearch_path%3D{name}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, new_url):
    return new_url(request.param)


@pytest.fixture
def engine(url):
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def acme(engine):
    """The stores of lasting identities, as a client uses them."""
    return lasting(engine)


@pytest.fixture(scope="module")
def nets():
    return load_nets()


@pytest.fixture(scope="module")
def decoder():
    with decoding() as decoder:
        yield decoder


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop_engine(request, tmp_path_factory):
    if request.param == "sqlite":
        yield (engine := open_database(f"sqlite:///{tmp_path_factory.mktemp('sql')}/timbre.db"))
        engine.dispose()
        return
    with postgres() as url:
        engine = open_database(url.replace("postgresql", "postgresql+psycopg", 1))
        yield engine
        engine.dispose()


@pytest.fixture
def shop(shop_engine, redis, clock, tmp_path, nets, decoder):
    """A workshop with real networks, on SQLite and on PostgreSQL."""
    decoder.count = 0
    return Workshop(shop_engine, redis, clock, tmp_path, nets, decoder)
