"""Job records in Redis: one hash per job, a few sorted sets, and one Lua script per change of state.

==============================  ===================================================================================
`timbre:job:{id}`               hash: form, kind, trace, name, client, command, media (keyed hash of the upload's key),
                                media_key, dialect, webhook, host, status_only, lane, weight, bytes, bytes_until (ten
                                minutes since 1970), status, step, progress, attempt, fence, worker, ended_by,
                                created, updated, audio_s, output;
                                without client and status, but with withdrawn_from, withdrawn_by and withdrawn_until
                                (ms), what is left of a job while it is being deleted
`timbre:line:{lane}`            clients with jobs that wait, scored by the round of their next turn
`timbre:round:{lane}`           hash: at, the round that the lane is in; came, that in which the last client came
`timbre:queue:{lane}:{client}`  a client's waiting jobs, scored by the time (ms) they were created
`timbre:resting`                jobs that were handed back, scored by the time (ms) they may be taken again
`timbre:claim:{call}`           job that a call of `claim` took, kept for as long as the call may be repeated
`timbre:long:{worker}`          long jobs that a worker runs
`timbre:running`                leased jobs, scored by the time (ms) their lease ends
`timbre:unfinished`             both, scored by the time (ms) they were created
`timbre:unfinished:{client}`    the same of one client, as a set
`timbre:jobs:{client}`          all of a client's jobs, scored by the time (ms) they were created
`timbre:bytes:{client}`         hash: bytes of a client's unfinished jobs, and of its results by when they expire
`timbre:ready`                  tiny value that is written to see whether Redis takes writes
`timbre:rung`                   time (ms) at which the doorbell was last rung by a reaper
`timbre:idempotency:{...}`      hash: job, fingerprint
`timbre:leaving`                ended jobs, scored by the time (ms) their records must be gone, see `redis_file.py`;
                                and `commands`, scored by the time the last one was removed from its record
`timbre:forgetting`             when the last rewrite of Redis's file was begun, for as long as none may follow
==============================  ===================================================================================

A job is taken by turns: each client in a lane's line gives its oldest job, then lines up again one round later, or a
part of a round if it has more weight (start-time fair queueing, Goyal et al. 1996). A client that comes anew stands
behind everybody who is in line, once.

Repeated doorbells and workers that come back from the dead cannot harm a record: the write that ends a job carries the
claim's fencing token and loses if it is stale. The script that ends a job also puts its webhook in the outbox, see
`redis_deliveries.py`. Command, media_key, name, webhook and output are sealed (`sealing.py`), since they hold signed
addresses, names and voices, and Redis writes everything to its disk. Scripts build keys from ids, which needs one
Redis, not a cluster.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from redis import Redis

from shared.adapters.redis_endings import CHANNEL, RedisEndings
from shared.adapters.redis_scripts import Clock, Scripts, redis_clock
from shared.adapters.sealing import Envelope
from shared.dialects import FIRST_DIALECT
from shared.domain.commands import Lane, record_form, to_record
from shared.domain.errors import IdempotencyMismatch, JobQuotaExceeded, SealBroken, TooManyJobs
from shared.domain.jobs import (
    MAX_ATTEMPTS,
    MOST_LOOKED_AT,
    UNKNOWN_KIND,
    Backlog,
    Claim,
    Ended,
    Ending,
    IdempotencyKey,
    Job,
    JobCursor,
    JobFacts,
    JobPage,
    JobSubmission,
    JobSummary,
    PageQuery,
    Reaped,
    Reply,
    Status,
    UnfinishedJob,
    WebhookContent,
    Withdrawal,
)
from shared.domain.sources import MediaUrl
from shared.settings import Settings
from shared.telemetry import tracing

#: Delivery logs are kept this long after the job's end, in seconds.
LOG_TTL_S = 7 * 24 * 3600
#: While jobs wait, the doorbell is rung again this often, in seconds: its messages may have been lost.
RING_AFTER_S = 1.0
_IDEMPOTENCY_S = 24 * 3600
_JOB = "timbre:job:"
#: Longest that a wait goes on without a look at the record: workers of an earlier release announce nothing.
_LOOK_AGAIN_S = 5.0
#: In place of a fence: whoever has the job, or nobody yet.
_ANYBODY = "*"
#: Most jobs that one script looks at, since it holds up everybody else.
_LOOKED_AT_IN_A_SCRIPT = 1000
#: The place before all others in a list of jobs.
_NEWEST = ["+inf", ""]


class RedisJobs:
    """`JobStore` on Redis (7 or Valkey 8, or later).

    Parameters
    ----------
    redis : client that decodes responses.
    envelope : seals what clients say and get.
    lease_s : seconds after which a claim that was not renewed is taken back.
    ttl_s : seconds a finished job is kept.
    deadline_s : seconds after which an unfinished job fails.
    max_unfinished : most unfinished jobs of one client.
    max_bytes : most bytes of one client's unfinished jobs and kept results.
    clock : for tests; Redis's own otherwise.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        envelope: Envelope,
        lease_s: float,
        ttl_s: float,
        deadline_s: float,
        max_unfinished: int,
        max_bytes: int,
        clock: Clock = redis_clock,
    ) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._envelope = envelope
        self._lease_ms = _ms(lease_s)
        self._ttl_ms = _ms(ttl_s)
        self._deadline_ms = _ms(deadline_s)
        self._max_unfinished = max_unfinished
        self._max_bytes = max_bytes
        self._endings = RedisEndings(redis)

    def create(self, job_id: str, client_id: str, submission: JobSubmission) -> Job:
        """Store a new job as created; under an idempotency key that was used before, return the job it made then.

        Raises
        ------
        IdempotencyMismatch, TooManyJobs, JobQuotaExceeded
        """
        webhook = submission.webhook
        idempotency = submission.idempotency_key
        source = submission.command.source
        media_key = source.key if isinstance(source, MediaUrl) else ""
        name = submission.command.source_name
        record = to_record(submission.command)
        answer, *found = self._scripts(
            "create",
            job_id,
            client_id,
            self._envelope.seal(json.dumps(record), job_id),
            self._envelope.tag(media_key, client_id) if media_key else "",
            self._envelope.seal(webhook.url.text, job_id) if webhook else "",
            webhook.url.receiver if webhook else "",
            "1" if webhook and webhook.status_only else "",
            idempotency.fingerprint if idempotency else "",
            _ms(_IDEMPOTENCY_S),
            self._max_unfinished,
            # The deadline is enforced by reapers, who may all be away for a while.
            2 * self._deadline_ms + self._ttl_ms,
            submission.dialect,
            submission.command.lane,
            submission.weight,
            self._max_bytes,
            self._envelope.seal(media_key, job_id) if media_key else "",
            record_form(record),
            submission.command.kind,
            tracing.traceparent(),
            self._envelope.seal(name, job_id) if name else "",
            keys=[_idempotency(client_id, idempotency) if idempotency else ""],
        )
        if answer == "full":
            raise TooManyJobs(f"You have {self._max_unfinished} unfinished jobs; wait until some have ended.")
        if answer == "heavy":
            raise JobQuotaExceeded(
                f"Your jobs and their results take {self._max_bytes / 2**20:g} MiB (TIMBRE_MAX_JOB_BYTES); delete some "
                "jobs, or wait until they expire."
            )
        if answer == "repeated":
            job_id = _same_request(found, idempotency)
        now = _time(found[0]) if answer == "created" else datetime.now(UTC)
        content = webhook.content if webhook else WebhookContent.NOTHING
        return Job(
            id=job_id,
            client_id=client_id,
            status=Status.CREATED,
            created_at=now,
            updated_at=now,
            reply=Reply(submission.dialect, content),
        )

    def recall(self, client_id: str, key: IdempotencyKey) -> str | None:
        """Return the id of the job that a client's idempotency key made, if any; raises IdempotencyMismatch."""
        found = self._redis.hmget(_idempotency(client_id, key), "job", "fingerprint")
        return _same_request(found, key) if found[0] else None  # type: ignore[arg-type]

    def find(self, client_id: str, job_id: str) -> Job | None:
        """Return a client's job; None when unknown, expired, another's, or sealed under another server secret."""
        record: dict[str, str] = self._redis.hgetall(_JOB + job_id)  # type: ignore[assignment]
        with suppress(SealBroken):
            return self._job(job_id, record) if record.get("client") == client_id else None
        return None

    def wait(self, client_id: str, job_id: str, seconds: float) -> Job | None:
        """Return a client's job once it has ended, or as it stands after so many seconds; None as `find`."""
        ends_at = time.monotonic() + seconds
        with self._endings.expected(job_id) as ended:
            while True:
                job = self.find(client_id, job_id)
                left_s = ends_at - time.monotonic()
                if job is None or job.status.terminal or left_s <= 0 or self._endings.stopped:
                    return job
                ended.wait(min(left_s, _LOOK_AGAIN_S))
                ended.clear()

    def stop_waiting(self) -> None:
        """End every `wait`, now and in future, at once: the process is about to end."""
        self._endings.stop()

    def page(self, client_id: str, status: Status | None, which: PageQuery) -> JobPage:
        """Return a page of a client's jobs, newest first; a short one where many others stand between them.

        No more than `MOST_LOOKED_AT` jobs are looked at. A short page has a cursor too, unless it is the last.
        """
        found: list[JobSummary] = []
        place = [str(which.cursor.created_ms), which.cursor.job_id] if which.cursor else _NEWEST
        skip = which.skip
        most = which.take + 1
        for _ in range(MOST_LOOKED_AT // _LOOKED_AT_IN_A_SCRIPT):
            if not place or len(found) == most:
                break
            place, skip, rows = self._scripts(
                "list", client_id, status or "", *place, skip, most - len(found), _LOOKED_AT_IN_A_SCRIPT
            )
            found += [
                JobSummary(job_id, Status(state), _time(created), self._facts(job_id, *facts))
                for job_id, state, created, *facts in rows
            ]
        jobs = found[: which.take]
        if len(found) == most:
            return JobPage(jobs, JobCursor.of(jobs[-1]))
        return JobPage(jobs, JobCursor(int(place[0]), place[1]) if place else None)

    def claim(self, lanes: Sequence[Lane] = tuple(Lane), worker: str = "", most_long: int = 1) -> Claim | None:
        """Claim the job whose turn it is, of the first lane that has one; None when there is none."""
        found = self._scripts("claim", self._lease_ms, _call(), worker, most_long, *lanes)
        if not found:
            return None
        job_id, (client_id, sealed, attempt, fence, lane, form, trace), reply, age_ms, waited_ms = found
        return Claim(
            job_id=job_id,
            client_id=client_id,
            record=json.loads(self._envelope.unseal(sealed, job_id)),
            reply=_reply(*reply),
            attempt=int(attempt),
            fence=int(fence),
            lane=Lane(lane or Lane.SHORT),
            form=int(form or 0),
            age_s=age_ms / 1000,
            waited_s=waited_ms / 1000,
            trace=trace or "",
        )

    def beat(self, claim: Claim, step: str | None = None, progress: int | None = None) -> bool:
        """Renew the lease and note step and progress (%); False when the claim was lost and work must stop."""
        notes = {"step": step, "progress": progress}
        noted = [part for name, value in notes.items() if value is not None for part in (name, value)]
        return bool(self._scripts("beat", claim.job_id, claim.fence, self._lease_ms, *noted))

    def finish(self, claim: Claim, ending: Ending) -> Ended | None:
        """End a claimed job; None, and nothing written, when the claim was lost."""
        return self._end(claim.job_id, claim.fence, ending)

    def end(self, job: UnfinishedJob, ending: Ending) -> Ended | None:
        """End a job that its worker does not; None when it had ended, or is not that claim's any more."""
        return self._end(job.job_id, _ANYBODY if job.fence is None else job.fence, ending)

    def release(self, claim: Claim, *, rest_s: float = 0.0, counted: bool = False) -> bool:
        """Hand the job back, for others to take after `rest_s`; False when the claim was lost.

        `counted` says whether the attempt counts.
        """
        return bool(self._scripts("release", claim.job_id, claim.fence, int(not counted), _ms(rest_s)))

    def withdraw(self, client_id: str, job_id: str) -> Withdrawal | None:
        """Withdraw a client's job from everybody, to delete it; None when another call has it, or nobody.

        The call has it for the length of a lease.
        """
        call = _call()
        media_key = self._media_key(job_id)
        media = [self._envelope.tag(media_key, client_id), media_key] if media_key else ["", ""]
        found = self._scripts("withdraw", job_id, client_id, call, self._lease_ms, self._ttl_ms, CHANNEL, *media)
        if not found:
            return None
        sealed, in_use = found
        return Withdrawal(
            job_id=job_id,
            call=call,
            media_key=media_key,
            media_in_use=bool(in_use),
            output=self._unsealed(sealed, job_id),
        )

    def _media_key(self, job_id: str) -> str | None:
        """Return the key of the upload that a job is made from; records of the release before hold it bare."""
        found: list[str | None] = self._redis.hmget(_JOB + job_id, "media", "media_key")  # type: ignore[assignment]
        bare, sealed = found
        return bare or None if sealed is None else self._unsealed(sealed, job_id)

    def _unsealed(self, sealed: str, job_id: str) -> str | None:
        # What was sealed under another server secret can still be removed, as far as it can be found.
        with suppress(SealBroken):
            return self._envelope.unseal(sealed, job_id) if sealed else None
        return None

    def let_go(self, withdrawal: Withdrawal) -> None:
        """Leave a withdrawn job to the next call at once."""
        self._redis.hdel(_JOB + withdrawal.job_id, "withdrawn_by")

    def delete(self, withdrawal: Withdrawal) -> bool:
        """Remove what is left of a withdrawn job; False when another call has taken it over."""
        return bool(self._scripts("delete", withdrawal.job_id, withdrawal.call))

    def reap(self) -> Reaped:
        """Requeue jobs whose lease ran out; return those that need an end, and how often to ring."""
        rings, lost, late, leases_lost = self._scripts("reap", _ms(RING_AFTER_S), MAX_ATTEMPTS, self._deadline_ms)
        return Reaped(
            rings=rings,
            lost=[
                UnfinishedJob(job_id=job_id, fence=int(fence), reply=_reply(*reply)) for job_id, fence, reply in lost
            ],
            late=[UnfinishedJob(job_id=job_id, reply=_reply(*reply)) for job_id, reply in late],
            leases_lost=leases_lost,
        )

    def backlog(self) -> Backlog:
        """Return how much is waiting; raises RedisError where jobs could not be recorded either."""
        waiting, running, oldest_ms = self._scripts("backlog")
        return Backlog(waiting, running, oldest_ms / 1000)

    def _end(self, job_id: str, fence: int | str, ending: Ending) -> Ended | None:
        body = self._envelope.seal(ending.webhook_body, job_id) if ending.webhook_body else ""
        output = self._envelope.seal(ending.output, job_id)
        record = (
            ending.status.value,
            output,
            self._ttl_ms,
            body,
            ending.webhook_tries,
            _ms(LOG_TTL_S),
            _call(),
            CHANNEL,
            "" if ending.audio_s is None else f"{ending.audio_s:.3f}",
        )
        found = self._scripts("finish", job_id, fence, *record)
        if not found:
            return None
        (kind, lane), age_ms = found
        return Ended(kind or UNKNOWN_KIND, Lane(lane or Lane.SHORT), age_ms / 1000)

    def _job(self, job_id: str, record: dict[str, str]) -> Job:
        return Job(
            id=job_id,
            client_id=record["client"],
            status=Status(record["status"]),
            created_at=_time(record["created"]),
            updated_at=_time(record["updated"]),
            reply=_reply(*map(record.get, ("dialect", "webhook", "status_only"))),
            step=record.get("step"),
            progress=int(record["progress"]) if "progress" in record else None,
            output=self._envelope.unseal(record["output"], job_id) if "output" in record else None,
            facts=self._facts(job_id, *map(record.get, ("kind", "name", "audio_s"))),
        )

    def _facts(self, job_id: str, kind: str | None, name: str | None, audio_s: str | None) -> JobFacts:
        return JobFacts(
            kind=kind,
            name=self._unsealed(name, job_id) if name else None,
            audio_s=float(audio_s) if audio_s else None,
        )


def open_jobs(redis: Redis, settings: Settings) -> RedisJobs:
    """Return the job store as the settings want it."""
    return RedisJobs(
        redis,
        envelope=Envelope(settings.secret_bytes()),
        lease_s=settings.lease_s,
        ttl_s=settings.result_ttl_s,
        deadline_s=settings.job_deadline_s,
        max_unfinished=settings.max_unfinished_jobs,
        max_bytes=settings.max_job_bytes,
    )


def _idempotency(client_id: str, idempotency: IdempotencyKey) -> str:
    return f"timbre:idempotency:{client_id}:{hashlib.sha256(idempotency.key.encode()).hexdigest()}"


def _same_request(found: list[str], idempotency: IdempotencyKey | None) -> str:
    job_id, fingerprint = found
    if idempotency is None or fingerprint != idempotency.fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used for another request; take a new one for this.")
    return job_id


def _reply(dialect: str | None, webhook: str | None, status_only: str | None) -> Reply:
    content = WebhookContent.STATUS if status_only else WebhookContent.RESULT
    return Reply(dialect or FIRST_DIALECT, content if webhook else WebhookContent.NOTHING)


def _call() -> str:
    """Name one call, so that a script which is sent again after a lost reply knows its own work."""
    return uuid.uuid4().hex


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _time(ms: str | int) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
