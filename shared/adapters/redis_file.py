"""Redis's append-only file, which keeps what was deleted until it is rewritten."""

import structlog
from redis import Redis
from redis.exceptions import ResponseError

from shared.adapters.redis_scripts import Clock, Scripts, redis_clock

#: A file is rewritten no more often than this, in seconds: what was deleted or expired has left it after this long.
EVERY_S = 300.0
#: Jobs forgotten at once, for a script holds up everybody.
_MOST = 10_000
_LEAVING, _FORGETTING = "timbre:leaving", "timbre:forgetting"

log = structlog.get_logger()


class RedisFile:
    """Makes Redis's files forget what Redis has forgotten.

    A sealed value has its key beside it, so that both are gone once the file is rewritten. The scripts that end and
    delete jobs note in `timbre:leaving` when that is due; a note stays until a rewrite that began after it has
    succeeded, whoever began it.
    """

    def __init__(self, redis: Redis, *, every_s: float = EVERY_S, clock: Clock = redis_clock) -> None:
        self._redis, self._scripts = redis, Scripts(redis, clock)
        self._every_ms = round(every_s * 1000)
        #: The server that is rewriting for us, and up to which time (ms) its new file will have forgotten.
        self._under_way: tuple[str, str] | None = None

    def forget(self) -> None:
        """Begin a rewrite where one is due, or see how the one that was begun has ended; returns at once."""
        if self._under_way is not None:
            self._conclude(*self._under_way)
        elif up_to := self._scripts("forget", self._every_ms, _MOST):
            try:
                self._begin(up_to)
            except ResponseError as error:
                log.warning("what was deleted stays, sealed, in Redis's append-only file", error=str(error))

    def _begin(self, up_to: str) -> None:
        state = self._redis.info()
        if not state["aof_enabled"]:
            self._redis.zremrangebyscore(_LEAVING, "-inf", up_to)
        elif state["aof_rewrite_in_progress"]:
            # It began before what is to be forgotten was removed; another one must follow it.
            self._redis.delete(_FORGETTING)
        else:
            self._redis.bgrewriteaof()
            self._under_way = state["run_id"], up_to

    def _conclude(self, server: str, up_to: str) -> None:
        state = self._redis.info()
        same = state["run_id"] == server
        if same and (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
            return
        self._under_way = None
        if same and state["aof_last_bgrewrite_status"] == "ok":
            self._redis.zremrangebyscore(_LEAVING, "-inf", up_to)
        else:
            log.warning("Redis could not rewrite its append-only file; it is tried again")
