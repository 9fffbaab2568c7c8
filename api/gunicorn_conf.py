"""gunicorn settings: few processes with threads, since requests only wait for Redis, the database or the disk."""

import resource
import sys

from sqlalchemy.exc import DatabaseError

from api.gunicorn_worker import Worker
from api.keys import make_first_key, unusable
from shared import logs
from shared.domain.errors import SettingsError
from shared.settings import Settings

_settings = Settings.from_env()

bind = _settings.bind
worker_class = Worker
workers = _settings.api_processes
threads = _settings.api_threads
#: Connections of a process, the slow and idle ones included; each takes a descriptor, and a download another.
worker_connections = 2000
_DESCRIPTORS = 3 * worker_connections
timeout = 60
graceful_timeout = 30
# The API logs requests itself, by route and not by path: an upload's path is its authorization.
accesslog = None
loglevel = "warning"


def on_starting(_server: object) -> None:
    """Make the first API key before requests come."""
    logs.configure(_settings.log_level)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(_DESCRIPTORS, hard)), hard))
    try:
        make_first_key(_settings)
    except SettingsError as error:
        sys.exit(str(error))
    except (OSError, DatabaseError) as error:
        sys.exit(unusable(error))
