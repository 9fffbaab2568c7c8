"""Stacks of the whole service, and clients of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.local.stack import EMBEDDED, Stack, free_port
from shared.settings import Settings
from tests.support.client import Client

#: Lets jobs and webhooks reach the servers that tests start.
LOOPBACK = {"allowed_hosts": "127.0.0.0/8,::1/128", "allowed_ports": "1-65535", "allow_http_webhooks": True}

_BUGS = ("Traceback", "a bug ended the job", "unhandled error", "internal_error")


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Stack]:
    """Run a stack of its own in `folder` until the end of the block."""
    usual = {"bind": f"127.0.0.1:{free_port()}", "redis_url": EMBEDDED, "metrics_bind": "off"}
    unlimited = {"posts_per_minute": 10**6, "reads_per_minute": 10**6}
    with Stack(Settings(data_dir=folder, **usual | unlimited | settings)) as stack:
        yield stack


def logs(stack: Stack, *names: str) -> str:
    """Return the logs of these names, all by default."""
    paths = [stack.logs / name for name in names] or sorted(stack.logs.iterdir())
    return "\n".join(path.read_text(errors="replace") for path in paths)


def bugs(stack: Stack) -> list[str]:
    """Return the lines of a stack's logs that report a bug."""
    return bugs_in(logs(stack))


def bugs_in(text: str) -> list[str]:
    """Return the lines of logs that report a bug."""
    return [line for line in text.splitlines() if any(sign in line for sign in _BUGS)]


def make_client(stack: Stack, name: str) -> Client:
    """Make a client at the command line."""
    command = [sys.executable, "-m", "api.keys", "create", name]
    made = subprocess.run(
        command, env=os.environ | stack.settings.environment(), check=True, capture_output=True, text=True
    )
    return Client(stack.url, made.stdout.strip())


def first_client(stack: Stack) -> Client:
    """Return the client whose key the stack made at its first start."""
    key = stack.first_key()
    assert key is not None
    return Client(stack.url, key)
