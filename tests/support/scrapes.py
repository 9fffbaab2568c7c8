"""Metrics as Prometheus reads them: of each role's port, or all together."""

import socket
from collections.abc import Mapping

import requests
from prometheus_client.parser import text_string_to_metric_families

from shared.local.stack import free_port
from shared.telemetry.exporter import ROLES

_TIMEOUT_S = 10


def free_ports() -> str:
    """Return an address from which the ports of all roles are free."""
    while True:
        first = free_port()
        if all(_is_free(first + number) for number in range(len(ROLES))):
            return f"127.0.0.1:{first}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def scrape(bind: str, role: str) -> str:
    """Return what the process of a role tells."""
    host, _, first = bind.rpartition(":")
    answer = requests.get(f"http://{host}:{int(first) + ROLES.index(role)}/metrics", timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return answer.text


class Samples(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """Values by name and labels."""

    def __init__(self, *texts: str) -> None:
        """Add up the values of several scrapes."""
        super().__init__()
        for text in texts:
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    key = (sample.name, frozenset(sample.labels.items()))
                    self[key] = self.get(key, 0.0) + sample.value

    def of(self, name: str, *by: str, **labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric that are not 0, summed by some labels, of those that have other labels."""
        found: dict[tuple[str, ...], float] = {}
        for (one, pairs), value in self.items():
            known: Mapping[str, str] = dict(pairs)
            if one == name and value and labels.items() <= known.items():
                key = tuple(known[label] for label in by)
                found[key] = found.get(key, 0.0) + value
        return found

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric."""
        return self.of(name, **labels).get((), 0.0)
