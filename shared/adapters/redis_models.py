"""Models in Redis: the list that workers publish for the API, and what all workers must serve alike."""

import json
from dataclasses import asdict, fields
from typing import Any

from redis import Redis

from shared.adapters.redis_scripts import NEWCOMER_MS, Clock, Scripts, redis_clock
from shared.adapters.remembering import remembered
from shared.domain.errors import SettingsError
from shared.domain.models import ListedCalibration, ListedModel

_KEY = "timbre:models"
#: Seconds for which the list is not read again, since every job that is posted asks for it.
_RECENT_S = 1.0


class RedisModels:
    """List of the workers' models; it expires `ttl_s` seconds after it was last published.

    `recent` gives what `all` gave within the last second.
    """

    def __init__(self, redis: Redis, *, ttl_s: float) -> None:
        self._redis = redis
        self._ttl_ms = round(ttl_s * 1000)
        self.recent = remembered(self.all, _RECENT_S)

    def publish(self, models: list[ListedModel]) -> None:
        """Publish the list; all workers of a service publish the same one."""
        self._redis.set(_KEY, json.dumps([asdict(model) for model in models]), px=self._ttl_ms)

    def all(self) -> list[ListedModel]:
        """Return the published list; empty when no worker runs."""
        found = json.loads(str(self._redis.get(_KEY) or "[]"))
        # A newer worker may say more of a model.
        known = {field.name for field in fields(ListedModel)}
        return [_listed({name: model[name] for name in known & model.keys()}) for model in found]


def _listed(model: dict[str, Any]) -> ListedModel:
    found = model.pop("calibration", None)
    calibration = ListedCalibration(data=found["data"], fitted_at=found["fitted_at"]) if found else None
    return ListedModel(**model, calibration=calibration)


class RedisServed:
    """Facts that all workers of a service have in common, since any job may go to any worker.

    They expire `ttl_s` seconds after the last worker confirmed them.
    """

    def __init__(self, redis: Redis, *, ttl_s: float, clock: Clock = redis_clock) -> None:
        self._scripts = Scripts(redis, clock)
        self._ttl_ms = round(ttl_s * 1000)
        self._confirmed = False

    def confirm(self, ours: dict[str, str]) -> bool:
        """Confirm the facts, or set them where no worker lives.

        Returns False while a worker that has not confirmed any before finds none. Others may confirm theirs after Redis
        was away, so that it must ask again.

        Parameters
        ----------
        ours : this worker's facts by name. A release may know more than another; those that both know must agree.

        Raises
        ------
        SettingsError
            Workers that live have others.
        """
        found = self._scripts("serve", json.dumps(ours), self._ttl_ms, 0 if self._confirmed else NEWCOMER_MS)
        if found is None:
            return False
        if found:
            theirs = dict(zip(found[::2], found[1::2], strict=True))
            told = ", ".join(f"{name} {theirs[name]}, here {ours[name]}" for name in ours if name in theirs)
            raise SettingsError(
                f"Other workers on this Redis (TIMBRE_REDIS_URL) do not serve what this one does: {told}. Any job may "
                "go to any worker. So give all the same TIMBRE_MODEL, and the same files in TIMBRE_WEIGHTS_DIR. To "
                "change them, stop all workers first; jobs wait meanwhile."
            )
        self._confirmed = True
        return True
