"""gunicorn settings: few processes with threads, since requests only wait for Redis, the database or the disk."""

import resource
import sys
from typing import Any

from sqlalchemy.exc import DatabaseError

from api.gunicorn_worker import Worker
from api.keys import make_first_key, unusable
from api.presence import require_agreement
from shared import logs
from shared.adapters.media import open_check
from shared.adapters.redis_depths import open_depths
from shared.adapters.redis_presence import open_seen
from shared.domain.errors import SettingsError
from shared.settings import Settings
from shared.telemetry import exporter, tracing

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
# It would be one thread more in the process that forks, and a file in the home folder.
control_socket_disable = True
# A proxy on this machine would be believed that a part of the path, which it has judged, is none.
forwarder_headers = ""
loglevel = "warning"


def on_starting(_server: object) -> None:
    """Make the first API key before requests come."""
    logs.configure(_settings.log_level)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(_DESCRIPTORS, hard)), hard))
    try:
        tracing.require_packages()
        # With secret, database and uploads elsewhere nobody else makes it, and recordings pass through it.
        _settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Incomplete credentials of S3 end the start; wrong ones do not.
        open_check(_settings)
        require_agreement(_settings, "api")
        make_first_key(_settings)
    except SettingsError as error:
        sys.exit(str(error))
    except (OSError, DatabaseError) as error:
        sys.exit(unusable(error))


def when_ready(_server: object) -> None:
    """Serve the metrics of all API processes; this one makes them and outlives them."""
    url = _settings.redis_url
    exporter.serve(_settings.metrics_address(), "api", [open_depths(url), open_seen(url)])


def child_exit(_server: object, worker: Any) -> None:
    """Keep what an API process counted."""
    exporter.mark_dead(worker.pid)


def worker_exit(_server: object, _worker: object) -> None:
    """Send the last spans of a process that ends."""
    tracing.stop()
