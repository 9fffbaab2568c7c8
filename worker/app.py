"""Celery application of the worker: `celery -A worker.app worker`."""

import sys
import threading
from typing import Any

import structlog
from celery.signals import (
    celeryd_init,
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from shared import logs
from shared.adapters.celery_queue import celery_app
from shared.domain.errors import DatabaseRevisionWrong, ModelInstallError, SettingsError
from shared.settings import Settings
from shared.telemetry import exporter, metrics, tracing
from worker import tasks
from worker.bootstrap import (
    await_agreement,
    await_migrations,
    damaged_models,
    join,
    make_forgetting,
    make_model_list,
    make_presence,
    make_service,
    model_labels,
    require_model,
    segmentation_id,
)
from worker.jobs import alive
from worker.jobs.housekeeping import Housekeeping
from worker.pool import SteadyPool

settings = Settings.from_env()
logs.configure(settings.log_level)
log = structlog.get_logger()
try:
    require_model(settings)
    tracing.require_packages()
    _publish_models = make_model_list(settings)
    _presence = make_presence(settings, "worker")
except (ModelInstallError, SettingsError) as error:
    sys.exit(str(error))

app = celery_app(settings.redis_url)
app.conf.update(
    worker_pool=SteadyPool,
    worker_concurrency=settings.worker_processes,
    # A reserved job would wait behind a long one while another worker idles.
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # A replaced child is killed if it does not report within this time, and it loads its networks first.
    worker_proc_alive_timeout=120,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)
tasks.register(app)
_sign = alive.Sign(settings.data_dir, "worker")
_stopping = False


def _mark_alive() -> None:
    _sign.mark()
    _publish_models()


_housekeeping = Housekeeping(
    make_service(settings),
    forget=make_forgetting(settings),
    mark_alive=_mark_alive,
    lease_s=settings.lease_s,
    agree=_presence.mark,
)


@celeryd_init.connect
def _join(**_: Any) -> None:
    """Wait for what work needs, before the first process is forked; end where others do not agree."""
    try:
        # Three leases: the facts of workers that were killed are kept for two.
        await_agreement(_publish_models, 3 * settings.lease_s)
        join(_presence)
        await_migrations(settings)
    except (SettingsError, DatabaseRevisionWrong) as error:
        _presence.leave()
        sys.exit(str(error))


@setup_logging.connect
def _configure_logs(**_: Any) -> None:
    logs.configure(settings.log_level)


@worker_process_init.connect
def _load(**_: Any) -> None:
    tracing.start("timbre-worker")
    tasks.load_runner(settings)


@worker_process_shutdown.connect
def _end_child(**_: Any) -> None:
    tracing.stop()


@worker_ready.connect
def _ready(**_: Any) -> None:
    _housekeeping.start()
    metrics.put(metrics.WORKER_PROCESSES, settings.worker_processes)
    metrics.put(metrics.MODEL, 1, **model_labels(settings))
    exporter.serve(settings.metrics_address(), "worker")
    for fault in damaged_models(settings):
        log.warning("a model is left out", reason=str(fault))
    log.info("worker ready", processes=settings.worker_processes, segmentation=segmentation_id(settings))


@worker_shutdown.connect
def _ended(**_: Any) -> None:
    _sign.remove()
    _presence.leave()


@worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """Let the jobs in hand finish, for a while; then have them handed back to other workers.

    Celery calls this in its signal handler. A second signal may come while it holds a lock, which would never open.
    """
    global _stopping
    if _stopping:
        return
    _stopping = True
    tasks.take_no_more()
    _housekeeping.stop()
    patience = threading.Timer(settings.grace_s, tasks.hand_back)
    patience.daemon = True
    patience.start()
