"""List of models in Redis, which the workers publish for the API; it has no weights to look at."""

import json
from dataclasses import asdict, fields
from typing import Any

from redis import Redis

from shared.adapters.remembering import remembered
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
