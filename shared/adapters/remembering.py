"""Cache of answers for some seconds, for questions that every request asks."""

import time
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TypeVar

Answer = TypeVar("Answer")

#: Answers that are kept at most.
_MOST = 4096


def remembered(look_up: Callable[..., Answer], seconds: float) -> Callable[..., Answer]:
    """Return `look_up` with a cache: an answer is given again for up to `seconds`; errors are not."""

    # Only the time at hand has a cache: the answers of earlier times would stay until as many others had come.
    @lru_cache(1)
    def answers(_period: int) -> Callable[[tuple[Hashable, ...]], Answer]:
        return lru_cache(_MOST)(lambda asked: look_up(*asked))

    return lambda *asked: answers(int(time.monotonic() / seconds))(asked)
