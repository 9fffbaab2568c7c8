"""A Redis server of the tests' own that asks for a password and speaks TLS, where one is installed."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from redis import Redis
from redis.exceptions import RedisError

from shared.local.stack import Process, free_port
from tests.support.client import eventually


class TlsRedis:
    """Server at a free port of 127.0.0.1, with its data in a folder."""

    def __init__(self, binary: str, folder: Path, password: str) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.authority)
        key, chain = folder / "key.pem", folder / "certificate.pem"
        certificate.private_key_pem.write_to_path(key)
        certificate.cert_chain_pems[0].write_to_path(chain)
        self.port = free_port()
        self.folder = folder
        self._password = password
        options = {
            "bind": "127.0.0.1", "port": "0", "tls-port": str(self.port), "tls-auth-clients": "no",
            "tls-cert-file": str(chain), "tls-key-file": str(key), "tls-ca-cert-file": str(self.authority),
            "dir": str(folder), "appendonly": "yes", "save": "", "requirepass": password,
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = Process("Redis server", [binary, *arguments], folder / "redis.log")
        self.wait()

    @property
    def url(self) -> str:
        """Address with the password, and with the authority that signed the certificate."""
        login = f":{quote(self._password, safe='')}"
        return f"rediss://{login}@127.0.0.1:{self.port}/0?ssl_ca_certs={self.authority}"

    def wait(self) -> None:
        """Return when the server answers."""
        with Redis.from_url(self.url) as client:
            eventually(lambda: _answers(client))

    def restart(self) -> None:
        """Kill the server and start it again."""
        self.process.kill()
        self.process.start()
        self.wait()


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@contextmanager
def tls_redis(password: str) -> Iterator[TlsRedis]:
    """Run a server until the end of the block. Skips where none that speaks TLS is installed."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if not binary or not _speaks_tls(binary):
        pytest.skip("no Redis with TLS is installed (sudo apt install redis-server)")
    with tempfile.TemporaryDirectory(prefix="timbre-redis-") as folder:
        server = TlsRedis(binary, Path(folder), password)
        try:
            yield server
        finally:
            server.process.stop()


def _speaks_tls(binary: str) -> bool:
    """Say whether a server knows TLS: it ends at a certificate that is not there."""
    command = [binary, "--port", "0", "--tls-port", "1", "--tls-cert-file", "/nowhere"]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "Failed to configure TLS" in tried.stdout
