"""Models in Redis: the list that workers publish for the API, and what all workers must serve alike."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from redis import Redis

from shared.adapters.redis_scripts import NEWCOMER_MS, Clock, Scripts, redis_clock
from shared.adapters.remembering import remembered
from shared.domain.calibration import Calibration
from shared.domain.errors import SettingsError, Unavailable
from shared.domain.models import ListedCalibration, ListedModel
from shared.domain.stored_calibrations import NOT_A_CALIBRATION, calibration_of, stored

_KEY = "timbre:models"
#: Seconds for which the list is not read again, since every job that is posted asks for it.
_RECENT_S = 1.0
#: Calibrations that a process keeps. Each has some tens of KB, and is read once: another fit has another key.
_MOST_CALIBRATIONS = 16


class RedisModels:
    """List of the workers' models, and their calibrations; they expire `ttl_s` seconds after they were last published.

    `recent` gives what `all` gave within the last second.
    """

    def __init__(self, redis: Redis, *, ttl_s: float) -> None:
        self._redis = redis
        self._ttl_ms = round(ttl_s * 1000)
        self.recent = remembered(self.all, _RECENT_S)
        self._calibration = lru_cache(_MOST_CALIBRATIONS)(self._read_calibration)

    def publish(self, models: list[ListedModel], calibrations: Sequence[Calibration] = ()) -> None:
        """Publish the list, and before it the calibrations that it names; of several workers the last one counts."""
        for calibration in calibrations:
            key = _calibration_key(calibration.model_id, calibration.fitted_at)
            # What is there already is not sent again: each time it would lengthen the append-only file.
            if not self._redis.pexpire(key, self._ttl_ms):
                self._redis.set(key, json.dumps(stored(calibration)), px=self._ttl_ms)
        self._redis.set(_KEY, json.dumps([asdict(model) for model in models]), px=self._ttl_ms)

    def all(self) -> list[ListedModel]:
        """Return the published list; empty when no worker runs."""
        found = json.loads(str(self._redis.get(_KEY) or "[]"))
        # A newer worker may say more of a model.
        known = {field.name for field in fields(ListedModel)}
        return [_listed({name: model[name] for name in known & model.keys()}) for model in found]

    def calibration(self, model: ListedModel) -> Calibration | None:
        """Return the calibration of a model of the list; None where it has none.

        Raises
        ------
        Unavailable
            Workers have not published it, or in a form that this release does not know.
        """
        if not model.calibrated:
            return None
        return self._calibration(model.model_id, model.calibration.fitted_at if model.calibration else "")

    def _read_calibration(self, model_id: str, fitted_at: str) -> Calibration:
        try:
            return calibration_of(json.loads(str(self._redis.get(_calibration_key(model_id, fitted_at)))))
        except NOT_A_CALIBRATION:
            raise Unavailable(
                f"Workers have not told how confidences of {model_id} are computed; try again in a moment. "
                "If this lasts, run workers and API of one release."
            ) from None


def _calibration_key(model_id: str, fitted_at: str) -> str:
    return f"timbre:calibration:{model_id}:{fitted_at}"


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
