"""Alerts, dashboard and autoscaler: alerts fire when they should, and all of them name what exists."""

import re
import subprocess
from itertools import combinations

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from api import errors as _errors  # noqa: F401
from shared.domain.commands import Lane
from shared.domain.delivery import DeliveryState
from shared.domain.errors import concrete_errors
from shared.domain.jobs import Status
from shared.telemetry import metrics
from tests.support.prometheus import (
    DEPLOY,
    dashboard,
    drawn,
    expressions,
    grouped,
    program,
    rules,
    scaled,
    selectors,
    unknown,
)
from tests.support.readme import DOCUMENTS

GUIDE = DOCUMENTS["shared/deploy/README.md"]
HEADING = "shared/deploy/README.md#what-to-watch-and-what-to-do"
#: Gauges that are made at each scrape -> their labels.
ASKED = {
    "timbre_build_info": {"version", "role"},
    "timbre_queue_jobs": {"lane"},
    "timbre_queue_oldest_seconds": {"lane"},
    "timbre_jobs_running": set(),
    "timbre_webhooks_due": set(),
    "timbre_webhooks_oldest_seconds": set(),
    "timbre_processes_seen": {"role"},
}
#: Samples of a series, one a minute; of an alert about what may be short, one for each of Prometheus's scrapes.
MINUTES = 120
SCRAPE_S = 15
STEADY = f"0+60x{MINUTES}"
#: Series of a service that is well.
HEALTHY = {
    'up{job="api", instance="one"}': f"1x{MINUTES}",
    'up{job="api", instance="two"}': f"1x{MINUTES}",
    'up{job="worker"}': f"1x{MINUTES}",
    'up{job="courier"}': f"1x{MINUTES}",
    'timbre_processes_seen{role="worker"}': f"2x{MINUTES}",
    'timbre_processes_seen{role="courier"}': f"1x{MINUTES}",
    'timbre_requests_total{route="/v1/voiceprint", status="200"}': STEADY,
    'timbre_requests_total{route="/readyz", status="200"}': STEADY,
    'timbre_queue_oldest_seconds{lane="short"}': f"5x{MINUTES}",
    'timbre_queue_oldest_seconds{lane="long"}': f"1200x{MINUTES}",
    'timbre_jobs_ended_total{job="worker", status="succeeded", code="none"}': STEADY,
    'timbre_jobs_ended_total{job="worker", status="failed", code="not_audio"}': STEADY,
    'timbre_jobs_handed_back_total{reason="stopping"}': STEADY,
    "timbre_leases_lost_total": f"1x{MINUTES}",
    'timbre_database_errors_total{error="IntegrityError"}': STEADY,
    "timbre_webhooks_oldest_seconds": f"0x{MINUTES}",
    'timbre_deliveries_total{state="delivered", reason="none"}': STEADY,
    'timbre_deliveries_total{state="pending", reason="http_error"}': STEADY,
    'timbre_model_info{model="ge2e", calibrated="yes", instance="one"}': f"1x{MINUTES}",
    'timbre_model_info{model="ge2e", calibrated="yes", instance="two"}': f"1x{MINUTES}",
    'timbre_build_info{version="1.0.0", role="api"}': f"1x{MINUTES}",
    'timbre_build_info{version="1.0.0", role="worker"}': f"1x{MINUTES}",
}
FAILED = 'timbre_jobs_ended_total{job="worker", status="failed", code="internal_error"}'
#: Alert -> series that make it fire, beside or in place of the healthy ones.
ILL = {
    "TimbreNotWatched": {'up{job="courier"}': f"_x{MINUTES}"},
    # A container that has ended is not scraped any more.
    "TimbreProcessGone": {'up{job="api", instance="two"}': "1x100 stale"},
    "TimbreProcessDown": {'up{job="worker"}': f"1x100 0x{MINUTES}"},
    "TimbreNoWorker": {'timbre_processes_seen{role="worker"}': f"2x100 0x{MINUTES}"},
    "TimbreNoCourier": {'timbre_processes_seen{role="courier"}': f"1x100 0x{MINUTES}"},
    "TimbreShortJobsWait": {'timbre_queue_oldest_seconds{lane="short"}': "0x110 20+60x10"},
    "TimbreLongJobsWait": {'timbre_queue_oldest_seconds{lane="long"}': "1200x80 1200+60x40"},
    # Its first failure is there at once, with 1.
    "TimbreJobsFail": {FAILED: "_x117 1x10"},
    "TimbreLeasesLost": {"timbre_leases_lost_total": "1x110 2+1x10"},
    "TimbreJobsHandedBack": {'timbre_jobs_handed_back_total{reason="worker_unavailable"}': "0x110 1+1x10"},
    "TimbreServerErrors": {'timbre_requests_total{route="/v1/voiceprint", status="500"}': "0x100 0+6x20"},
    "TimbreWebhooksWait": {"timbre_webhooks_oldest_seconds": "0x110 60+60x10"},
    "TimbreWebhooksFail": {'timbre_deliveries_total{state="exhausted", reason="http_error"}': "0x20 0+30x100"},
    "TimbreModelsDiffer": {'timbre_model_info{model="titanet_large", calibrated="yes"}': f"1x{MINUTES}"},
    "TimbreReleasesDiffer": {'timbre_build_info{version="1.1.0", role="worker"}': f"1x{MINUTES}"},
}
#: The same, with a sample for each scrape.
ILL_NOW = {
    "TimbreNotReady": {'timbre_requests_total{route="/readyz", status="503"}': "0x110 1+6x10"},
    "TimbreRedisErrors": {'timbre_redis_errors_total{error="ConnectionError"}': "_x100 1+2x20"},
    "TimbreDatabaseErrors": {'timbre_database_errors_total{error="OperationalError"}': "_x100 1+2x20"},
}
#: Containers that have ended -> the alert.
GONE = {
    "the only courier": ({'up{job="courier"}': "1x100 stale"}, {"TimbreNotWatched"}),
    "the only stream": ({'up{job="stream"}': "1x100 stale"}, {"TimbreNotWatched"}),
    "one of two streams": (
        {'up{job="stream", instance="one"}': "1x100 stale", 'up{job="stream", instance="two"}': f"1x{MINUTES}"},
        {"TimbreProcessGone"},
    ),
}
#: Signs that are too weak, or too short, for an alert.
PASSING = {
    "a scrape fails": {'up{job="worker"}': "1x119 0"},
    "a worker is replaced": {'timbre_processes_seen{role="worker"}': "2x118 0 2"},
    "a burst of short jobs": {'timbre_queue_oldest_seconds{lane="short"}': "0x118 70 70"},
    "a few server errors": {'timbre_requests_total{route="/v1/voiceprint", status="503"}': "0x100 0+1x20"},
    "a container is replaced": {
        'up{job="api", instance="two"}': "1x100 stale",
        'up{job="api", instance="three"}': "_x98 1x30",
    },
    "one API was always enough": {'up{job="api", instance="two"}': f"_x{MINUTES}"},
    "old failures": {FAILED: f"7x{MINUTES}"},
    "old failures of a worker that was found just now": {'up{job="worker"}': "_x110 1x20", FAILED: "_x110 7x20"},
    "old failures of a worker that was away": {
        'up{job="worker"}': "1x90 stale _x18 1x20",
        FAILED: "7x90 stale _x18 7x20",
    },
    "old failures of a worker that hung": {'up{job="worker"}': "1x90 0x18 1x20", FAILED: "7x90 stale _x18 7x20"},
    "a lease is lost": {"timbre_leases_lost_total": "1x110 2x10"},
    "one receiver is away": {'timbre_deliveries_total{state="exhausted", reason="http_error"}': "0+1x120"},
    "a roll-out": {'timbre_build_info{version="1.1.0", role="worker"}': "_x90 1x30"},
}
#: A failover of half a minute, with a sample for each scrape.
FAILOVER = {
    'timbre_redis_errors_total{error="ConnectionError"}': "0x60 10 20x60",
    'timbre_database_errors_total{error="OperationalError"}': "0x60 10 20x60",
    'timbre_requests_total{route="/readyz", status="503"}': "0x60 2 4x60",
    'timbre_requests_total{route="/v1/voiceprint", status="503"}': "0x60 60 120x60",
}


def firing(folder, changed, step_s=60, window_s=60):
    """Return the alerts that fire within the last `window_s` of these series, whose samples are `step_s` apart."""
    wanted = f"count by (alertname) (max_over_time(ALERTS{{alertstate='firing'}}[{window_s}s]))"
    case = {
        "interval": f"{step_s}s",
        "input_series": [{"series": name, "values": values} for name, values in (HEALTHY | changed).items()],
        "promql_expr_test": [{"expr": wanted, "eval_time": f"{MINUTES * step_s}s", "exp_samples": []}],
    }
    file = folder / "case.yml"
    rule_files = {"rule_files": [str(DEPLOY / "alerts.yml")], "evaluation_interval": f"{step_s}s"}
    file.write_text(yaml.safe_dump(rule_files | {"tests": [case]}))
    done = subprocess.run([program("promtool"), "test", "rules", file], capture_output=True, text=True)
    told = done.stdout + done.stderr
    found = set(re.findall(r'alertname="(\w+)"', told))
    assert found or done.returncode == 0, told
    return found


def exported():
    """Return the labels of each series that the metrics of the code may have, by its name."""
    defined = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    labels = {name: set(metric._labelnames) for metric in defined for name in series(metric)}
    return {name: of | {"le"} if name.endswith("_bucket") else of for name, of in labels.items()} | ASKED


def series(metric):
    """Return the names of the series of a metric."""
    (described,) = metric.describe()
    ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(described.type, [""])
    return [f"{described.name}{end}" for end in ends]


def alternatives(label):
    """Return the values that expressions compare a label with."""
    found = [one.matchers.get(label, "") for text in expressions().values() for one in selectors(text)]
    return {value for values in found for value in values.split("|") if value}


def test_prometheus_takes_the_rules():
    subprocess.run([program("promtool"), "check", "rules", DEPLOY / "alerts.yml"], check=True)


def test_no_alert_fires_for_a_service_that_is_well(tmp_path):
    assert firing(tmp_path, {}) == set()


def test_each_alert_has_a_sign_that_makes_it_fire():
    assert ILL.keys() | ILL_NOW.keys() == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("alert", ILL)
def test_an_alert_fires_alone(alert, tmp_path):
    assert firing(tmp_path, ILL[alert]) == {alert}


@pytest.mark.parametrize("alert", ILL_NOW)
def test_an_alert_of_what_may_be_short_fires_alone(alert, tmp_path):
    assert firing(tmp_path, ILL_NOW[alert], SCRAPE_S) == {alert}


@pytest.mark.parametrize("gone", GONE)
def test_a_container_that_has_ended_is_missed(gone, tmp_path):
    changed, alerts = GONE[gone]
    assert firing(tmp_path, changed) == alerts


def test_a_short_failover_is_no_alert(tmp_path):
    assert firing(tmp_path, FAILOVER, SCRAPE_S, MINUTES * SCRAPE_S) == set()


@pytest.mark.parametrize("sign", PASSING)
def test_no_alert_fires_for_what_passes(sign, tmp_path):
    assert firing(tmp_path, PASSING[sign]) == set()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do_and_where_to_read_on(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["annotations"]["description"].endswith(f"See {HEADING}.")
    assert f"| `{rule['alert']}` |" in GUIDE


def test_expressions_name_metrics_and_labels_that_exist():
    there = exported()
    assert {name: wrong for name, text in expressions().items() if (wrong := unknown(text, there))} == {}


def test_a_name_or_a_label_that_no_metric_has_is_found():
    wrong = 'sum by (client) (timbre_leases_lost_total{code="a"}) + timbre_lost'
    assert unknown(wrong, exported()) == ['timbre_leases_lost_total{code="a"}', "timbre_lost", "client"]


def test_expressions_compare_labels_with_values_that_exist():
    assert alternatives("code") <= {error.code for error in concrete_errors()}
    assert alternatives("lane") <= set(Lane)
    assert alternatives("state") <= set(DeliveryState)
    assert alternatives("status") - {"5..", "[45]..", "503"} <= set(Status)
    assert alternatives("role") <= {"worker", "courier"}


def test_legends_name_labels_that_their_series_have():
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped(target["expr"]), target


def test_every_metric_is_drawn():
    used = {selector.name for _, expression in drawn() for selector in selectors(expression)}
    assert {name for name in exported() if name not in used and not name.endswith(("_sum", "_count"))} == set()


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_every_panel_asks_the_data_source_that_is_chosen():
    (variable,) = dashboard()["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    for panel in dashboard()["panels"]:
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_autoscaler_names_each_rule_and_asks_one_prometheus():
    assert len({trigger["name"] for trigger in scaled()}) == len(scaled())
    assert {trigger["type"] for trigger in scaled()} == {"prometheus"}
    assert all(float(trigger["metadata"]["threshold"]) > 0 for trigger in scaled())
