"""Redis's append-only file (AOF), which keeps deleted values until it is rewritten."""

import structlog
from redis import Redis
from redis.exceptions import ResponseError

from shared.adapters.redis_scripts import Clock, Scripts, redis_clock

#: Seconds between two rewrites at least; deleted and expired values have left the file about as much later.
EVERY_S = 300.0
#: Jobs that one script removes at most, since Redis serves nobody else meanwhile.
_MOST = 10_000
_LEAVING = "timbre:leaving"
_FORGETTING = "timbre:forgetting"

log = structlog.get_logger()


class RedisFile:
    """Rewrites Redis's append-only file, so that deleted values and their sealing keys leave the disk.

    The scripts that end and delete jobs note in `timbre:leaving` that a rewrite is due. A note stays until a rewrite
    that began after it has succeeded, whichever process began it.
    """

    def __init__(self, redis: Redis, *, every_s: float = EVERY_S, clock: Clock = redis_clock) -> None:
        self._redis = redis
        self._scripts = Scripts(redis, clock)
        self._every_ms = round(every_s * 1000)
        #: Run id of the server whose rewrite we began, and the time (ms) of the newest note that it settles.
        self._under_way: tuple[str, str] | None = None

    def forget(self) -> None:
        """Begin a due rewrite, or check on the one begun before; returns at once."""
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
            # It began before the values were removed, so another one must follow it.
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
