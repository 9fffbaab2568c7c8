"""Thousands of leases lost in one process, with the signal that interrupts real work."""

import json
import subprocess
import sys

LOSSES = 2500


def test_no_interrupt_ever_meets_another_job_than_its_own(redis, redis_server):
    command = [sys.executable, "-m", "tests.support.lost_leases", redis_server.url, str(LOSSES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["lost"] == {"canceled": LOSSES}
    assert figures["interrupted"] > 0
    assert figures["last"] == {"failed": 100}
    assert figures["beating"] == 0
