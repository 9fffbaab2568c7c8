"""Housekeeping: a round that fails stops no other one."""

import signal
import threading

from sqlalchemy.exc import OperationalError

from shared.domain.errors import SettingsError
from tests.support.client import eventually
from worker.jobs import housekeeping
from worker.jobs.housekeeping import Housekeeping


class Service:
    def __init__(self):
        self.reaped = 0

    def reap(self):
        self.reaped += 1

    def sweep_media(self):
        pass


class Retention:
    """Retention whose database is away, in more than one way."""

    def __init__(self):
        self.settled = 0
        self.expired = 0
        self.hangs = threading.Event()

    def settle(self):
        self.settled += 1
        raise OperationalError("SELECT", {}, Exception("away"))

    @property
    def identities(self):
        return self

    def expire(self):
        self.expired += 1

    def sweep(self):
        self.hangs.wait(60)


def test_a_database_that_is_away_or_hangs_keeps_no_dead_worker_s_job_waiting(monkeypatch, capsys):
    monkeypatch.setattr(housekeeping, "_SETTLE_S", 0.05)
    service = Service()
    retention = Retention()
    keeping = Housekeeping(service, lambda: None, lambda: None, lease_s=0.15, retention=retention)
    keeping.start()
    try:
        eventually(lambda: service.reaped > 3 and retention.settled > 3 and retention.expired > 3)
    finally:
        keeping.stop()
        retention.hangs.set()
    assert "settling failed" in capsys.readouterr().out


def test_a_process_that_learns_that_it_disagrees_with_others_asks_to_be_ended(capsys):
    def disagree():
        raise SettingsError("Other processes have another server secret.")

    told = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    service = Service()
    keeping = Housekeeping(service, lambda: None, lambda: None, lease_s=0.15, agree=disagree)
    try:
        keeping.start()
        eventually(lambda: told == [signal.SIGTERM])
    finally:
        keeping.stop()
        signal.signal(signal.SIGTERM, before)
    assert service.reaped == 0
    assert "Other processes have another server secret." in capsys.readouterr().out
