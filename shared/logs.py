"""Logs: one JSON line per event on stderr, for this service and its libraries."""

import logging
import logging.config
import re
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

from shared.telemetry import tracing


def _with_trace(_logger: object, _name: str, event: EventDict) -> EventDict:
    return {**event, **tracing.ids()}


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    _with_trace,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Without the frames' variables, which hold addresses with their signatures, keys and vectors.
    structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
]


#: Passwords and queries of addresses, API keys, browser tokens and webhook secrets. No event of this service holds
#: any; a library's message or a traceback may.
_SECRETS = re.compile(
    r"""
      (?<=://)[^\s"'\\/?\#@]+@                    # user and password
    | (?<=[^\s"'])\?[^\s"'\\]*=[^\s"'\\]*       # a query
    | (?:sk_|gk_|whsec_)[A-Za-z0-9+/=]{8,}        # API keys and webhook secrets
    | bt_[A-Za-z0-9_.\-]{8,}                       # browser tokens
    | (?<=Bearer\ )[^\s"'\\]+
    | (?<=Basic\ )[^\s"'\\]+
    """,
    re.VERBOSE,
)


def _without_secrets(_logger: object, _name: str, line: Any) -> str:
    return _SECRETS.sub("...", line)


def configure(level: str) -> None:
    """Log events of `level` or above to stderr as JSON."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
            _without_secrets,
        ],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # They log request lines with the signatures of presigned addresses; urllib3 quotes malformed answers in warnings.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    for name in ("celery.app.trace", "celery.worker.strategy", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)
