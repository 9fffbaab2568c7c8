"""Traces of OpenTelemetry, where its standard variables are set; otherwise nothing of it is imported.

A process starts to trace after its fork, and names its end. Spans then begin and end wherever `span` is used. While
nobody traces, all of this does nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from shared.domain.errors import SettingsError
from shared.settings import wants_traces

if TYPE_CHECKING:
    from shared.telemetry.spans import Recorder

#: Position of a span in its trace, in the words of OpenTelemetry.
Kind = Literal["internal", "server", "client", "producer", "consumer"]
#: Facts of a span by their names; None where there is none.
Attributes = Mapping[str, str | int | float | None]

_NONE: Attributes = {}
_recorder: "Recorder | None" = None


def require_packages() -> None:
    """Make sure that this process and its children can trace, if they are asked to; raises SettingsError."""
    if wants_traces():
        _recorder_type()


def start(service: str) -> None:
    """Begin to trace this process, if the variables ask for it; raises SettingsError.

    Parameters
    ----------
    service : its name in traces, unless the variables give another.
    """
    global _recorder
    if wants_traces():
        _recorder = _recorder_type()(service)


def stop() -> None:
    """Send the spans that are left, for some seconds at most; for the end of the process."""
    if _recorder is not None:
        _recorder.stop()


def is_on() -> bool:
    """Tell whether this process traces."""
    return _recorder is not None


@contextmanager
def span(
    name: str, kind: Kind = "internal", *, parent: str | None = None, attributes: Attributes = _NONE
) -> Iterator[None]:
    """Run the body in a span; of an error that leaves it, the type alone is noted.

    Parameters
    ----------
    parent : span that it belongs to, as `traceparent` gives it; empty: it begins a trace; None: that under way.
    """
    if _recorder is None:
        yield
    else:
        with _recorder.span(name, kind, parent, attributes):
            yield


def past(name: str, seconds: float, *, parent: str, attributes: Attributes = _NONE) -> None:
    """Note a span that ends now and lasted so long."""
    if _recorder is not None:
        _recorder.past(name, seconds, parent, attributes)


def note(attributes: Attributes = _NONE, *, name: str | None = None, error: str | None = None) -> None:
    """Add to the span that is under way.

    Parameters
    ----------
    name : its new name.
    error : code of the error that it ends with.
    """
    if _recorder is not None:
        _recorder.note(attributes, name, error)


def traceparent() -> str:
    """Return the span that is under way, in the form of a `traceparent` header (W3C Trace Context); empty if none."""
    return "" if _recorder is None else _recorder.traceparent()


def ids() -> dict[str, str]:
    """Return `trace_id` and `span_id` of the span that is under way, as logs show them; nothing if none is."""
    return {} if _recorder is None else _recorder.ids()


def _recorder_type() -> "type[Recorder]":
    try:
        from shared.telemetry.spans import Recorder
    except ModuleNotFoundError as error:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, but the packages for traces are "
            "not installed: install the extra `traces` of pyproject.toml, or set OTEL_TRACES_EXPORTER=none."
        ) from error
    return Recorder
