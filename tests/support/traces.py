"""A receiver of traces, as OpenTelemetry's own protocol has them: OTLP over HTTP, in protobuf."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue


@dataclass(frozen=True)
class Span:
    """One span as it came in; ids are hexadecimal, times in nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]


@dataclass
class TraceReceiver:
    """A running receiver."""

    spans: list[Span] = field(default_factory=list)
    #: Everything that was received, as it was.
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    #: While set, it takes requests and answers none.
    hanging: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        """Value of OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def take(self, body: bytes) -> None:
        """Note the spans of a request."""
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            self.spans += [_span(service, one) for scope in resource.scope_spans for one in scope.spans]

    def of_job(self, job_id: str) -> list[Span]:
        """Return all spans of the trace in which a job was submitted, in order of their starts."""
        traces = {span.trace_id for span in self.spans if span.attributes.get("job.id") == job_id}
        return sorted((one for one in self.spans if one.trace_id in traces), key=lambda span: span.start_ns)


def _span(service: str, one: Any) -> Span:
    return Span(
        service=service,
        name=one.name,
        trace_id=one.trace_id.hex(),
        span_id=one.span_id.hex(),
        parent_id=one.parent_span_id.hex(),
        kind=one.kind,
        start_ns=one.start_time_unix_nano,
        end_ns=one.end_time_unix_nano,
        failed=one.status.code == one.status.STATUS_CODE_ERROR,
        attributes=_values(one.attributes),
    )


def _values(pairs: list[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: TraceReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.receiver.asked.set()
        if self.receiver.hanging.is_set():
            self.receiver.released.wait(60)
            self.close_connection = True
            return
        self.receiver.headers.append(dict(self.headers.items()))
        self.receiver.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving_traces() -> Iterator[TraceReceiver]:
    """Run a receiver on a port of its own."""
    receiver = TraceReceiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": receiver}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
