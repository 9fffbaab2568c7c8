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

from shared.local.stack import free_port


def _find(program: str) -> str | None:
    # Debian keeps the server's programs off the path.
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))


class PostgresServer:
    """Server whose programs run as a user that is not root.

    Parameters
    ----------
    password : with it the server listens at a free port of 127.0.0.1 and asks for it; without, on a private socket.
    """

    def __init__(self, folder: Path, initdb: str, pg_ctl: str, user: str | None, password: str | None = None) -> None:
        self.url = f"postgresql://timbre@/postgres?host={folder}"
        self._folder, self._pg_ctl, self._user = folder, pg_ctl, user
        self._listening = "-c listen_addresses=''"
        if password:
            port = free_port()
            self.url = f"postgresql://timbre@127.0.0.1:{port}/postgres"
            self._listening = f"-c listen_addresses=127.0.0.1 -c port={port}"
        login = self._asking_for(password) if password else ["-A", "trust"]
        self._run(initdb, "-D", f"{folder}/data", "-U", "timbre", "-E", "UTF8", "--locale=C", "-N", *login)
        self.start()

    def _asking_for(self, password: str) -> list[str]:
        file = self._folder / "password"
        file.write_text(password)
        if self._user:
            shutil.chown(file, self._user)
        return ["-A", "scram-sha-256", f"--pwfile={file}"]

    def start(self) -> None:
        """Start it, again after a stop."""
        options = f"{self._listening} -c unix_socket_directories={self._folder} -c fsync=off"
        self._control("-o", options, "-l", f"{self._folder}/log", "-w", "start")

    def stop(self) -> None:
        """Stop it at once, whoever is connected."""
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str) -> None:
        self._run(self._pg_ctl, "-D", f"{self._folder}/data", *arguments)

    def _run(self, *command: str) -> None:
        environment = {"PATH": os.environ["PATH"]}
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, capture_output=True, env=environment)


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server on a private socket until the end of the block; gives its URL. Skips where none is installed."""
    with postgres_server() as server:
        yield server.url


@contextmanager
def postgres_server(password: str | None = None) -> Iterator[PostgresServer]:
    """Run a server likewise, or by TCP with a password; gives the server."""
    initdb, pg_ctl = _find("initdb"), _find("pg_ctl")
    if not initdb or not pg_ctl:
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root.
    user = _nobody() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="timbre-pg-"))
    if user:
        shutil.chown(folder, user)
    server = PostgresServer(folder, initdb, pg_ctl, user, password)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _nobody() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
