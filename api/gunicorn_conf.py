"""gunicorn's settings: one process of threads, since a request only waits for Redis, the database or the disk."""

from api.gunicorn_worker import Worker
from api.keys import make_first_key
from shared.settings import Settings

_settings = Settings.from_env()

bind = _settings.bind
worker_class = Worker
workers = 1
threads = _settings.api_threads
timeout = 60
graceful_timeout = 30
# Our own request log names routes, never paths: an upload's path is its authorization.
accesslog = None
loglevel = "warning"


def on_starting(_server: object) -> None:
    """Make the first API key, before any request can need it."""
    make_first_key(_settings)
