import pytest

from tests.support.clock import Clock
from tests.support.records import job_store


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs(redis, clock):
    return job_store(redis, clock)
