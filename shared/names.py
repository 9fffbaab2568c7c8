"""Names that two processes must agree on."""


class QueueNames:
    """Celery queues; on Redis each is a list of the same name."""

    JOBS = "jobs"


class TaskNames:
    """Celery tasks, by the names they are sent under."""

    RUN_JOB = "run_job"
