"""Redis as compose.yaml starts and asks it, small and for production, by a real server."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from shared.local.stack import free_port
from tests.support.client import eventually
from tests.support.readme import ROOT

CONF = "requirepass a-password-of-redis\n"


@pytest.fixture
def redis() -> dict[str, list[str]]:
    """The command of the server, and the health check."""
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["redis"]
    return {"server": service["command"], "check": ["sh", "-c", service["healthcheck"]["test"][1]]}


@pytest.fixture
def run(tmp_path: Path) -> Callable[[list[str]], list[str]]:
    """Give a command the values of compose, and programs of the names that Valkey's image has."""
    port = free_port()
    for name, real in (("valkey-server", "redis-server"), ("valkey-cli", "redis-cli")):
        program = shutil.which(name) or shutil.which(real)
        (tmp_path / name).write_text(
            f'#!/bin/sh\nexec {program} "$@" --port {port} --dir {tmp_path}\n'
            if name == "valkey-server"
            else f'#!/bin/sh\nexec {program} -p {port} "$@"\n'
        )
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    def prepared(command: list[str]) -> list[str]:
        words = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word.replace("/run/secrets", str(tmp_path))) for word in command]
        return ["env", f"PATH={path}", *(word.replace("$$", "$") for word in words)]

    return prepared


@pytest.mark.parametrize("conf", ["", "/run/secrets/redis.conf"], ids=["small", "production"])
def test_redis_starts_and_is_found_healthy(
    redis: dict[str, list[str]], run: Callable[[list[str]], list[str]], tmp_path: Path, conf: str
) -> None:
    (tmp_path / "redis.conf").write_text(CONF)
    given = {
        part: [re.sub(r"\$\{REDIS_CONF:-([^}]*)\}", conf or r"\1", word) for word in words]
        for part, words in redis.items()
    }
    check = run(given["check"])
    assert not healthy(check)
    server = subprocess.Popen(run(given["server"]), stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: healthy(check))
        without = run(["sh", "-c", "valkey-cli ping"])
        answer = subprocess.run(without, capture_output=True, text=True).stdout
        assert ("NOAUTH" in answer) == bool(conf)
    finally:
        server.terminate()
        server.wait()


def healthy(check: list[str]) -> bool:
    return subprocess.run(check, capture_output=True).returncode == 0
