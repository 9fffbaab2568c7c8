"""Jobs about identities while the database is away: handed back, however often, and done when it is there again."""

import pytest
from sqlalchemy import text

from shared.adapters.sql.database import open_database
from shared.domain.jobs import MAX_ATTEMPTS, Status
from tests.support.postgres import postgres_server
from tests.support.records import LEASE_S
from tests.support.workshop import PEOPLE, Workshop, decoding, load_nets

ANN, ANN_TOO = PEOPLE["ann"]


@pytest.fixture(scope="module")
def nets():
    return load_nets()


@pytest.fixture
def decoder():
    with decoding() as decoder:
        yield decoder


@pytest.fixture
def server():
    with postgres_server() as server:
        yield server


@pytest.fixture
def shop(server, redis, clock, tmp_path, nets, decoder):
    engine = open_database(server.url.replace("postgresql", "postgresql+psycopg", 1))
    yield Workshop(engine, redis, clock, tmp_path, nets, decoder)
    engine.dispose()


def try_again(shop):
    """Let the job rest, then let the worker take it."""
    shop.clock.pass_s(LEASE_S)
    shop.jobs.reap()
    shop.runner.run_all()


@pytest.mark.parametrize("kind", ["enrol", "verify", "search"])
def test_a_database_that_goes_away_in_the_middle_fails_no_job(shop, server, decoder, kind, capsys):
    shop.enrolled("ann", ANN)
    url = shop.upload(ANN_TOO)
    job_id = {"enrol": shop.enrol, "verify": shop.verify}[kind]("ann", url) if kind != "search" else shop.search(url)
    read = decoder.decode

    def decode(*given):
        waveform = read(*given)
        server.stop()
        return waveform

    decoder.decode = decode
    shop.runner.run_all()
    for _ in range(MAX_ATTEMPTS + 1):
        assert shop.job(job_id).status is Status.CREATED
        try_again(shop)
    assert "the database is away" in capsys.readouterr().out
    decoder.decode = read
    server.start()
    try_again(shop)
    assert shop.job(job_id).status is Status.SUCCEEDED
    assert shop.uses()[2:] == {"enrol": ["sample", "enrolment"], "verify": ["verification"], "search": ["search"]}[kind]


def test_jobs_that_need_no_database_go_on_without_it(shop, server):
    job_id = shop.service.submit(shop.by.client_id, shop.submission(shop.voiceprint_of(shop.upload(ANN)))).id
    server.stop()
    try:
        shop.runner.run_all()
        assert shop.job(job_id).status is Status.SUCCEEDED
    finally:
        server.start()


def test_a_sqlite_file_that_stays_locked_fails_no_job(redis, clock, tmp_path, nets, decoder):
    engine = open_database(f"sqlite:///{tmp_path}/timbre.db")
    shop = Workshop(engine, redis, clock, tmp_path, nets, decoder)
    shop.enrolled("ann", ANN)
    job_id = shop.enrol("ann", shop.upload(ANN_TOO))
    with engine.execution_options(writes=True).connect() as connection:
        connection.execute(text("UPDATE spaces SET alias = 'locked'"))
        shop.runner.run_all()
        assert shop.job(job_id).status is Status.CREATED
    try_again(shop)
    assert shop.job(job_id).status is Status.SUCCEEDED
    assert shop.enrolment("ann").num_samples == 2
    engine.dispose()
