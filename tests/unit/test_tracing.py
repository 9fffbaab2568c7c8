"""Traces: the variables that ask for them, and spans where nobody does."""

import pytest

from shared.domain.errors import SettingsError
from shared.settings import wants_traces
from shared.telemetry import tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
OF_TRACES = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://user:pw@collector/v1/traces?token=x"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "timbre"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT, True),
        (OF_TRACES, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            True,
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_an_endpoint_asks_for_traces_unless_they_are_off(given: dict[str, str], wanted: bool) -> None:
    assert wants_traces(given) is wanted


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER must be otlp or none."),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "user:hunter2@collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be an"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name_and_without_values(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        wants_traces(ENDPOINT | given)
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_while_nobody_traces_spans_do_nothing() -> None:
    assert not tracing.is_on()
    with tracing.span("a span", parent="00-x", attributes={"job.id": "1"}):
        tracing.note({"job.status": "failed"}, name="another", error="code")
        tracing.past("wait", 1.0, parent="")
        assert tracing.traceparent() == ""
        assert tracing.ids() == {}
    with pytest.raises(KeyError), tracing.span("a span"):
        raise KeyError
    tracing.stop()
