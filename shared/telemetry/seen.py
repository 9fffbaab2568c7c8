"""Metric of the processes that live, which all note in Redis."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class SeenCollector(Collector):
    """Collector of the processes of each role that were alive within the last minute.

    Parameters
    ----------
    count : returns their number by role; of a role that has none nothing need be said.
    roles : that are told of.
    away : errors of `count` that leave the metric out.
    """

    def __init__(
        self, count: Callable[[], Mapping[str, int]], roles: Sequence[str], away: tuple[type[Exception], ...]
    ) -> None:
        self._count = count
        self._roles = roles
        self._away = away

    def collect(self) -> Iterator[Metric]:
        """Yield the metric, unless the count is not to be had."""
        found = GaugeMetricFamily(
            "timbre_processes_seen", "Processes that were alive within the last 60 s.", labels=["role"]
        )
        try:
            seen = self._count()
        except self._away:
            return
        for role in self._roles:
            found.add_metric([role], seen.get(role, 0))
        yield found
