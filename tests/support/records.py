"""The job record as these tests want it."""

from shared.adapters.redis_jobs import RedisJobs
from shared.adapters.sealing import Envelope

ENVELOPE = Envelope(b"s" * 32)
LEASE_S = 10.0


def job_store(redis, clock, **changes):
    """Return a job store on `clock`, with the usual limits but for `changes`."""
    usual = {"envelope": ENVELOPE, "lease_s": LEASE_S, "ttl_s": 60, "deadline_s": 3600, "max_unfinished": 100}
    return RedisJobs(redis, clock=clock, **usual | changes)
