"""Job records and services as tests want them."""

import json
from contextlib import suppress

from shared.adapters.redis_jobs import RedisJobs
from shared.adapters.sealing import Envelope
from shared.dialects import speak
from shared.dialects.base import compact
from shared.domain.addresses import HttpUrl
from shared.domain.commands import CreateVoiceprint
from shared.domain.errors import SealBroken
from shared.domain.jobs import Ending, JobSubmission, Reply, Status, UnfinishedJob, Webhook
from shared.domain.sources import parse_source
from shared.job_service import JobService

ENVELOPE = Envelope(b"s" * 32)
LEASE_S = 10.0
DIALECTS = speak("hex")
DIALECT = DIALECTS["pyannoteai"]
HOOK = "https://receiver.example/hook"


def job_store(redis, clock, **changes):
    """Return a job store on `clock`, with the usual limits but for `changes`."""
    usual = {"envelope": ENVELOPE, "lease_s": LEASE_S, "ttl_s": 60, "deadline_s": 3600}
    usual |= {"max_unfinished": 100, "max_bytes": 10**6}
    return RedisJobs(redis, clock=clock, **usual | changes)


class ToyQueue:
    """Queue that counts how often it rings, and reaches nobody."""

    def __init__(self):
        self.rung = 0

    def ring(self):
        self.rung += 1


def job_service(jobs, *, media=None, deliveries=None, queue=None):
    """Return a service on a job store."""
    queue = queue or ToyQueue()
    return JobService(jobs=jobs, deliveries=deliveries, queue=queue, media=media, dialects=DIALECTS)


def submission(url="media://a", webhook=None, *, model=None, status_only=False, **options):
    """Return the submission of a voiceprint job."""
    return JobSubmission(
        command=CreateVoiceprint(source=parse_source(url), model=model),
        dialect=DIALECT.name,
        webhook=Webhook(HttpUrl.parse(webhook), status_only) if webhook else None,
        **options,
    )


def ending(job_id, status, output, *, webhook=True, status_only=False):
    """Return the end of a job with `output` as its dialect writes it."""
    text = compact(output)
    body = DIALECT.webhook_body(job_id, status, None if status_only else text) if webhook else ""
    return Ending(status=status, output=text, webhook_body=body, webhook_tries=len(DIALECT.delays_s))


def claim(jobs, job_id):
    """Claim this very job, whichever others wait; None when it does not wait."""
    others = []
    while (found := _next(jobs)) and found.job_id != job_id:
        others.append(found)
    for other in others:
        jobs.release(other)
    return found


def _next(jobs):
    """Claim a job, passing over those of another test's service."""
    while True:
        with suppress(SealBroken):
            return jobs.claim(most_long=10**6)


def finish(jobs, claim, status, output):
    """End a claimed job with `output`."""
    status_only = claim.reply.webhook == "status"
    return jobs.finish(claim, ending(claim.job_id, status, output, status_only=status_only))


def cancel(jobs, job_id, output, *, status_only=False):
    """Cancel a job with `output`."""
    unfinished = UnfinishedJob(job_id=job_id, reply=Reply(DIALECT.name))
    return jobs.end(unfinished, ending(job_id, Status.CANCELED, output, status_only=status_only))


def output(job):
    """Return the output of a job; None when it has not ended."""
    return None if job.output is None else json.loads(job.output)
