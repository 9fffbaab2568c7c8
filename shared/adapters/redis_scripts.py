"""Lua scripts: each runs alone in Redis and reads Redis's own clock, so the clocks of our machines do not matter."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from redis import Redis

_LUA = Path(__file__).parent / "lua"
#: Gives the time in ms; an empty string leaves it to Redis.
Clock = Callable[[], int | str]


def redis_clock() -> str:
    """Leave the time to Redis."""
    return ""


class Scripts:
    """The scripts of the `lua` folder, by name, on one clock."""

    def __init__(self, redis: Redis, clock: Clock = redis_clock) -> None:
        self._redis, self._clock = redis, clock
        prelude = (_LUA / "prelude.lua").read_text()
        self._scripts = {
            path.stem: redis.register_script(prelude + path.read_text())
            for path in _LUA.glob("*.lua")
            if path.stem != "prelude"
        }

    def __call__(self, name: str, *arguments: str | float, keys: Sequence[str] = ()) -> Any:
        """Run the script `name` and return what it returns."""
        return self._scripts[name](keys=list(keys), args=[self._clock(), *arguments])
