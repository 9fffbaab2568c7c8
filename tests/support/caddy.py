"""Caddy with the Caddyfile of production, in front of servers of the tests' own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import trustme

from shared.local.stack import free_port
from tests.support.client import eventually
from tests.support.readme import ROOT

CADDYFILE = ROOT / "shared" / "deploy" / "Caddyfile"


@dataclass(frozen=True)
class Caddy:
    """Caddy that runs."""

    pid: int
    #: Of http, which leads to https.
    http_port: int
    port: int
    #: File of the authority's certificate.
    authority: Path
    log: Path

    @property
    def url(self) -> str:
        """Address of the API as clients see it."""
        return f"https://localhost:{self.port}"

    @property
    def media_url(self) -> str:
        """Address of the store likewise."""
        return f"https://127.0.0.1:{self.port}"

    def send(self, method: str, url: str, **options: object) -> requests.Response:
        """Send a request that trusts the authority, and follows no redirect."""
        return requests.request(
            method,
            url,
            verify=str(self.authority),
            allow_redirects=False,
            timeout=90,
            **options,  # type: ignore[arg-type]
        )


@contextmanager
def caddy(folder: Path, port: int, max_body: str = "1100MiB", **upstreams: int) -> Iterator[Caddy]:
    """Run Caddy until the end of the block; `upstreams` are the ports of API, STREAM and STORE."""
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("Caddy is not installed")
    folder.mkdir(parents=True)
    certificate = _certificate(folder)
    running = Caddy(0, free_port(), port, folder / "authority.pem", folder / "log")
    environment = {
        "PATH": os.environ["PATH"],
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "HTTP_PORT": str(running.http_port),
        "HTTPS_PORT": str(port),
        "ADMIN": "off",
        "DOMAIN": "localhost",
        "MEDIA_DOMAIN": "127.0.0.1",
        "CERTIFICATES": f"tls {certificate} {folder}/key.pem",
        "MAX_BODY": max_body,
    }
    for name, upstream in upstreams.items():
        environment |= {f"{name}_HOST": "127.0.0.1", f"{name}_PORT": str(upstream)}
    command = [program, "run", "--config", str(CADDYFILE), "--adapter", "caddyfile"]
    with running.log.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        eventually(lambda: b"serving initial configuration" in running.log.read_bytes())
        yield Caddy(process.pid, running.http_port, port, running.authority, running.log)
    finally:
        process.kill()
        process.wait()


def _certificate(folder: Path) -> Path:
    """Write an authority, a key and the chain of a certificate; returns the chain's file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(folder / "chain.pem"), append=True)
    return folder / "chain.pem"
