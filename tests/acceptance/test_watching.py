"""Dashboard, alerts and autoscaler ask for what a running service exports, and a real Prometheus evaluates them."""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import yaml
from redis import Redis
from sqlalchemy import make_url

from shared.local.stack import Stack, free_port
from shared.telemetry.exporter import ROLES
from tests.support.client import Client, Json, eventually
from tests.support.prometheus import DEPLOY, drawn, expressions, program, scaled, selectors, unknown
from tests.support.receiver import receiving
from tests.support.scrapes import Samples, free_ports, scrape
from tests.support.servers import AudioHost, audio_host, gated
from tests.support.sounds import DATA
from tests.support.stacks import LOOPBACK, first_client, make_client, running

POSTS_PER_MINUTE = 20


@dataclass(frozen=True)
class Watched:
    """A service that has met what metrics tell of."""

    stack: Stack
    client: Client
    host: AudioHost

    def series(self) -> dict[str, set[str]]:
        """Return the labels of each series that the four addresses tell, by its name."""
        found: dict[str, set[str]] = {}
        for name, labels in Samples(*(scrape(str(self.stack.settings.metrics_bind), role) for role in ROLES)):
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    options = {
        "metrics_bind": free_ports(),
        "stream_bind": f"127.0.0.1:{free_port()}",
        "name_clients": True,
        "posts_per_minute": POSTS_PER_MINUTE,
    }
    with running(tmp_path_factory.mktemp("watched"), **LOOPBACK, **options) as stack, audio_host() as host:
        service = Watched(stack, first_client(stack), host)
        work(service)
        fail(service)
        yield service


@pytest.fixture(scope="module")
def prometheus(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes the service each second, with the alerts."""
    folder = tmp_path_factory.mktemp("prometheus")
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    jobs = [
        {"job_name": role, "static_configs": [{"targets": [address]}]}
        for role, address in addresses(watched.stack).items()
    ]
    config = {"global": every, "rule_files": [str(DEPLOY / "alerts.yml")], "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def addresses(stack: Stack) -> dict[str, str]:
    """Return the address of the metrics of each role."""
    host, _, first = str(stack.settings.metrics_bind).rpartition(":")
    return {role: f"{host}:{int(first) + number}" for number, role in enumerate(ROLES)}


def work(service: Watched) -> None:
    """Have jobs of both lanes done, a webhook tried twice, and a job refused."""
    client = service.client
    talk = client.upload("talk.flac", (DATA / "conversation.flac").read_bytes())
    with receiving("500", "200") as receiver:
        assert client.run(talk, webhook=receiver.url)["status"] == "succeeded"
        eventually(lambda: len(receiver.posts) == 2)
    assert client.wait(client.post("/v1/diarize", url=talk).json()["jobId"], 60)["status"] == "succeeded"
    assert client.run(service.host.serve("page.html", b"<html>"))["status"] == "failed"


def fail(service: Watched) -> None:
    """Have a client send too much, the database go away under a job, and Redis take no writes."""
    other = make_client(service.stack, "other")
    eventually(lambda: other.post("/v1/voiceprint", url="nonsense").status_code == 429)
    with no_database(service):
        service.host.gate.set()
        eventually(lambda: "timbre_jobs_handed_back_total" in service.series())
    with Redis.from_url(service.stack.settings.redis_url) as redis:
        redis.config_set("min-replicas-to-write", 1)
        assert service.client.post("/v1/voiceprint", url="media://talk.flac").status_code == 503
        redis.config_set("min-replicas-to-write", 0)


@contextmanager
def no_database(service: Watched) -> Iterator[None]:
    """Take a table of the database away from a job that listens to a sample, until the end of the block."""
    client = service.client
    assert client.post("/v1/identities", handle="ann").status_code == 201
    job = client.post("/v1/identities/ann/samples", url=gated(service.host)).json()["jobId"]
    eventually(lambda: service.host.hits["/gated/1688-142285-0005.flac"])
    database = str(make_url(service.stack.settings.sql_url()).database)
    with sqlite3.connect(database) as connection:
        connection.execute("ALTER TABLE samples RENAME TO samples_away")
    yield
    with sqlite3.connect(database) as connection:
        connection.execute("ALTER TABLE samples_away RENAME TO samples")
    assert client.wait(job, 60)["status"] == "succeeded"


def ask(prometheus: str, path: str, **parameters: str) -> Any:
    """Return the data of an answer of Prometheus's HTTP API."""
    answer: Json = requests.get(f"{prometheus}/api/v1/{path}", params=parameters, timeout=10).json()
    assert answer["status"] == "success", answer
    return answer["data"]


def test_every_expression_asks_for_what_is_exported(watched: Watched) -> None:
    there = watched.series()
    assert {name: wrong for name, text in expressions().items() if (wrong := unknown(text, there))} == {}


def test_every_metric_that_is_exported_is_drawn(watched: Watched) -> None:
    used = {selector.name for _, expression in drawn() for selector in selectors(expression)}
    assert {name for name in watched.series() if name not in used and not name.endswith(("_sum", "_count"))} == set()


def test_prometheus_finds_data_for_each_panel_and_for_the_autoscaler(watched: Watched, prometheus: str) -> None:
    eventually(lambda: listens(prometheus))
    with suppress(AssertionError):
        eventually(lambda: not without_data(prometheus))
    assert without_data(prometheus) == []


def test_prometheus_evaluates_the_alerts_and_none_fires_for_a_worker_that_lives(
    watched: Watched, prometheus: str
) -> None:
    eventually(lambda: listens(prometheus))
    eventually(lambda: all(rule["health"] != "unknown" for rule in alerts(prometheus)))
    assert {rule["name"]: rule["lastError"] for rule in alerts(prometheus) if rule["health"] != "ok"} == {}
    quiet = {"TimbreNotWatched", "TimbreProcessDown", "TimbreNoWorker", "TimbreNoCourier"}
    # They wait for the first scrape.
    eventually(lambda: quiet <= {rule["name"] for rule in alerts(prometheus) if rule["state"] == "inactive"})


def listens(prometheus: str) -> bool:
    """Tell whether Prometheus answers, and has scraped all addresses."""
    # Until it is ready it answers no JSON.
    try:
        targets = ask(prometheus, "targets")["activeTargets"]
    except (requests.ConnectionError, requests.JSONDecodeError):
        return False
    return [target["health"] for target in targets] == ["up"] * len(ROLES)


def without_data(prometheus: str) -> list[str]:
    """Return the expressions of panels and of the autoscaler that find nothing."""
    queries = [expression for _, expression in drawn()] + [trigger["metadata"]["query"] for trigger in scaled()]
    # No job fails by the service's fault here, and some panels leave out what stands still.
    asked = [query.replace(" > 0", " >= 0") for query in queries if "worker_lost" not in query]
    return [query for query in asked if not ask(prometheus, "query", query=query)["result"]]


def alerts(prometheus: str) -> list[Json]:
    """Return the alert rules as Prometheus has evaluated them."""
    rules: list[Json] = ask(prometheus, "rules")["groups"][0]["rules"]
    return rules
