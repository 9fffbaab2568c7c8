"""nginx as a reverse proxy in front of API and stream, with TLS by a certificate authority of the test's own."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from shared.local.stack import free_port
from tests.support.client import eventually

_CONF = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/chain.pem;
        ssl_certificate_key {folder}/key.pem;
{locations}
    }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """Proxy that runs."""

    port: int
    #: File of the authority's certificate.
    authority: Path
    folder: Path

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))


def binary() -> str:
    """Return nginx's program; skips the test where there is none."""
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if found is None:
        pytest.skip("nginx is not installed")
    return found


@contextmanager
def proxying(folder: Path, locations: str, port: int | None = None) -> Iterator[Proxy]:
    """Run nginx with these locations until the end of the block."""
    program = binary()
    folder.mkdir(parents=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(folder / "chain.pem"), append=True)
    port = port or free_port()
    (folder / "nginx.conf").write_text(_CONF.format(folder=folder, port=port, locations=locations))
    # Of a master that runs as root, the workers would be nobody, who may not read the test's folder.
    command = [program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"), "-g", "master_process off;"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _listens(port))
        yield Proxy(port, folder / "authority.pem", folder)
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
