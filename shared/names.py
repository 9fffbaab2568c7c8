"""Names that several processes must share."""

import os
import secrets
import socket
from pathlib import Path


class QueueNames:
    """Celery queues; on Redis each is a list of the same name."""

    JOBS = "jobs"


class TaskNames:
    """Celery tasks, by the names they are sent under."""

    WORK = "work"
    #: A release without turns sends each job by name.
    RUN_JOB = "run_job"


def process_name() -> str:
    """Return a new name for this process."""
    # Containers may have one host's name, and each of them the process id 1.
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def alive_file(data_dir: Path, role: str, pid: int) -> Path:
    """Return the file that a worker or courier of this machine, by `role`, touches while it reaches Redis."""
    return data_dir / "alive" / role / socket.gethostname() / str(pid)
