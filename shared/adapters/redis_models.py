"""The list of models in Redis: workers know what is installed and keep saying so; the API, without weights, asks."""

import json
from dataclasses import asdict

from redis import Redis

from shared.domain.models import ListedModel

_KEY = "timbre:models"


class RedisModels:
    """What the workers offer; forgotten `ttl_s` seconds after the last of them fell silent."""

    def __init__(self, redis: Redis, *, ttl_s: float) -> None:
        self._redis = redis
        self._ttl_ms = round(ttl_s * 1000)

    def publish(self, models: list[ListedModel]) -> None:
        """Say which models there are; all workers of one service say the same."""
        self._redis.set(_KEY, json.dumps([asdict(model) for model in models]), px=self._ttl_ms)

    def all(self) -> list[ListedModel]:
        """Return what was last said; empty when no worker is there."""
        found = self._redis.get(_KEY)
        return [ListedModel(**model) for model in json.loads(str(found))] if found else []
