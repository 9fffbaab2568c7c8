"""Spans as OpenTelemetry records and sends them; imported where traces are asked for, and nowhere else."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared import __version__
from shared.telemetry.tracing import Attributes, Kind

#: Seconds that a process which ends gives the receiver of its last spans.
_LAST_S = 3.0
_W3C = TraceContextTextMapPropagator()

log = structlog.get_logger()


class Recorder:
    """Recorder of a process's spans, which a thread of its own sends; made after the fork.

    Parameters
    ----------
    service : name of the process in traces, unless the environment gives another.
    """

    def __init__(self, service: str) -> None:
        # They quote addresses and headers, which may hold passwords.
        for name in ("opentelemetry.exporter", "opentelemetry.util"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        given = OTELResourceDetector().detect().attributes
        resource = Resource.create({"service.name": service, "service.version": __version__, **given})
        # At the exit of an interpreter no thread can be started any more, which `stop` needs.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter()))
        self._tracer = self._provider.get_tracer("timbre", __version__)

    def stop(self) -> None:
        """Send the spans that are left; a receiver that hangs is waited for some seconds only."""
        # The library would wait for half a minute.
        sending = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(_LAST_S)

    @contextmanager
    def span(self, name: str, kind: Kind, parent: str | None, attributes: Attributes) -> Iterator[None]:
        """Run the body in a span, see `tracing.span`."""
        with self._tracer.start_as_current_span(
            name,
            context=_context(parent),
            kind=trace.SpanKind[kind.upper()],
            attributes=_known(attributes),
            # Messages may hold addresses and names.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                _fail(span, type(error).__name__)
                raise

    def past(self, name: str, seconds: float, parent: str, attributes: Attributes) -> None:
        """Note a span that ends now, see `tracing.past`."""
        began_ns = time.time_ns() - round(seconds * 1e9)
        context = _context(parent)
        self._tracer.start_span(name, context=context, attributes=_known(attributes), start_time=began_ns).end()

    def note(self, attributes: Attributes, name: str | None, error: str | None) -> None:
        """Add to the span that is under way."""
        span = trace.get_current_span()
        span.set_attributes(_known(attributes))
        if name is not None:
            span.update_name(name)
        if error is not None:
            _fail(span, error)

    def traceparent(self) -> str:
        """Return the span that is under way as a `traceparent` header."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent", "")

    def ids(self) -> dict[str, str]:
        """Return the ids of the span that is under way, in hexadecimal."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }


class _Exporter(OTLPSpanExporter):
    """Exporter that tells of a failure in a line without addresses."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            log.warning("spans were lost: the receiver of traces is away or refuses them", num_spans=len(spans))
        return result


def _context(parent: str | None) -> Context | None:
    """Return the context of a parent; one that is malformed is none."""
    return None if parent is None else _W3C.extract({"traceparent": parent}, context=Context())


def _known(attributes: Attributes) -> dict[str, str | int | float]:
    return {name: value for name, value in attributes.items() if value is not None}


def _fail(span: trace.Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(trace.StatusCode.ERROR)
