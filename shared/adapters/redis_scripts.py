"""Lua scripts, which Redis runs one at a time; they read the clock of Redis, not those of our machines."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from redis import Redis

_LUA = Path(__file__).parent / "lua"
#: Ms that a process which has not agreed with others waits before it decides what is agreed on. Those that have look
#: for it every second, and come first when Redis lost it.
NEWCOMER_MS = 1500
#: Returns the time in ms, or an empty string for the clock of Redis.
Clock = Callable[[], int | str]


def redis_clock() -> str:
    """Return an empty string: the script reads the clock of Redis."""
    return ""


class Scripts:
    """Scripts of the `lua` folder, by name, on one clock."""

    def __init__(self, redis: Redis, clock: Clock = redis_clock) -> None:
        self._clock = clock
        prelude = (_LUA / "prelude.lua").read_text()
        self._scripts = {
            path.stem: redis.register_script(prelude + path.read_text())
            for path in _LUA.glob("*.lua")
            if path.stem != "prelude"
        }

    def __call__(self, name: str, *arguments: str | float, keys: Sequence[str] = ()) -> Any:
        """Run the script `name` and return what it returns."""
        return self._scripts[name](keys=list(keys), args=[self._clock(), *arguments])
