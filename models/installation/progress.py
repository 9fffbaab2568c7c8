"""Progress of an installation: what it does, and how long each step took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]


@contextmanager
def step(name: str, say: Say) -> Iterator[None]:
    """Say what is done in the block, and how long it took."""
    say(f"{name} ...")
    start_s = time.monotonic()
    yield
    say(f"  done in {time.monotonic() - start_s:.1f} s")
