"""Storm: harm at even distances of the progress, and jobs let in as it goes."""

import time

from tests.chaos.fleet import Fleet
from tests.chaos.plan import Plan, say
from tests.chaos.submissions import Progress, Submissions

_TICK_S = 0.1
#: A kill is not put off for longer than this when jobs do not move.
_STALLED_S = 15.0


class Storm:
    """Harms the service at even distances of its progress, and lets jobs in as it goes."""

    def __init__(self, plan: Plan, fleet: Fleet, submissions: Submissions, progress: Progress) -> None:
        self._plan, self._fleet, self._submissions, self._progress = plan, fleet, submissions, progress
        self._harms, self._last = plan.harms(), time.monotonic()
        self._allowed = 0
        self._let_in()

    def rage(self) -> None:
        """Return when all harm is done and no job is left, or when the time is over."""
        ends_at = time.monotonic() + self._plan.limit_s
        while time.monotonic() < ends_at and not self._over():
            self._fleet.tick()
            self._progress.look()
            if self._harms and self._due() and self._fleet.harm(self._harms[0]):
                self._last = time.monotonic()
                say(f"{self._progress.done:5} jobs done; harm: {self._harms.pop(0)}")
                self._let_in()
            time.sleep(_TICK_S)

    def _done_harms(self) -> int:
        return self._plan.kills - len(self._harms)

    def _due(self) -> bool:
        threshold = (self._done_harms() + 0.5) * self._plan.jobs / max(1, self._plan.kills)
        return self._progress.done >= threshold or time.monotonic() - self._last > _STALLED_S

    def _let_in(self) -> None:
        """Keep jobs for two more harms under way; all of them when there is no harm to come."""
        most = self._plan.jobs
        if self._harms:
            most = min(most, (self._done_harms() + 2) * most // self._plan.kills)
        self._submissions.allow(most - self._allowed)
        self._allowed = most

    def _over(self) -> bool:
        everything = len(self._submissions.accepted) == self._plan.jobs
        return not self._harms and everything and self._fleet.whole and self._progress.idle
