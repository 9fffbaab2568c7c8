"""Prometheus and its promtool, and the selectors of its expressions."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.support.readme import ROOT

DEPLOY = ROOT / "shared" / "deploy"
#: Labels that Prometheus adds.
_PROMETHEUS_OWN = {"job", "instance"}
_NAME = re.compile(r"\b(?:timbre_\w+|up)\b(?:{(?P<matchers>[^}]*)})?")
_MATCHER = re.compile(r'(?P<label>\w+)\s*(?:=~|!~|!=|=)\s*"(?P<value>[^"]*)"')
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\((?P<labels>[^)]*)\)")


@dataclass(frozen=True)
class Selector:
    """Selector of series in an expression."""

    #: As it stands in the expression.
    text: str
    name: str
    #: Label -> the value, or the expression of values, that it is compared with.
    matchers: dict[str, str] = field(hash=False)


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; skips the test where there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; Debian's package prometheus has it")
    return found


def selectors(expression: str) -> list[Selector]:
    """Return the selectors of an expression."""
    return [
        Selector(
            found[0],
            found[0].partition("{")[0],
            {one["label"]: one["value"] for one in _MATCHER.finditer(found["matchers"] or "")},
        )
        for found in _NAME.finditer(_GROUPED.sub("", expression))
    ]


def grouped(expression: str) -> set[str]:
    """Return the labels that an expression groups by."""
    return {label for found in _GROUPED.finditer(expression) for label in re.findall(r"\w+", found["labels"])}


def unknown(expression: str, there: Mapping[str, Set[str]]) -> list[str]:
    """Return what an expression names that is not there: series, and labels of them.

    Parameters
    ----------
    there : series -> their labels.
    """
    named = selectors(expression)
    labels = set(_PROMETHEUS_OWN).union(*(there.get(one.name, set()) for one in named))
    known = {name: labels | _PROMETHEUS_OWN for name, labels in there.items()} | {"up": _PROMETHEUS_OWN}
    wrong = [one.text for one in named if one.name not in known or not set(one.matchers) <= known[one.name]]
    return [*wrong, *sorted(grouped(expression) - labels)]


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    (group,) = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "dashboard.json").read_text())
    return found


def drawn() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel that draws, with each of its expressions as Prometheus gets it."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")


def scaled() -> list[dict[str, Any]]:
    """Return the triggers of the autoscaler."""
    found: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "autoscale.yaml").read_text())["spec"]["triggers"]
    return found


def expressions() -> dict[str, str]:
    """Return every expression of alerts, dashboard and autoscaler, by a name of its own."""
    return (
        {rule["alert"]: rule["expr"] for rule in rules()}
        | {f"{title}: {expression}": expression for title, expression in drawn()}
        | {trigger["name"]: trigger["metadata"]["query"] for trigger in scaled()}
    )
