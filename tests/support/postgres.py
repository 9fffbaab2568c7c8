"""A PostgreSQL server of the tests' own, where one is installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _find(program: str) -> str | None:
    # Debian keeps the server's programs off the path.
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server on a private socket until the end of the block; gives its URL. Skips where none is installed."""
    initdb, server = _find("initdb"), _find("pg_ctl")
    if not initdb or not server:
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root.
    user = _nobody() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="timbre-pg-"))
    if user:
        shutil.chown(folder, user)
    environment = {"PATH": os.environ["PATH"]}
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"

    def run(*command: str) -> None:
        subprocess.run(command, user=user, cwd=folder, check=True, capture_output=True, env=environment)

    run(initdb, "-D", f"{folder}/data", "-U", "timbre", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
    run(server, "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
    try:
        yield f"postgresql://timbre@/postgres?host={folder}"
    finally:
        run(server, "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _nobody() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
