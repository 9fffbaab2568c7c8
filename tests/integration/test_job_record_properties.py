"""The job record's scripts against a plain model: any order of events, repeated messages, and clocks that jump."""

import uuid
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.adapters.redis_deliveries import RedisDeliveries
from shared.adapters.redis_jobs import RING_AFTER_S, RedisJobs
from shared.domain.errors import IdempotencyMismatch, TooManyJobs
from shared.domain.jobs import MAX_ATTEMPTS, Claim, IdempotencyKey, PageQuery, Status, Withdrawal
from tests.support import records
from tests.support.records import ENVELOPE, HOOK, job_service, submission

LEASE_MS, DEADLINE_MS, MOST = 10_000, 100_000, 2
RING_AFTER_MS = round(RING_AFTER_S * 1000)
CLIENTS = ("ann", "bob")


@dataclass
class Model:
    """What a job's record must hold."""

    client: str
    created_ms: int
    status: str = "created"
    attempt: int = 0
    fence: int = 0
    lease_ms: int = 0
    ends: int = 0
    webhook: bool = False
    claims: list[Claim] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)
    #: Until when a job that was handed back rests.
    rests_ms: int | None = None
    holder: Withdrawal | None = None
    held_until_ms: int = 0


class JobRecord(RuleBasedStateMachine):
    redis = None

    @initialize()
    def start(self):
        self.redis.flushall()
        self.now = 1_000_000
        self.jobs = RedisJobs(
            self.redis,
            envelope=ENVELOPE,
            lease_s=LEASE_MS / 1000,
            ttl_s=360_000,  # lists keep ids for longer than the clock may wander
            deadline_s=DEADLINE_MS / 1000,
            max_unfinished=MOST,
            max_bytes=10**9,
            clock=lambda: self.now,
        )
        self.deliveries = RedisDeliveries(self.redis, ENVELOPE, clock=lambda: self.now)
        self.model: dict[str, Model] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        self.rung_ms = 0
        self.numbers = count(1)

    def unfinished(self, client):
        return [m for m in self.model.values() if m.client == client and m.status in ("created", "running")]

    def end(self, job_id, status):
        self.model[job_id].status = status
        self.model[job_id].ends += 1

    @rule(client=st.sampled_from(CLIENTS), key=st.sampled_from([None, "k1", "k2"]), body=st.sampled_from("xy"),
          webhook=st.booleans())  # fmt: skip
    def create(self, client, key, body, webhook):
        asked = submission(
            "https://example.org",
            HOOK if webhook else None,
            idempotency_key=IdempotencyKey(key, body) if key else None,
        )
        # Jobs of the same moment are taken in the order of their ids, which must not change from run to run.
        job_id = str(uuid.UUID(int=next(self.numbers)))
        used = self.keys.get((client, key))
        if used and used[1] != body:
            with pytest.raises(IdempotencyMismatch):
                self.jobs.create(job_id, client, asked)
        elif used:
            assert self.jobs.create(job_id, client, asked).id == used[0]
        elif len(self.unfinished(client)) >= MOST:
            with pytest.raises(TooManyJobs):
                self.jobs.create(job_id, client, asked)
        else:
            assert self.jobs.create(job_id, client, asked).id == job_id
            assert self.jobs.create(job_id, client, asked).id == job_id  # the reply was lost, and it is asked again
            self.model[job_id] = Model(client, self.now, webhook=webhook)
            if key:
                self.keys[client, key] = (job_id, body)

    def waiting(self, client=None):
        """Jobs that may be taken, the oldest first."""
        of = [(m.created_ms, i) for i, m in self.model.items() if m.status == "created" and m.rests_ms is None
              and client in (None, m.client)]  # fmt: skip
        return [job_id for _, job_id in sorted(of)]

    @rule()
    def claim(self):
        waiting, claim = self.waiting(), self.jobs.claim()
        assert (claim is not None) == bool(waiting)
        if claim:
            model = self.model[claim.job_id]
            assert claim.job_id == self.waiting(model.client)[0]
            model.attempt, model.fence = model.attempt + 1, model.fence + 1
            model.status, model.lease_ms = "running", self.now + LEASE_MS
            assert (claim.attempt, claim.fence) == (model.attempt, model.fence)
            model.claims.append(claim)

    def some_claim(self, data):
        return data.draw(st.sampled_from([c for m in self.model.values() for c in m.claims]))

    def holds(self, claim):
        model = self.model[claim.job_id]
        return model.status == "running" and model.fence == claim.fence

    @precondition(lambda self: any(m.claims for m in self.model.values()))
    @rule(data=st.data())
    def beat(self, data):
        claim = self.some_claim(data)
        assert self.jobs.beat(claim, "step") == self.holds(claim)
        if self.holds(claim):
            self.model[claim.job_id].lease_ms = self.now + LEASE_MS

    @precondition(lambda self: any(m.claims for m in self.model.values()))
    @rule(data=st.data(), status=st.sampled_from([Status.SUCCEEDED, Status.FAILED]))
    def finish(self, data, status):
        claim = self.some_claim(data)
        held = self.holds(claim)
        assert bool(records.finish(self.jobs, claim, status, {"by": claim.fence})) == held
        if held:
            self.end(claim.job_id, status.value)

    @precondition(lambda self: any(m.claims for m in self.model.values()))
    @rule(data=st.data(), counted=st.booleans(), rest_s=st.sampled_from([0, 3]))
    def release(self, data, counted, rest_s):
        claim = self.some_claim(data)
        held, model = self.holds(claim), self.model[claim.job_id]
        assert self.jobs.release(claim, counted=counted, rest_s=rest_s) == held
        if held:
            model.status, model.attempt = "created", model.attempt - (not counted)
            model.rests_ms = self.now + rest_s * 1000 if rest_s else None

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def cancel(self, data):
        job_id = data.draw(st.sampled_from(list(self.model)))
        alive = self.model[job_id].status in ("created", "running")
        assert bool(records.cancel(self.jobs, job_id, {"error": "canceled"})) == alive
        if alive:
            self.end(job_id, "canceled")

    @precondition(lambda self: self.model)
    @rule(data=st.data(), stranger=st.booleans())
    def withdraw(self, data, stranger):
        job_id = data.draw(st.sampled_from(list(self.model)))
        model = self.model[job_id]
        held = model.holder and self.now < model.held_until_ms
        withdrawal = self.jobs.withdraw("eve" if stranger else model.client, job_id)
        assert (withdrawal is None) == bool(stranger or held)
        if withdrawal:
            assert (withdrawal.output is not None) == (model.ends == 1)
            model.status, model.holder, model.held_until_ms = "withdrawn", withdrawal, self.now + LEASE_MS
            model.withdrawals.append(withdrawal)

    def some_withdrawal(self, data):
        return data.draw(st.sampled_from([w for m in self.model.values() for w in m.withdrawals]))

    @precondition(lambda self: any(m.withdrawals for m in self.model.values()))
    @rule(data=st.data())
    def let_go(self, data):
        withdrawal = self.some_withdrawal(data)
        self.jobs.let_go(withdrawal)
        self.model[withdrawal.job_id].holder = None

    @precondition(lambda self: any(m.withdrawals for m in self.model.values()))
    @rule(data=st.data())
    def delete(self, data):
        withdrawal = self.some_withdrawal(data)
        model = self.model[withdrawal.job_id]
        taken_over = model.holder not in (None, withdrawal)
        assert self.jobs.delete(withdrawal) != taken_over
        if not taken_over:
            assert self.jobs.delete(withdrawal)  # the reply was lost, and it is asked again
            assert self.jobs.withdraw(model.client, withdrawal.job_id) is None
            assert self.redis.keys(f"timbre:*{withdrawal.job_id}*") == []
            del self.model[withdrawal.job_id]

    @rule()
    def reap(self):
        service = job_service(self.jobs)
        rings = self.rings()
        service.reap()
        assert service.queue.rung == rings
        for job_id, model in self.model.items():
            lost = model.status == "running" and model.lease_ms <= self.now
            late = model.status in ("created", "running") and model.created_ms <= self.now - DEADLINE_MS
            if lost or late:
                self.end(job_id, "failed")

    def rings(self):
        """Let jobs wait again whose lease or rest is over; returns how often that rings."""
        rings = 0
        for model in self.model.values():
            lost = model.status == "running" and model.lease_ms <= self.now and model.attempt < MAX_ATTEMPTS
            rested = model.status == "created" and model.rests_ms is not None and model.rests_ms <= self.now
            if lost or rested:
                model.status, model.rests_ms, rings = "created", None, rings + 1
        if not rings and self.waiting() and self.now - self.rung_ms >= RING_AFTER_MS:
            rings = 1
        if rings:
            self.rung_ms = self.now
        return rings

    @rule(client=st.sampled_from(CLIENTS), status=st.sampled_from([None, *Status]), take=st.integers(1, 3))
    def list(self, client, status, take):
        there = {i: m for i, m in self.model.items() if m.client == client and m.status != "withdrawn"}
        wanted = {i: m for i, m in there.items() if status in (None, m.status)}
        page = self.jobs.page(client, status, PageQuery(take=take))
        found = [*page.jobs]
        while page.cursor:
            page = self.jobs.page(client, status, PageQuery(take=take, cursor=page.cursor))
            found += page.jobs
        assert [job.id for job in found] == sorted(wanted, key=lambda i: (wanted[i].created_ms, i), reverse=True)

    @rule(ms=st.one_of(st.integers(-30_000, 30_000), st.sampled_from([RING_AFTER_MS, LEASE_MS, DEADLINE_MS])))
    def clock_moves(self, ms):
        self.now += ms

    @precondition(lambda self: self.tired())
    @rule(data=st.data())
    def another_worker_takes_over(self, data):
        job_id = data.draw(st.sampled_from(self.tired()))
        stale = self.model[job_id].claims[-1]
        self.now = max(self.now, self.model[job_id].lease_ms)
        self.reap()
        while self.model[job_id].status == "created":
            self.claim()
        if self.model[job_id].status == "running":
            assert not self.jobs.beat(stale)
            assert not records.finish(self.jobs, stale, Status.SUCCEEDED, {"by": "the dead"})

    def tired(self):
        return [i for i, m in self.model.items() if m.status == "running" and m.attempt < MAX_ATTEMPTS]

    @invariant()
    def the_record_is_as_the_model_says(self):
        for job_id, model in self.model.items():
            job = self.jobs.find(model.client, job_id)
            ttl_s, webhook = self.redis.ttl(f"timbre:job:{job_id}"), self.redis.exists(f"timbre:delivery:{job_id}")
            if model.status == "withdrawn":
                assert (job, webhook) == (None, 0)
                assert ttl_s > 0
            else:
                assert job.status == model.status
                assert (job.output is not None) == job.status.terminal
                assert model.ends == int(job.status.terminal)
                assert ttl_s == -1 or job.status.terminal
                assert webhook == int(model.webhook and job.status.terminal)

    @invariant()
    def the_sets_hold_exactly_the_unfinished(self):
        model = self.model
        by_status = {s: {i for i, m in model.items() if m.status == s} for s in ("created", "running")}
        queued = {client: self.redis.zrange(f"timbre:queue:short:{client}", 0, -1) for client in CLIENTS}
        assert queued == {client: self.waiting(client) for client in CLIENTS}
        assert set(self.redis.zrange("timbre:line:short", 0, -1)) == {client for client in CLIENTS if queued[client]}
        assert set(self.redis.zrange("timbre:resting", 0, -1)) == by_status["created"] - set(self.waiting())
        assert set(self.redis.zrange("timbre:running", 0, -1)) == by_status["running"]
        assert set(self.redis.zrange("timbre:unfinished", 0, -1)) == by_status["created"] | by_status["running"]
        for client in CLIENTS:
            assert len(self.redis.smembers(f"timbre:unfinished:{client}")) == len(self.unfinished(client))


def test_no_asked_of_events_breaks_the_record(redis):
    JobRecord.redis = redis
    run_state_machine_as_test(
        JobRecord,
        settings=settings(
            max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
