"""What any edge may ask for."""

import hashlib
from datetime import UTC, datetime

import structlog

from shared.domain.errors import Canceled, JobEnded, NotFound
from shared.domain.jobs import Job, Order, Receipt, new_job_id
from shared.ports import JobStore, MediaStore, Queue
from shared.wire.native import failed_output

log = structlog.get_logger()


def submit(jobs: JobStore, queue: Queue, client_id: str, order: Order) -> Job:
    """Store a job, then ring for a worker.

    The record comes first: once it stands, a lost doorbell only costs time, since the reaper rings again.

    Raises
    ------
    IdempotencyMismatch, TooManyJobs
    """
    job_id = new_job_id()
    job = jobs.create(job_id, client_id, order)
    if job.id == job_id:
        ring(queue, job.id)
    return job


def find(jobs: JobStore, client_id: str, job_id: str) -> Job:
    """Return a client's job.

    Raises
    ------
    NotFound
        There is none, or it is another client's; the two look the same from outside.
    """
    job = jobs.find(client_id, job_id)
    if job is None:
        raise _unknown()
    return job


def cancel(jobs: JobStore, client_id: str, job_id: str) -> Job:
    """End a client's job; its worker stops at its next heartbeat.

    Raises
    ------
    NotFound, JobEnded
    """
    find(jobs, client_id, job_id)
    if not jobs.cancel(job_id, failed_output(Canceled("The job was canceled."))):
        raise JobEnded("The job has ended already; there is nothing to cancel.")
    return find(jobs, client_id, job_id)


def delete(jobs: JobStore, media: MediaStore, client_id: str, job_id: str) -> Receipt:
    """Remove a client's job, its result, its webhook and the upload it was made from.

    The job is withdrawn first: reading and removing its upload may take seconds, in which no worker may end it and no
    webhook may tell of it, and the receipt must name what this call found. Its record goes last: what is left of it
    lets a deletion that broke off be asked for again.

    Raises
    ------
    NotFound
        There is none, it is another client's, or another call is deleting it.
    """
    withdrawal = jobs.withdraw(client_id, job_id)
    if withdrawal is None:
        raise _unknown()
    try:
        media_sha256 = media.remove(client_id, withdrawal.media_key) if withdrawal.media_key else None
    except Exception:
        jobs.let_go(withdrawal)
        raise
    if not jobs.delete(withdrawal):
        raise _unknown()
    return Receipt(
        job_id=job_id,
        deleted_at=datetime.now(UTC),
        output_sha256=hashlib.sha256(withdrawal.output.encode()).hexdigest() if withdrawal.output else None,
        media_sha256=media_sha256,
    )


def reap(jobs: JobStore, queue: Queue) -> None:
    """Take back the jobs of silent workers and ring for those nobody heard of."""
    for job_id in jobs.reap():
        ring(queue, job_id)


def ring(queue: Queue, job_id: str) -> None:
    """Ring for `job_id`; a broken doorbell is logged, never raised, for the record already stands."""
    try:
        queue.ring(job_id)
    except Exception as error:
        log.warning("doorbell failed", job_id=job_id, error=type(error).__name__)


def _unknown() -> NotFound:
    return NotFound("There is no such job; it may have been deleted, as every job is some time after its end.")
