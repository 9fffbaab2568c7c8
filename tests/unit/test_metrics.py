"""Metrics and the table that tells of them."""

import re
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from shared.adapters.redis_depths import RedisDepths
from shared.adapters.redis_presence import Seen
from shared.telemetry import exporter, metrics

TABLE = Path("shared/README.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
#: Names that a label may have; each is bounded by the code, or by the list of clients.
LABELS = {
    "attempt", "calibrated", "client", "code", "error", "kind", "lane", "method", "model", "reason", "role", "route",
    "state", "status", "step", "version",
}  # fmt: skip


def counted():
    """Yield name, type, labels and meaning of what processes count."""
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            suffix = "_total" if isinstance(metric, Counter) else ""
            yield metric._name + suffix, metric._type, list(metric._labelnames), metric._documentation


def asked():
    """Yield the same of what is asked for at each scrape."""
    depths = RedisDepths.__new__(RedisDepths)
    depths._scripts = lambda *_: [0, [0, 0], [0, 0], [0, 0]]
    seen = Seen.__new__(Seen)
    seen._scripts = lambda *_: []
    for collector in (exporter._Build("api"), depths, seen):
        for metric in collector.collect():
            yield metric.name, metric.type, list(metric.samples[0].labels), metric.documentation


def rows():
    return [*counted(), *asked()]


def test_the_table_of_metrics_tells_of_each_with_its_labels_and_of_no_other():
    written = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {doc} |"
        for name, kind, labels, doc in rows()
    ]
    assert re.findall(r"^\| `timbre_.*\|$", TABLE, re.MULTILINE) == written


def test_no_label_is_one_that_clients_fill():
    assert {label for _, _, labels, _ in rows() for label in labels} <= LABELS
    named = [name for name, _, labels, _ in rows() if "client" in labels]
    assert all(name.startswith("timbre_client_") for name in named)
